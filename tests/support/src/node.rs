//! Finds or installs the Node packages that sign webhooks for the tests: `standardwebhooks` and `svix`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{install::run, place};

const NEEDED: &str = "Node with npm (on Debian: nodejs npm), or the packages of tests/senders in the folder that \
                      FLASHSALE_TEST_NODE_FOLDER names";

/// Returns a command for a script that may `require` the packages.
pub fn script(text: &str) -> Command {
    let mut node = Command::new("node");
    node.current_dir(folder()).args(["-e", text, "--"]);
    node
}

/// Returns the folder in FLASHSALE_TEST_NODE_FOLDER, if it has the packages.
///
/// Otherwise it is the tests' own, with the versions that tests/senders/package-lock.json pins. The first call installs
/// them and blocks meanwhile.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let found = env::var_os("FLASHSALE_TEST_NODE_FOLDER").map(PathBuf::from);
        found.filter(|folder| has_packages(folder)).unwrap_or_else(own_folder)
    })
}

fn has_packages(folder: &Path) -> bool {
    let look = "require('standardwebhooks'); require('svix')";
    Command::new("node").current_dir(folder).args(["-e", look]).output().is_ok_and(|output| output.status.success())
}

fn own_folder() -> PathBuf {
    let folder = place::scratch().join("node");
    fs::create_dir_all(&folder).unwrap();
    let pins = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../senders"));
    let changed = ["package.json", "package-lock.json"].map(|name| {
        let text = fs::read(pins.join(name)).unwrap();
        let changed = fs::read(folder.join(name)).ok().as_ref() != Some(&text);
        fs::write(folder.join(name), text).unwrap();
        changed
    });
    if changed.contains(&true) || !has_packages(&folder) {
        let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        run(Command::new("npm").current_dir(&folder).args(options), NEEDED);
    }
    folder
}
