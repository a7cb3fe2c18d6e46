//! As much of Rust's grammar as is needed to find the paths in a source file: tokens without comments and literals,
//! `use` trees, and which module a line belongs to.

use std::path::{Component, Path};

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A module (or another item) of the crate's top level.
    Own(String),
    /// All of the crate's top level.
    WholeCrate,
    /// A crate, or something that is in scope.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Separator,
    Sign(char),
}

/// A source file.
pub(super) struct Source {
    /// The file's module, from the crate's top level on; `bin` for a program's.
    module: Vec<String>,
    /// With their line numbers.
    tokens: Vec<(usize, Token)>,
}

impl Source {
    /// `path` is the file's, from the crate's root: `src/db/holds.rs`.
    pub(super) fn new(path: &str, text: &str) -> Self {
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
        Self { module, tokens: tokens(text) }
    }

    /// The module of the crate's top level that the file belongs to; `None` for the top level itself.
    pub(super) fn top_module(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    /// What the paths in the file lead to, with their line numbers.
    pub(super) fn names(&self) -> Vec<(usize, Name)> {
        let mut names = Vec::new();
        // The modules that the place is in, and how deep in braces each began.
        let mut module = self.module.clone();
        let mut inner = Vec::new();
        let mut depth = 0;
        let mut at = 0;
        while let Some((line, token)) = self.tokens.get(at) {
            let mut paths = Vec::new();
            match token {
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => {
                    depth -= 1;
                    if inner.pop_if(|began| *began == depth).is_some() {
                        module.pop();
                    }
                }
                Token::Word(word) if word == "mod" => {
                    if let (Some(Token::Word(name)), Some(Token::Sign('{'))) = (self.token(at + 1), self.token(at + 2))
                    {
                        module.push(name.clone());
                        inner.push(depth);
                        at += 1;
                    }
                }
                Token::Word(word) if word == "use" => {
                    at += 1;
                    self.read_tree(&mut at, &[], &mut paths);
                    at -= 1;
                }
                Token::Word(_) if self.token(at + 1) == Some(&Token::Separator) => {
                    let mut path = Vec::new();
                    while let Some(Token::Word(word)) = self.token(at) {
                        path.push(word.clone());
                        if self.token(at + 1) != Some(&Token::Separator) {
                            break;
                        }
                        at += 2;
                    }
                    // Not a name, but the `<` of a turbofish, or the like: to be looked at again.
                    if !matches!(self.token(at), Some(Token::Word(_))) {
                        at -= 1;
                    }
                    paths.push(path);
                }
                _ => {}
            }
            names.extend(paths.into_iter().map(|path| (*line, resolve(path, &module))));
            at += 1;
        }
        names
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(_, token)| token)
    }

    /// Reads `a::{b, c::*}` and adds a path for each leaf. Stops behind it.
    fn read_tree(&self, at: &mut usize, before: &[String], paths: &mut Vec<Vec<String>>) {
        let mut path = before.to_vec();
        loop {
            match self.token(*at) {
                Some(Token::Word(word)) if word == "as" => {
                    *at += 2;
                    continue;
                }
                Some(Token::Word(word)) => path.push(word.clone()),
                Some(Token::Sign('*')) => path.push("*".to_owned()),
                Some(Token::Separator) => {}
                Some(Token::Sign('{')) => {
                    while matches!(self.token(*at), Some(Token::Sign('{' | ','))) {
                        *at += 1;
                        self.read_tree(at, &path, paths);
                    }
                    *at += 1;
                    return;
                }
                _ => break,
            }
            *at += 1;
        }
        // Nothing stands behind the last comma of a list.
        if path.len() > before.len() {
            paths.push(path);
        }
    }
}

/// What `path` leads to from within `module`.
fn resolve(path: Vec<String>, module: &[String]) -> Name {
    let mut from = match path[0].as_str() {
        "crate" | "flashsale" => Vec::new(),
        "self" | "super" => module.to_vec(),
        other => return Name::Other(other.to_owned()),
    };
    for word in path {
        match word.as_str() {
            "crate" | "flashsale" | "self" => {}
            "super" => _ = from.pop(),
            _ => from.push(word),
        }
    }
    match from.into_iter().next() {
        Some(name) if name != "*" => Name::Own(name),
        _ => Name::WholeCrate,
    }
}

fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let (token, length) = next_token(rest);
        tokens.extend(token.map(|token| (line, token)));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The token that `text` begins with, `None` for a blank, a comment or a literal; and its length.
fn next_token(text: &str) -> (Option<Token>, usize) {
    let first = text.chars().next().unwrap();
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if let Some(length) = comment_length(text).or_else(|| literal_length(text)) {
        return (None, length);
    }
    if text.starts_with("::") {
        return (Some(Token::Separator), 2);
    }
    let prefix = if text.starts_with("r#") { 2 } else { 0 };
    let word: String = text[prefix..].chars().take_while(|&c| is_word(c)).collect();
    if word.is_empty() {
        (Some(Token::Sign(first)), first.len_utf8())
    } else {
        let length = prefix + word.len();
        (Some(Token::Word(word)), length)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn comment_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().unwrap().len_utf8();
        }
    }
    Some(at)
}

/// Of a string, a raw string or a character. A prefix such as `b` is a word of its own here, except for raw strings.
fn literal_length(text: &str) -> Option<usize> {
    for prefix in ["r", "br", "cr"] {
        let Some(raw) = text.strip_prefix(prefix) else {
            continue;
        };
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let start = prefix.len() + hashes + 1;
            let end = format!("\"{}", "#".repeat(hashes));
            return Some(start + text[start..].find(&end)? + end.len());
        }
    }
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut chars = text.char_indices().skip(1).peekable();
    // A lifetime has no second quote after its first character.
    if quote == '\'' && !text[1..].starts_with('\\') && text.chars().nth(2) != Some(quote) {
        return None;
    }
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}
