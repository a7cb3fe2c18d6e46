//! The paths of a source file, as `syn` reads them, and what they lead to.

use std::path::{Component, Path};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Ident, ItemMod, ItemUse, Macro, MetaList, UseTree,
    ext::IdentExt,
    visit::{self, Visit},
};

/// Says what a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A module (or another item) of the crate's top level.
    Own(String),
    /// All of the crate's top level.
    WholeCrate,
    /// A crate, or something that is in scope.
    Other(String),
}

/// Returns the module of the crate's top level that a file belongs to. `None`: the top level itself.
///
/// `path` is the file's path from the crate's root, like `src/db/holds.rs`. The programs' module is called `bin`.
pub(super) fn top_module(path: &str) -> Option<String> {
    module(path).into_iter().next()
}

/// Returns what the paths in a file lead to, with their line numbers.
pub(super) fn names(path: &str, text: &str) -> Vec<(usize, Name)> {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path} is no Rust: {error}"));
    let mut paths = Paths { module: module(path), names: Vec::new() };
    paths.visit_file(&file);
    paths.names
}

fn module(path: &str) -> Vec<String> {
    let mut module: Vec<String> = Path::new(path)
        .with_extension("")
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_str().unwrap().to_owned()),
            _ => None,
        })
        .collect();
    if module[0] == "bin" {
        module.truncate(1);
    } else {
        module.remove(0);
        module.pop_if(|last| last == "mod" || last == "lib");
    }
    module
}

/// Collects the paths of a file.
struct Paths {
    /// The module that is being visited, from the crate's top level on.
    module: Vec<String>,
    names: Vec<(usize, Name)>,
}

impl Paths {
    fn add(&mut self, line: usize, path: &[String]) {
        self.names.push((line, resolve(path, &self.module)));
    }

    fn add_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |ident: &Ident| [before, &[ident.unraw().to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.add(line(&name.ident), &with(&name.ident)),
            UseTree::Rename(rename) => self.add(line(&rename.ident), &with(&rename.ident)),
            UseTree::Glob(glob) => {
                let everything = [before, &["*".to_owned()]].concat();
                self.add(glob.star_token.span.start().line, &everything);
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, before)),
        }
    }

    /// Reads the tokens of a macro or an attribute, which have no grammar: each `a::b` counts as a path.
    fn add_tokens(&mut self, tokens: &TokenStream) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.add_tokens(&group.stream()),
                TokenTree::Ident(word) if word == "use" => {
                    let length = tokens[at..].iter().position(is_semicolon).map_or(0, |end| end + 1);
                    let import: TokenStream = tokens[at..at + length].iter().cloned().collect();
                    if let Ok(import) = syn::parse2::<ItemUse>(import) {
                        self.visit_item_use(&import);
                        at += length;
                        continue;
                    }
                }
                TokenTree::Ident(first) => {
                    let mut path = vec![first.unraw().to_string()];
                    while let [a, b, TokenTree::Ident(next), ..] = &tokens[at + 1..]
                        && is_colon(a)
                        && is_colon(b)
                    {
                        path.push(next.unraw().to_string());
                        at += 3;
                    }
                    if path.len() > 1 {
                        self.add(line(first), &path);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        self.add_tree(&import.tree, &[]);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.module.push(module.ident.unraw().to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single word is something that is in scope, so a `use` has named it.
        if path.segments.len() > 1 {
            let words: Vec<String> = path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect();
            self.add(line(&path.segments[0].ident), &words);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        visit::visit_macro(self, call);
        self.add_tokens(&call.tokens);
    }

    fn visit_meta_list(&mut self, attribute: &'ast MetaList) {
        visit::visit_meta_list(self, attribute);
        self.add_tokens(&attribute.tokens);
    }
}

/// Returns what `path` leads to from within `module`.
fn resolve(path: &[String], module: &[String]) -> Name {
    let mut from = match path[0].as_str() {
        "crate" | "flashsale" => Vec::new(),
        "self" | "super" => module.to_vec(),
        other => return Name::Other(other.to_owned()),
    };
    for word in path {
        match word.as_str() {
            "crate" | "flashsale" | "self" => {}
            "super" => _ = from.pop(),
            _ => from.push(word.clone()),
        }
    }
    match from.into_iter().next() {
        Some(name) if name != "*" => Name::Own(name),
        _ => Name::WholeCrate,
    }
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}

fn is_colon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':')
}

fn is_semicolon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';')
}
