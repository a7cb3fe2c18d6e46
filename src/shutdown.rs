//! When to stop: SIGTERM, as process managers send it, or SIGINT, which is Ctrl-C.

use std::io;

use tokio::signal::unix::{SignalKind, signal as listen};

/// Listens from this call on; the future is ready at the first SIGTERM or SIGINT, also one that came before it was
/// awaited. From now on these signals no longer end the process by themselves.
///
/// # Errors
/// The operating system refuses the handlers.
///
/// # Panics
/// Outside a tokio runtime with I/O.
pub fn signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal, "Shutting down");
    })
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    /// One test for both cases: signals reach the whole process.
    #[tokio::test]
    async fn a_signal_that_came_before_the_await_is_not_missed() {
        for signal in ["-TERM", "-INT"] {
            let stop = super::signal().unwrap();
            let sent = Command::new("kill").args([signal, &std::process::id().to_string()]).status().unwrap();
            assert!(sent.success());
            tokio::time::timeout(Duration::from_secs(5), stop).await.expect(signal);
        }
    }
}
