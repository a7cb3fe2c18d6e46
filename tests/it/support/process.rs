//! The real programs, as their users start them.

use std::{
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{signal, wait};

/// Later lines are dropped: a program that logs without end must not fill the memory.
const LINES_MAX: usize = 100_000;
/// Of a program whose test has failed.
const LINES_SHOWN: usize = 100;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Server,
    Gateway,
    Sweeper,
}

impl Program {
    fn path(self) -> &'static str {
        match self {
            Self::Server => env!("CARGO_BIN_EXE_server"),
            Self::Gateway => env!("CARGO_BIN_EXE_gateway"),
            Self::Sweeper => env!("CARGO_BIN_EXE_sweeper"),
        }
    }
}

/// A running program. Dropped: killed.
pub(crate) struct Process {
    command: String,
    child: Child,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    stdout: Mutex<Vec<String>>,
    stderr: Mutex<Vec<String>>,
    /// Streams that have come to their end.
    ended: AtomicU32,
    /// Nobody reads the streams.
    stalled: Mutex<bool>,
    read_on: Condvar,
}

/// A stream that is read unless its reader has stalled.
struct Tap<S>(S, Arc<Output>);

impl<S: Read> Read for Tap<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        drop(self.1.read_on.wait_while(self.1.stalled.lock().unwrap(), |stalled| *stalled).unwrap());
        self.0.read(bytes)
    }
}

impl Process {
    /// Starts the program with these settings as its whole environment. Port 0 in a setting lets the system choose;
    /// see [`Self::address`].
    pub(crate) fn spawn(program: Program, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program.path());
        command.args(arguments).env_clear().envs(settings.iter().copied());
        Self::run(command)
    }

    /// As [`Self::spawn`], with standard output and standard error in one pipe, as `2>&1` has them.
    pub(crate) fn spawn_on_one_pipe(program: Program, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"exec "$0" 2>&1"#, program.path()]).env_clear().envs(settings.iter().copied());
        Self::run(command)
    }

    /// As [`Self::spawn`], for any program.
    pub(crate) fn run(mut command: Command) -> Self {
        let text = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let output = Arc::new(Output::default());
        collect(child.stdout.take().unwrap(), &output, |output| &output.stdout);
        collect(child.stderr.take().unwrap(), &output, |output| &output.stderr);
        Self { command: text, child, output }
    }

    /// Stops reading what the program writes: its pipes fill up. Up to 8 KiB more are read of each.
    pub(crate) fn stop_reading(&self) {
        *self.output.stalled.lock().unwrap() = true;
    }

    /// Reads what the program has written meanwhile, and goes on reading.
    pub(crate) fn read_on(&self) {
        *self.output.stalled.lock().unwrap() = false;
        self.output.read_on.notify_all();
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines on standard output so far, as they are.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.output.stdout.lock().unwrap().clone()
    }

    /// Standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.output.stderr.lock().unwrap().join("\n")
    }

    /// The log so far. Every line on standard output must be JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}\n{}", self.describe()))
        };
        self.output.stdout.lock().unwrap().iter().map(parse).collect()
    }

    /// The log lines so far with this message.
    pub(crate) fn lines_of(&self, message: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["message"] == message);
        lines
    }

    /// Waits for the first log line with this message.
    pub(crate) async fn wait_for_line(&self, message: &str, limit: Duration) -> Value {
        self.wait_for(message, limit, |line| line["message"] == message).await
    }

    /// Waits for the first log line that `fits`. Fails at once if the program ends without one.
    pub(crate) async fn wait_for(&self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let what = format!("the log line {what:?} of {}", self.command);
        wait::eventually_some(limit, &what, async || {
            // In this order: after the end no line is added.
            let ended = self.has_closed_output();
            let line = self.lines().into_iter().find(&fits);
            assert!(line.is_some() || !ended, "{what} never came\n{}", self.describe());
            line
        })
        .await
    }

    /// The address that the program says it listens on: `Listening`, field `address`.
    pub(crate) async fn address(&self, limit: Duration) -> String {
        let line = self.wait_for_line("Listening", limit).await;
        line["address"].as_str().unwrap().to_owned()
    }

    /// Asks the program to end, as an operator does.
    pub(crate) fn terminate(&self) {
        signal::send(self.pid(), "TERM");
    }

    /// Ends the program in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Waits for the end and returns the exit code, 128 + the signal's number if one ended it, as a shell does. All
    /// output is there then.
    pub(crate) async fn wait_exit(&mut self, limit: Duration) -> i32 {
        let code = self.wait_exit_unread(limit).await;
        let what = format!("the end of the output of {}", self.command);
        wait::eventually(limit, &what, async || self.has_closed_output()).await;
        code
    }

    /// As [`Self::wait_exit`], though nobody may have read the last output.
    pub(crate) async fn wait_exit_unread(&mut self, limit: Duration) -> i32 {
        use std::os::unix::process::ExitStatusExt;

        let what = format!("the end of {}", self.command);
        let child = &mut self.child;
        let status = wait::eventually_some(limit, &what, async || child.try_wait().unwrap()).await;
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    fn has_closed_output(&self) -> bool {
        self.output.ended.load(Ordering::Acquire) == 2
    }

    fn describe(&self) -> String {
        let stdout = self.stdout();
        let last = &stdout[stdout.len().saturating_sub(LINES_SHOWN)..];
        format!(
            "{} wrote {} lines, the last ones\n{}\nand on standard error\n{}",
            self.command,
            stdout.len(),
            last.join("\n"),
            self.stderr()
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.describe());
        }
        self.kill();
        self.read_on();
        let _ = self.child.wait();
    }
}

/// Reads a stream to its end in a thread, so that the program never waits for its reader.
fn collect(stream: impl Read + Send + 'static, output: &Arc<Output>, lines: fn(&Output) -> &Mutex<Vec<String>>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(Tap(stream, Arc::clone(&output))).split(b'\n').map_while(Result::ok) {
            let mut lines = lines(&output).lock().unwrap();
            if lines.len() < LINES_MAX {
                lines.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
        output.ended.fetch_add(1, Ordering::Release);
    });
}
