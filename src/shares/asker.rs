//! Who the running code works for.

use std::{
    cell::Cell,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Tells callers apart, where nobody needs to know their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallerId(u64);

impl CallerId {
    /// Returns the id of a caller. Equal callers have the same.
    pub fn of(caller: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        caller.hash(&mut hasher);
        Self(hasher.finish())
    }
}

thread_local! {
    static ASKER: Cell<Option<CallerId>> = const { Cell::new(None) };
}

/// Puts the asker before it back, also after a panic.
struct Restore(Option<CallerId>);

impl Drop for Restore {
    fn drop(&mut self) {
        ASKER.set(self.0);
    }
}

/// Returns whom the running code works for. `None`: for the server itself, whose share has no limit.
pub fn asking() -> Option<CallerId> {
    ASKER.get()
}

/// Does some work for a caller. A future is polled like this each time.
pub fn on_behalf_of<T>(caller: Option<CallerId>, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(ASKER.replace(caller));
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_for_one_caller_until_it_ends_or_panics() {
        let (one, other) = (Some(CallerId::of(&1)), Some(CallerId::of(&2)));
        assert_ne!(one, other);
        assert_eq!(one, Some(CallerId::of(&1)));
        on_behalf_of(one, || {
            on_behalf_of(other, || assert_eq!(asking(), other));
            assert_eq!(asking(), one);
        });
        assert_eq!(asking(), None);
        let panicked = std::panic::catch_unwind(|| on_behalf_of(one, || panic!("a bug")));
        assert!(panicked.is_err());
        assert_eq!(asking(), None);
    }
}
