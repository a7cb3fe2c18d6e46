//! Who is behind a call.

use std::sync::Arc;

/// Names who is behind a call. Each call that was let in has it among its request's extensions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The name of a principal, from the file of principals.
    Principal(Arc<str>),
    /// The id of a connection, where no principals are set.
    Connection(u64),
}

impl Caller {
    /// Returns the name of the principal, where there is one.
    pub fn principal(&self) -> Option<&Arc<str>> {
        match self {
            Self::Principal(name) => Some(name),
            Self::Connection(_) => None,
        }
    }
}
