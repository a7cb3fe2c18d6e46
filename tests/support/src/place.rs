//! Where cargo has put what it built.
//!
//! Cargo tells it at compile time only to the tests and benchmarks of the package itself. A test knows where it is
//! itself: in the folder `deps` of its profile's folder, which is in the target folder.

use std::{env, path::PathBuf};

/// Returns the path of one of the package's programs, which cargo builds before any test or benchmark runs.
pub fn program(name: &str) -> PathBuf {
    profile().join(name)
}

/// Returns the folder for what tests write: cargo's CARGO_TARGET_TMPDIR, which outlives the run.
pub fn scratch() -> PathBuf {
    profile().with_file_name("tmp")
}

/// Returns the folder of the profile, such as `target/debug`.
fn profile() -> PathBuf {
    let executable = env::current_exe().unwrap();
    executable.ancestors().nth(2).unwrap().to_owned()
}
