//! Starts the real programs as their users do.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{place, signal, wait};

/// How many lines are kept; a program that logs without end must not fill the memory.
const LINES_MAX: usize = 100_000;
/// How many lines are shown of a program whose test has failed.
const LINES_SHOWN: usize = 100;

/// Names the service's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The gRPC server.
    Server,
    /// The HTTP gateway.
    Gateway,
    /// The sweeper, with its audit.
    Sweeper,
}

impl Program {
    /// Returns the path of the built program.
    pub fn path(self) -> PathBuf {
        place::program(match self {
            Self::Server => "server",
            Self::Gateway => "gateway",
            Self::Sweeper => "sweeper",
        })
    }
}

/// Runs a program; a drop kills it.
pub struct Process {
    command: String,
    child: Child,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    stdout: Mutex<Vec<String>>,
    stderr: Mutex<Vec<String>>,
    /// How many of the two streams have ended.
    ended: AtomicU32,
    /// Whether nobody reads the streams.
    stalled: Mutex<bool>,
    read_on: Condvar,
}

/// Reads a stream unless its reader has stalled.
struct Tap<S>(S, Arc<Output>);

impl<S: Read> Read for Tap<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        drop(self.1.read_on.wait_while(self.1.stalled.lock().unwrap(), |stalled| *stalled).unwrap());
        self.0.read(bytes)
    }
}

impl Process {
    /// Starts the program with these settings as its whole environment.
    ///
    /// For port 0 in a setting the system chooses a port, which [`Self::address`] returns.
    pub fn spawn(program: Program, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program.path());
        command.args(arguments).env_clear().envs(settings.iter().copied());
        Self::run(command)
    }

    /// Starts the program with standard output and standard error in one pipe, as `2>&1` has them.
    pub fn spawn_on_one_pipe(program: Program, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"exec "$0" 2>&1"#]).arg(program.path()).env_clear().envs(settings.iter().copied());
        Self::run(command)
    }

    /// Starts any program.
    pub fn run(mut command: Command) -> Self {
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

    /// Stops reading what the program writes, so that its pipes fill up. Up to 8 KiB more are read from each.
    pub fn stop_reading(&self) {
        *self.output.stalled.lock().unwrap() = true;
    }

    /// Reads again, from what the program has written meanwhile.
    pub fn read_on(&self) {
        *self.output.stalled.lock().unwrap() = false;
        self.output.read_on.notify_all();
    }

    /// Returns the program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines on standard output so far, as they are.
    pub fn stdout(&self) -> Vec<String> {
        self.output.stdout.lock().unwrap().clone()
    }

    /// Returns the text on standard error so far.
    pub fn stderr(&self) -> String {
        self.output.stderr.lock().unwrap().join("\n")
    }

    /// Returns the log so far. Every line on standard output must be JSON.
    pub fn lines(&self) -> Vec<Value> {
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}\n{}", self.describe()))
        };
        self.output.stdout.lock().unwrap().iter().map(parse).collect()
    }

    /// Returns the log lines so far with this message.
    pub fn lines_of(&self, message: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["message"] == message);
        lines
    }

    /// Waits for the first log line with this message.
    pub async fn wait_for_line(&self, message: &str, limit: Duration) -> Value {
        self.wait_for(message, limit, |line| line["message"] == message).await
    }

    /// Waits for the first log line that `fits`. Fails at once if the program ends without one.
    pub async fn wait_for(&self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let what = format!("the log line {what:?} of {}", self.command);
        wait::eventually_some(limit, &what, async || {
            // No line is added after the end, so the end is looked at first.
            let ended = self.has_closed_output();
            let line = self.lines().into_iter().find(&fits);
            assert!(line.is_some() || !ended, "{what} never came\n{}", self.describe());
            line
        })
        .await
    }

    /// Waits for the log line `Listening` and returns its field `address`.
    pub async fn address(&self, limit: Duration) -> String {
        let line = self.wait_for_line("Listening", limit).await;
        line["address"].as_str().unwrap().to_owned()
    }

    /// Tells whether the program writes still, as it does until it ends.
    pub fn is_running(&self) -> bool {
        !self.has_closed_output()
    }

    /// Asks the program to end, by SIGTERM.
    pub fn terminate(&self) {
        signal::send(self.pid(), "TERM");
    }

    /// Kills the program by SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Waits for the end and for all output, and returns the exit code.
    ///
    /// The code is 128 + the signal's number where a signal ended the program, as in a shell.
    pub async fn wait_exit(&mut self, limit: Duration) -> i32 {
        let code = self.wait_exit_unread(limit).await;
        let what = format!("the end of the output of {}", self.command);
        wait::eventually(limit, &what, async || self.has_closed_output()).await;
        code
    }

    /// Waits for the end and returns the exit code, without waiting for the output.
    pub async fn wait_exit_unread(&mut self, limit: Duration) -> i32 {
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
            "{} wrote {} lines, the last of them\n{}\nand on standard error\n{}",
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

/// Reads a stream to its end in a thread, so that the program doesn't wait for its reader.
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
