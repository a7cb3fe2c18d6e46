//! Makes calls at the same moment.

use std::sync::Arc;

use tokio::sync::Barrier;

/// Runs `call(0)` … `call(count - 1)` as tasks that all start at the same moment.
///
/// The results are in the order of the numbers. The calls run in parallel only on a runtime with several threads.
pub async fn at_once<F, T>(count: usize, call: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (barrier, call) = (Arc::clone(&barrier), call(number));
            tokio::spawn(async move {
                barrier.wait().await;
                call.await
            })
        })
        .collect();

    let mut results = Vec::with_capacity(count);
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}
