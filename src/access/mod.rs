//! Who calls, and what they may call.
//!
//! A principal is a name in the file of principals, with the roles that it has. It is known by a name in the certificate
//! of its connection, or by a token that comes with each call. [`methods`] is the one table of which role may call what.
//! What isn't in that table, nobody may call. Without a file of principals everybody may call everything.
//!
//! The verdict needs only the head of a request. So it comes before anything of the body is read.

mod caller;
mod door;
mod file;
#[cfg(test)]
mod fuzz;
pub mod methods;
mod principals;
mod token;

pub use caller::Caller;
pub use door::{Access, Denied};
pub use file::{PrincipalsFile, PrincipalsFileError};
pub use principals::Principals;
