//! Runs a server process that ends when the test process ends, however that happens.
//!
//! A shell runs the server. It holds the reading end of a pipe whose only writing end is in the test process. The
//! kernel closes the pipe when the test process ends, also by SIGKILL. Then the shell kills the server and removes its
//! folder.
//!
//! Parent-death signals would need unsafe code. A Drop doesn't run in a killed process, nor for a static.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::wait;

/// Runs the server's command line behind the first argument, its folder, and prints the server's process id.
///
/// The shell and the server are in a process group of their own: Ctrl-C in the terminal reaches only the test process.
/// The pipe is file descriptor 3, since a shell gives its background commands /dev/null as standard input.
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

/// Holds a running server and its supervisor; a drop kills the server and removes its folder.
pub(super) struct Supervised {
    shell: Child,
    /// The server's process id.
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

    /// Tells whether the server has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.shell.try_wait().unwrap().is_some()
    }

    /// Waits for the server's end and returns false if it still runs after `limit`. Its folder stays.
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
