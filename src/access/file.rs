//! The file of principals: how it is read, and what is wrong with it.
//!
//! A line is `name  san:dns:NAME | san:uri:URI | token:sha256:HEX  role[,role…]`. What follows a `#` at the start of a
//! column is a comment. Somebody may put a token where something else belongs, so no error repeats anything of the file.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    methods::{Role, Roles},
    principals::{Credential, Principals},
    token::{NoHash, TokenHash},
};
use crate::listener::SubjectName;

/// Limits the file, in bytes. A larger file is some other file.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Limits a line, in bytes.
const LINE_BYTES_MAX: usize = 4096;
/// Limits the credentials. Each call's token is compared with all.
const CREDENTIALS_MAX: usize = 1000;
/// Limits the characters of a principal's name.
const NAME_LENGTH_MAX: usize = 64;
/// Limits the bytes of a DNS name, and of a URI.
const DNS_BYTES_MAX: usize = 253;
const URI_BYTES_MAX: usize = 2048;
/// Stands in the log for a caller without a name.
const NOBODY: &str = "unknown";
const LINE: &str = "name  san:dns:NAME | san:uri:URI | token:sha256:HEX  role[,role…]";

/// Names the file of principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalsFile(PathBuf);

/// Says why the file can't be used. No text of it is repeated.
#[derive(Debug, thiserror::Error)]
pub enum PrincipalsFileError {
    /// The file can't be read.
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is too large.
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// The file is something else.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The file has too many lines with a principal.
    #[error("it has more than {CREDENTIALS_MAX} lines with a principal")]
    TooMany,
    /// A line is wrong.
    #[error("line {line} {fault}")]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong, and what to write.
        fault: String,
    },
}

impl PrincipalsFile {
    /// Names a file, which isn't read yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the file.
    ///
    /// # Errors
    /// The file can't be read, is too large, or has a line that is wrong.
    pub fn read(&self) -> Result<Principals, PrincipalsFileError> {
        let mut bytes = Vec::new();
        // The path may be a pipe without an end.
        File::open(&self.0)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Principals::parse(&bytes)
    }
}

/// Holds what a line says.
struct Entry<'l> {
    name: &'l str,
    credential: Credential,
    roles: Roles,
}

impl Principals {
    /// Reads the text of a file of principals.
    ///
    /// # Errors
    /// The text is too large, or has a line that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, PrincipalsFileError> {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(PrincipalsFileError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PrincipalsFileError::NotText)?;
        let mut principals = Self::default();
        let mut credentials: HashMap<Credential, usize> = HashMap::new();
        let mut names: HashMap<&str, (usize, Roles)> = HashMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let bad = |fault: String| PrincipalsFileError::Line { line, fault };
            let Some(Entry { name, credential, roles }) = parse_line(text).map_err(bad)? else { continue };
            if credentials.len() == CREDENTIALS_MAX {
                return Err(PrincipalsFileError::TooMany);
            }
            if let Some(earlier) = credentials.insert(credential.clone(), line) {
                return Err(bad(format!("has the same credential as line {earlier}: write each once, for one name")));
            }
            let (earlier, roles_there) = *names.entry(name).or_insert((line, roles));
            if roles_there != roles {
                return Err(bad(format!(
                    "gives other roles to the name of line {earlier}: write the same roles on all lines of a name"
                )));
            }
            principals.add(name, credential, roles);
        }
        Ok(principals)
    }
}

/// Reads a line. `None`: it is empty, or a comment.
fn parse_line(line: &str) -> Result<Option<Entry<'_>>, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("has more than {LINE_BYTES_MAX} bytes: write {LINE}"));
    }
    let columns: Vec<&str> = line.split_whitespace().take_while(|column| !column.starts_with('#')).collect();
    let [name, credential, roles] = columns[..] else {
        return match columns.len() {
            0 => Ok(None),
            1 => Err(format!("has 1 column: write {LINE}")),
            count => Err(format!("has {count} columns: write {LINE}, with no space within a column")),
        };
    };
    Ok(Some(Entry { name: parse_name(name)?, credential: parse_credential(credential)?, roles: parse_roles(roles)? }))
}

fn parse_name(name: &str) -> Result<&str, String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_plain || name.len() > NAME_LENGTH_MAX {
        return Err(format!(
            "has a name that can't be used: write 1 to {NAME_LENGTH_MAX} letters, digits, dots, hyphens or underscores"
        ));
    }
    if name == NOBODY {
        return Err(format!("has the name {NOBODY}, which stands for callers without a name: write another"));
    }
    Ok(name)
}

fn parse_credential(text: &str) -> Result<Credential, String> {
    if let Some(dns) = text.strip_prefix("san:dns:") {
        return parse_dns(dns).map(Credential::Subject);
    }
    if let Some(uri) = text.strip_prefix("san:uri:") {
        return parse_uri(uri).map(Credential::Subject);
    }
    if let Some(hex) = text.strip_prefix("token:sha256:") {
        return TokenHash::parse(hex).map(Credential::Token).map_err(|no_hash| match no_hash {
            NoHash::Digits => {
                "has a token's hash that isn't one: write the 64 hexadecimal digits that sha256sum prints of the token"
                    .to_owned()
            }
            NoHash::OfNothing => {
                "has the hash of an empty token: make one by openssl rand -hex 32, and write its hash".to_owned()
            }
        });
    }
    Err("has a second column of an unknown kind: write san:dns:NAME, san:uri:URI or token:sha256:HEX".to_owned())
}

fn parse_dns(name: &str) -> Result<SubjectName, String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if name.is_empty() || name.len() > DNS_BYTES_MAX || !is_plain {
        return Err(
            "has a DNS name that can't be used: write it as the certificate has it, without * and without a port"
                .to_owned(),
        );
    }
    Ok(SubjectName::Dns(name.to_ascii_lowercase()))
}

fn parse_uri(uri: &str) -> Result<SubjectName, String> {
    let is_plain = uri.bytes().all(|byte| byte.is_ascii_graphic());
    let has_scheme = uri.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    if !is_plain || !has_scheme || uri.len() > URI_BYTES_MAX {
        return Err(
            "has a URI that can't be used: write it as the certificate has it, like spiffe://shop/checkout".to_owned()
        );
    }
    Ok(SubjectName::Uri(uri.to_owned()))
}

fn parse_roles(list: &str) -> Result<Roles, String> {
    let mut roles = Vec::new();
    for (number, name) in (1..).zip(list.split(',')) {
        let Some(role) = Role::named(name) else {
            let known = Role::ALL.map(Role::as_str).join(", ");
            return Err(format!("has an unknown role, number {number} of its list: write some of {known}"));
        };
        roles.push(role);
    }
    Ok(Roles::of(&roles))
}

#[cfg(test)]
mod tests;
