//! Who calls, and what they may call.

mod caller;

pub use caller::Caller;
