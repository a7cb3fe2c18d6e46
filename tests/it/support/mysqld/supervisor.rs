//! A server process that ends with the test process, however that ends.
//!
//! Between the two stands a shell that holds the reading end of a pipe whose only writing end is in the test process.
//! The kernel closes it when the test process ends, also by SIGKILL; the shell then kills the server and removes its
//! folder. Parent-death signals would need unsafe code, and a Drop doesn't run in a process that was killed, nor for
//! a static.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::wait;

/// $1: the server's folder; then the server's command line. Prints the server's process id.
/// The server has its own group like the shell, so that a Ctrl-C in the terminal reaches only the test process.
/// A shell gives its background commands /dev/null as standard input, hence file descriptor 3.
const SCRIPT: &str = r#"
folder=$1
shift
exec 3<&0
"$@" >>"$folder/server.log" 2>&1 3<&- &
server=$!
{ read -r _ <&3; trap '' TERM; kill -KILL "$server"; } &
watch=$!
echo "$server"
wait "$server"
kill -TERM "$watch"
wait "$watch" && rm -rf "$folder"
"#;

/// A running server and its supervisor. Dropped: the server is killed and its folder removed.
pub(super) struct Supervised {
    shell: Child,
    /// Of the server.
    pub(super) pid: u32,
}

impl Supervised {
    /// Starts `executable` with its output appended to `folder`/server.log.
    pub(super) fn start(folder: &Path, executable: &OsStr, options: &[OsString]) -> Result<Self, String> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "supervisor"])
            .arg(folder)
            .arg(executable)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("the supervisor did not start: {error}"))?;

        let mut line = String::new();
        let answer = BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line);
        let pid = line.trim().parse();
        pid.map(|pid| Self { shell, pid })
            .map_err(|error| format!("the supervisor printed no process id: {error}, {answer:?}, {line:?}"))
    }

    /// Whether the server has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.shell.try_wait().unwrap().is_some()
    }

    /// Waits for the server's end; its folder stays. False: it is still running after `limit`.
    pub(super) fn wait_end(&mut self, limit: Duration) -> bool {
        wait::look_until(limit, || self.has_ended().then_some(())).is_some()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
