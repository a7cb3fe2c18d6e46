//! Runs the commands that install what the tests need beside the crates.

use std::process::Command;

/// Runs a command to its end. Where it fails, the test ends with what is `needed`, and what the command said.
pub(crate) fn run(command: &mut Command, needed: &str) {
    let failed = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("{command:?} failed. The tests need {needed}.\n{failed}");
}
