//! The borders between the crate's modules: who may use whom, and who may name which crates.
//!
//! The compiler doesn't mind a domain rule that reads the database; this test does. It reads every path in the sources,
//! in `use` lines and elsewhere.

mod made_up;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::source::{Name, Source};

/// A module of the crate's top level (or the programs, `bin`), and which others it may use.
const BORDERS: [(&str, &[&str]); 15] = [
    ("bin", &["config", "error", "gateway", "grpc", "listener", "setup", "shutdown", "sweeper", "telemetry"]),
    ("grpc", &["checkout", "config", "domain", "error", "listener", "pb", "shutdown", "telemetry"]),
    ("gateway", &["pb", "shutdown", "telemetry"]),
    ("sweeper", &["checkout", "config", "db", "domain", "error", "shutdown", "telemetry"]),
    ("setup", &["checkout", "config", "db", "domain", "error"]),
    ("checkout", &["config", "db", "domain", "error", "lane"]),
    ("db", &["config", "domain", "error"]),
    ("lane", &["error"]),
    ("error", &["domain"]),
    ("domain", &[]),
    // The settings of the gateway are parsed into its own types.
    ("config", &["domain", "gateway"]),
    ("telemetry", &["config"]),
    ("listener", &[]),
    ("shutdown", &[]),
    ("pb", &[]),
];

/// Crates (and those whose names begin with them and `_`) that only these modules may name.
const CRATES: [(&str, &[&str]); 5] = [
    ("diesel", &["db"]),
    ("deadpool", &["db"]),
    ("mysql_async", &["db"]),
    ("tonic", &["grpc", "gateway", "pb"]),
    ("prost", &["grpc", "gateway", "pb"]),
];

/// The module of the pure rules: no crate at all.
const PURE: &str = "domain";

/// What a path that comes with the compiler begins with.
const OWN_CRATES: [&str; 3] = ["std", "core", "alloc"];

#[test]
fn no_module_crosses_its_borders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dependencies = dependencies(&fs::read_to_string(root.join("Cargo.toml")).unwrap());
    let mut files = Vec::new();
    for folder in ["src", "bin"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 4, "found only {files:?}");

    let mut faults = Vec::new();
    for file in files {
        let path = file.strip_prefix(root).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let found = faults_of(path.to_str().unwrap(), &text, &dependencies);
        faults.extend(found.iter().map(|(line, fault)| format!("{}:{line}: {fault}", path.display())));
    }
    assert!(faults.is_empty(), "borders are crossed:\n{}", faults.join("\n"));
}

/// What is wrong with a source file, and in which lines. `path` is the file's, from the crate's root.
fn faults_of(path: &str, text: &str, dependencies: &[String]) -> Vec<(usize, String)> {
    let source = Source::new(path, text);
    let Some(module) = source.top_module() else {
        return Vec::new(); // lib.rs declares them all
    };
    let Some((_, allowed)) = BORDERS.iter().find(|(name, _)| *name == module) else {
        return vec![(1, format!("the module {module} is not in BORDERS of this test"))];
    };
    let fault = |name: Name| match name {
        Name::Own(target) if target == module || allowed.contains(&target.as_str()) => None,
        Name::Own(target) => Some(format!("{module} may not use {target}")),
        Name::WholeCrate => Some(format!("{module} may not import the whole crate")),
        Name::Other(name) => crate_fault(module, &name, dependencies),
    };
    source.names().into_iter().filter_map(|(line, name)| Some((line, fault(name)?))).collect()
}

fn crate_fault(module: &str, name: &str, dependencies: &[String]) -> Option<String> {
    if OWN_CRATES.contains(&name) {
        return None;
    }
    if module == PURE && dependencies.iter().any(|dependency| dependency == name) {
        return Some(format!("{module} may use std only, not {name}"));
    }
    let belongs = |family: &str| name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    let (_, allowed) = CRATES.iter().find(|(family, _)| belongs(family))?;
    (!allowed.contains(&module)).then(|| format!("{module} may not use the crate {name}"))
}

/// The crates that Cargo.toml names, as Rust spells them.
fn dependencies(cargo_toml: &str) -> Vec<String> {
    let mut is_table = false;
    let mut names = Vec::new();
    for line in cargo_toml.lines() {
        if line.starts_with('[') {
            is_table = line.contains("dependencies");
        } else if let Some((name, _)) = line.split_once('=').filter(|_| is_table) {
            names.push(name.trim().replace('-', "_"));
        }
    }
    names
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}
