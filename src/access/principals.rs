//! The principals, and how each is known.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    methods::Roles,
    token::{self, TokenHash},
};
use crate::listener::SubjectName;

/// Holds the principals of one reading of their file. It never changes.
#[derive(Clone, Default)]
pub struct Principals {
    principals: Vec<Principal>,
    /// The hashes, each with the place of its principal.
    tokens: Vec<(TokenHash, usize)>,
    /// The names in certificates, each with the place of its principal.
    subjects: HashMap<SubjectName, usize>,
}

/// Holds a name and its roles.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) name: Arc<str>,
    pub(super) roles: Roles,
}

/// Says how a principal is known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Credential {
    Subject(SubjectName),
    Token(TokenHash),
}

/// Says why the names of a certificate are nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSubject {
    /// No principal has one of them.
    Unknown,
    /// Several principals have one each.
    Several,
}

impl Principals {
    /// Adds a credential. A further one of the same name is one more way to know that principal.
    pub(super) fn add(&mut self, name: &str, credential: Credential, roles: Roles) {
        let known = self.principals.iter().position(|principal| &*principal.name == name);
        let place = known.unwrap_or_else(|| {
            self.principals.push(Principal { name: name.into(), roles });
            self.principals.len() - 1
        });
        match credential {
            Credential::Subject(subject) => drop(self.subjects.insert(subject, place)),
            Credential::Token(hash) => self.tokens.push((hash, place)),
        }
    }

    /// Returns how many principals there are.
    pub fn count(&self) -> usize {
        self.principals.len()
    }

    /// Whether somebody is known by a token.
    pub fn have_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Returns whose token this is.
    pub(super) fn by_token(&self, presented: &TokenHash) -> Option<&Principal> {
        self.principals.get(token::find(&self.tokens, presented)?)
    }

    /// Returns whose certificate has these names.
    ///
    /// # Errors
    /// The names are nobody's, or those of several principals.
    pub(super) fn by_names(&self, names: &[SubjectName]) -> Result<&Principal, NoSubject> {
        let mut places = names.iter().filter_map(|name| self.subjects.get(name));
        let place = places.next().ok_or(NoSubject::Unknown)?;
        if places.any(|other| other != place) {
            return Err(NoSubject::Several);
        }
        self.principals.get(*place).ok_or(NoSubject::Unknown)
    }
}

impl fmt::Debug for Principals {
    /// Shows the names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.principals.iter().map(|principal| &principal.name)).finish()
    }
}
