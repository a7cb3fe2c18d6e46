//! Sends signals to other processes.

use std::process::{Command, Stdio};

/// Sends a signal (`TERM`, `KILL`…) with the shell's own `kill`, and returns false if there is no such process.
pub fn send(pid: u32, signal: &str) -> bool {
    Command::new("sh")
        .args(["-c", r#"kill "-$1" "$2""#, "signal", signal])
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// Tells whether there is such a process.
pub fn is_alive(pid: u32) -> bool {
    send(pid, "0")
}
