//! Which span, and which operation of the database, the running code belongs to.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
};

use super::SpanIds;

#[derive(Debug, Clone, Copy)]
struct Scope {
    ids: Option<SpanIds>,
    operation: Option<&'static str>,
}

thread_local! {
    static SCOPE: Cell<Scope> = const { Cell::new(Scope { ids: None, operation: None }) };
}

/// Puts the scope before it back, also after a panic.
struct Restore(Scope);

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.set(self.0);
    }
}

fn scoped<T>(scope: Scope, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(SCOPE.replace(scope));
    work()
}

/// Returns the ids of the span that the running code belongs to.
pub fn current() -> Option<SpanIds> {
    SCOPE.get().ids
}

/// Returns the name of the transaction, or of the read, that the running code belongs to.
pub(super) fn operation() -> Option<&'static str> {
    SCOPE.get().operation
}

/// Does some work as part of a span.
pub fn within<T>(ids: Option<SpanIds>, work: impl FnOnce() -> T) -> T {
    scoped(Scope { ids, operation: None }, work)
}

/// Runs a future as part of a span.
pub async fn in_span<F: Future>(ids: Option<SpanIds>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| within(ids, || future.as_mut().poll(context))).await
}

/// Runs a future as an operation of the database: the transaction, or the read, of this name.
pub async fn in_operation<F: Future>(name: &'static str, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| scoped(Scope { operation: Some(name), ..SCOPE.get() }, || future.as_mut().poll(context))).await
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

    use super::*;

    fn ids(id: u64) -> Option<SpanIds> {
        Some(SpanIds { trace_id: TraceId::from(1), span_id: SpanId::from(id), flags: TraceFlags::SAMPLED })
    }

    #[tokio::test]
    async fn the_scope_ends_with_its_future_and_between_its_polls() {
        let inner = async {
            assert_eq!((current(), operation()), (ids(1), Some("create_hold")));
            tokio::task::yield_now().await;
            assert_eq!((current(), operation()), (ids(1), Some("create_hold")));
            within(ids(2), || assert_eq!((current(), operation()), (ids(2), None)));
            assert_eq!(current(), ids(1));
        };
        let other = async {
            assert_eq!((current(), operation()), (None, None), "while the other future waits");
            tokio::task::yield_now().await;
            assert_eq!(current(), None);
        };
        tokio::join!(in_span(ids(1), in_operation("create_hold", inner)), other);
        assert_eq!((current(), operation()), (None, None));
    }

    #[test]
    fn a_panic_ends_the_scope() {
        let panicked = std::panic::catch_unwind(|| within(ids(1), || panic!("a bug")));
        assert!(panicked.is_err());
        assert_eq!(current(), None);
    }
}
