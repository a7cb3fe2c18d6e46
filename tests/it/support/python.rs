//! A Python with the packages that the tests need: `standardwebhooks`, the independent sender of signed webhooks, and
//! those of deploy/sale_day.py.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// What deploy/requirements.txt pins it as, and what is imported.
const PACKAGES: [(&str, &str); 3] =
    [("standardwebhooks", "standardwebhooks"), ("grpcio-tools", "grpc_tools"), ("grpcio-status", "grpc_status")];

/// The interpreter in FLASHSALE_TEST_PYTHON, or `python3` where it has the packages, or one in a virtual environment of
/// the tests' own, made with the versions that deploy/requirements.txt pins. Blocks while it is made, the first time.
pub(crate) fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let known = env::var_os("FLASHSALE_TEST_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
        if has_packages(&known) { known } else { own_environment() }
    })
}

fn has_packages(python: &Path) -> bool {
    let imports = PACKAGES.map(|(_, module)| module).join(", ");
    Command::new(python).args(["-c", &format!("import {imports}")]).output().is_ok_and(|output| output.status.success())
}

fn own_environment() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = folder.join("bin/python");
    if !has_packages(&python) {
        let pins = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/requirements.txt")).unwrap();
        let pins = pins.lines().filter(|line| PACKAGES.iter().any(|(name, _)| line.starts_with(&format!("{name}=="))));
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-input"]).args(pins));
    }
    python
}

fn run(command: &mut Command) {
    let failed = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!(
        "the tests need Python 3 with the packages of deploy/requirements.txt, and {command:?} failed: install it (on \
         Debian: python3 python3-venv), or set FLASHSALE_TEST_PYTHON to an interpreter that has them.\n{failed}"
    );
}
