//! When to stop: SIGTERM, as process managers send it, or SIGINT, which is Ctrl-C. And the end of a program's work.

use std::{error::Error, io};

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal as listen},
};

/// Does a program's `work`. Whatever else is at work on the runtime is left behind: looking up a name, which nothing
/// can stop, may take longer than a shutdown has.
///
/// # Errors
/// The work's, or why there is no runtime.
pub fn run_to_end(
    runtime: io::Result<Runtime>,
    work: impl Future<Output = Result<(), Box<dyn Error>>>,
) -> Result<(), Box<dyn Error>> {
    let runtime = runtime?;
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

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
    use std::{
        process::Command,
        time::{Duration, Instant},
    };

    /// Work that blocks a thread, like a name that no server knows.
    #[test]
    fn the_end_does_not_wait_for_what_cannot_be_stopped() {
        let (hang_up, hung) = std::sync::mpsc::channel::<()>();
        let started = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        super::run_to_end(runtime, async {
            tokio::task::spawn_blocking(move || hung.recv_timeout(Duration::from_secs(20)));
            Ok(())
        })
        .unwrap();
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        drop(hang_up);
    }

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
