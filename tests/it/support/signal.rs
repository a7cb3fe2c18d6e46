//! Signals to other processes.

use std::process::{Command, Stdio};

/// Sends a signal (`TERM`, `KILL`…) with the shell's own `kill`, which every system has. False: no such process.
pub(crate) fn send(pid: u32, signal: &str) -> bool {
    Command::new("sh")
        .args(["-c", r#"kill "-$1" "$2""#, "signal", signal])
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// Whether there is such a process.
pub(crate) fn is_alive(pid: u32) -> bool {
    send(pid, "0")
}
