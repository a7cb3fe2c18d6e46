//! Builds the callers in examples/typescript as their reader would: `npm ci && npm run build`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{install::run, place};

const NEEDED: &str = "Node with npm (on Debian: nodejs npm), and the packages of examples/typescript";

/// Returns a command for one of the programs in examples/typescript/src, such as `connect`.
///
/// The first call installs the packages that package-lock.json pins, unless they are there, and compiles the programs.
/// It blocks meanwhile.
pub fn typescript(program: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(build);
    let mut node = Command::new("node");
    node.arg(folder.join("build/src").join(program).with_extension("js"));
    node
}

/// Builds in a folder of the tests' own, which has the places of the repository.
fn build() -> PathBuf {
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let own = place::scratch().join("examples");
    let folder = own.join("examples/typescript");
    for part in ["proto/flashsale", "examples/typescript/proto", "examples/typescript/src"] {
        let _ = fs::remove_dir_all(own.join(part));
        copy(&repository.join(part), &own.join(part)).unwrap();
    }
    for file in ["package.json", "package-lock.json", "tsconfig.json", "buf.gen.yaml"] {
        fs::copy(repository.join("examples/typescript").join(file), folder.join(file)).unwrap();
    }
    // This copy of the pins is made last, so it says that the installation is complete.
    let installed = folder.join("node_modules/.installed");
    let pins = fs::read(repository.join("examples/typescript/package-lock.json")).unwrap();
    if fs::read(&installed).ok().as_ref() != Some(&pins) {
        let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        run(Command::new("npm").current_dir(&folder).args(options), NEEDED);
        fs::write(installed, pins).unwrap();
    }
    run(Command::new("npm").current_dir(&folder).args(["run", "build"]), NEEDED);
    folder
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
