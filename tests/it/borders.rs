//! The borders between the crate's modules: who may use whom, and who may name which crates.
//!
//! The compiler doesn't mind a domain rule that reads the database; this test does. What is allowed stands in the
//! tables of `src/lib.rs`. The test reads every path in the sources, in `use` lines and elsewhere.

mod made_up;
mod paths;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::{paths::Name, table::Borders};

const LIB_RS: &str = include_str!("../../src/lib.rs");

/// Lists the first words of paths that lead into crates which come with the compiler.
const COMPILERS_CRATES: [&str; 3] = ["std", "core", "alloc"];

#[test]
fn no_module_crosses_its_borders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let borders = Borders::read(LIB_RS);
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
        let found = faults_of(path.to_str().unwrap(), &text, &borders, &dependencies);
        faults.extend(found.iter().map(|(line, fault)| format!("{}:{line}: {fault}", path.display())));
    }
    assert!(faults.is_empty(), "borders are crossed:\n{}", faults.join("\n"));
}

#[test]
fn no_module_uses_itself_by_way_of_others() {
    assert_eq!(Borders::read(LIB_RS).circle(), [""; 0]);
}

#[test]
fn the_table_has_the_modules_of_the_crate_and_no_others() {
    let borders = Borders::read(LIB_RS);
    let declared = LIB_RS.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    assert_eq!(borders.modules(), declared.chain(["bin"]).collect());
    for module in borders.modules() {
        for other in borders.allowed(module).unwrap() {
            assert!(borders.allowed(other).is_some(), "{module} may use {other}, which is no module");
        }
    }
}

/// Returns what is wrong with a source file, and in which lines. `path` is the file's path from the crate's root.
fn faults_of(path: &str, text: &str, borders: &Borders, dependencies: &[String]) -> Vec<(usize, String)> {
    let Some(module) = paths::top_module(path) else {
        return Vec::new(); // lib.rs declares them all
    };
    let Some(allowed) = borders.allowed(&module) else {
        return vec![(1, format!("the module {module} is not in the table of src/lib.rs"))];
    };
    let fault = |name: Name| match name {
        Name::Own(target) if target == module || allowed.contains(&target) => None,
        Name::Own(target) => Some(format!("{module} may not use {target}")),
        Name::WholeCrate => Some(format!("{module} may not import the whole crate")),
        Name::Other(name) => crate_fault(&module, &name, borders, dependencies),
    };
    paths::names(path, text).into_iter().filter_map(|(line, name)| Some((line, fault(name)?))).collect()
}

fn crate_fault(module: &str, name: &str, borders: &Borders, dependencies: &[String]) -> Option<String> {
    if COMPILERS_CRATES.contains(&name) {
        return None;
    }
    if borders.is_pure(module) && dependencies.iter().any(|dependency| dependency == name) {
        return Some(format!("{module} may use std only, not {name}"));
    }
    (!borders.may_name(module, name)).then(|| format!("{module} may not use the crate {name}"))
}

/// Returns the crates that Cargo.toml names, as Rust spells them.
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
