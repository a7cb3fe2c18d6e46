//! The end of a program's work, and the signals that ask for it: SIGTERM from process managers, SIGINT from Ctrl-C.

use std::{error::Error, io, process, thread};

use tokio::{
    runtime::{self, Runtime},
    signal::unix::{Signal, SignalKind, signal as listen},
};

/// Is what shells add to the number of the signal that ended a program.
const EXIT_BY_SIGNAL: i32 = 128;

/// Does a program's `work`, and doesn't wait for anything else on the runtime.
///
/// Nothing can stop the lookup of a host name, and it may take longer than the time of a shutdown.
///
/// # Errors
/// The error of the work, or the reason why there is no runtime.
pub fn run_to_end(
    runtime: io::Result<Runtime>,
    work: impl Future<Output = Result<(), Box<dyn Error>>>,
) -> Result<(), Box<dyn Error>> {
    let runtime = runtime?;
    let ended = runtime.block_on(work);
    runtime.shutdown_background();
    ended
}

/// Returns a future that is ready at the first SIGTERM or SIGINT after this call, also before it is awaited.
///
/// From this call on, these signals no longer end the process by themselves. The future gives what waits for the next.
///
/// # Errors
/// The operating system refuses the handlers.
///
/// # Panics
/// Outside a tokio runtime with I/O.
pub fn signal() -> io::Result<impl Future<Output = Signals> + Send + 'static> {
    let mut signals =
        Signals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? };
    Ok(async move {
        let (signal, _) = signals.next().await;
        tracing::info!(signal, "Shutting down");
        signals
    })
}

/// Waits for further signals, once the first has come.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Waits for a signal, and returns its name and its number.
    async fn next(&mut self) -> (&'static str, i32) {
        let (name, kind) = tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
        };
        (name, kind.as_raw_value())
    }

    /// Ends the process at the next signal, with the exit code that a shell shows for it: 143 or 130.
    ///
    /// Nothing is finished: calls under way are cut, and waiting log lines and spans are lost. A thread waits for the
    /// signal, so that it is also obeyed once the program's runtime has ended.
    pub fn end_at_next(mut self) {
        let wait = move || {
            // Without a runtime, the program ends in its own time.
            let Ok(runtime) = runtime::Builder::new_current_thread().enable_io().build() else { return };
            let (_, number) = runtime.block_on(self.next());
            process::exit(EXIT_BY_SIGNAL + number)
        };
        drop(thread::Builder::new().name("second-signal".to_owned()).spawn(wait));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::Command,
        time::{Duration, Instant},
    };

    /// The work blocks a thread, like the lookup of a host name that no server knows.
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

    /// Both signals are in one test, since a signal reaches the whole process.
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
