//! Finds or makes a Python with the packages that the tests need.
//!
//! These are `standardwebhooks` and `stripe`, independent senders of signed webhooks, and the packages of
//! deploy/sale_day.py.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{install::run, place};

/// The packages: the name in deploy/requirements.txt, and the module.
const PACKAGES: [(&str, &str); 5] = [
    ("standardwebhooks", "standardwebhooks"),
    ("stripe", "stripe"),
    ("grpcio-tools", "grpc_tools"),
    ("grpcio-status", "grpc_status"),
    ("rich", "rich"),
];

const NEEDED: &str = "Python 3 with the packages of deploy/requirements.txt: install it (on Debian: python3 \
                      python3-venv), or set FLASHSALE_TEST_PYTHON to an interpreter that has them";

/// Returns the interpreter in FLASHSALE_TEST_PYTHON, or `python3`, if it has the packages.
///
/// Otherwise it is the one of the tests' own virtual environment, with the versions that deploy/requirements.txt pins.
/// The first call makes the environment and blocks meanwhile.
pub fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let found = env::var_os("FLASHSALE_TEST_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
        if has_packages(&found) { found } else { own_environment() }
    })
}

fn has_packages(python: &Path) -> bool {
    let imports = PACKAGES.map(|(_, module)| module).join(", ");
    Command::new(python).args(["-c", &format!("import {imports}")]).output().is_ok_and(|output| output.status.success())
}

fn own_environment() -> PathBuf {
    let folder = place::scratch().join("python");
    let python = folder.join("bin/python");
    if !has_packages(&python) {
        let pins = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/requirements.txt")).unwrap();
        let pins = pins.lines().filter(|line| PACKAGES.iter().any(|(name, _)| line.starts_with(&format!("{name}=="))));
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), NEEDED);
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-input"]).args(pins), NEEDED);
    }
    python
}
