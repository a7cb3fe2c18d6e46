//! The tables in the documentation of `src/lib.rs`: the borders, in the one place where they are written down.

use std::collections::{BTreeMap, BTreeSet};

/// Says who may use whom, and who may name which crates.
pub(super) struct Borders {
    /// Each module of the crate's top level (and the programs, `bin`), with the modules that it may use.
    modules: BTreeMap<String, BTreeSet<String>>,
    /// Modules that may name no crate at all.
    pure: BTreeSet<String>,
    /// Crates (and those whose names begin with them and `_`), with the only modules that may name them.
    crates: Vec<(String, BTreeSet<String>)>,
}

impl Borders {
    /// Reads the tables: a row of three cells is a module, a row of two cells is about crates.
    pub(super) fn read(lib_rs: &str) -> Self {
        let mut borders = Self { modules: BTreeMap::new(), pure: BTreeSet::new(), crates: Vec::new() };
        for row in lib_rs.lines().filter_map(|line| line.strip_prefix("//! |")?.strip_suffix('|')) {
            match row.split('|').map(quoted).collect::<Vec<_>>().as_slice() {
                [modules, _, allowed] => {
                    let (std, allowed): (BTreeSet<_>, _) = allowed.iter().cloned().partition(|name| name == "std");
                    for module in modules {
                        assert!(!borders.modules.contains_key(module), "{module} is in the table twice");
                        borders.modules.insert(module.clone(), allowed.clone());
                    }
                    if !std.is_empty() {
                        borders.pure.extend(modules.iter().cloned());
                    }
                }
                [crates, modules] => {
                    borders.crates.extend(crates.iter().map(|name| (name.clone(), modules.clone())));
                }
                _ => panic!("a row of neither table: {row}"),
            }
        }
        borders
    }

    /// Returns the modules that a module may use. `None`: the table has no such module.
    pub(super) fn allowed(&self, module: &str) -> Option<&BTreeSet<String>> {
        self.modules.get(module)
    }

    /// Whether a module may name no crate.
    pub(super) fn is_pure(&self, module: &str) -> bool {
        self.pure.contains(module)
    }

    /// Whether a module may name a crate, as far as the table of crates says.
    pub(super) fn may_name(&self, module: &str, name: &str) -> bool {
        let belongs =
            |family: &str| name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        let family = self.crates.iter().find(|(family, _)| belongs(family));
        family.is_none_or(|(_, modules)| modules.contains(module))
    }

    /// Returns the names of all modules.
    pub(super) fn modules(&self) -> BTreeSet<&str> {
        self.modules.keys().map(String::as_str).collect()
    }

    /// Returns the modules of a circle: each may use the next, and the last the first. Empty: there is none.
    pub(super) fn circle(&self) -> Vec<&str> {
        let mut left = self.modules();
        // A module that uses none of the modules left is on no circle.
        while let Some(free) = left.iter().copied().find(|module| self.next(module, &left).is_none()) {
            left.remove(free);
        }
        let mut circle: Vec<&str> = left.first().copied().into_iter().collect();
        while let Some(next) = circle.last().and_then(|last| self.next(last, &left)) {
            if let Some(first) = circle.iter().position(|module| *module == next) {
                return circle.split_off(first);
            }
            circle.push(next);
        }
        circle
    }

    fn next<'b>(&self, module: &str, among: &BTreeSet<&'b str>) -> Option<&'b str> {
        among.iter().copied().find(|other| self.modules[module].contains(*other))
    }
}

/// Returns the words of a cell that stand in backquotes.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
