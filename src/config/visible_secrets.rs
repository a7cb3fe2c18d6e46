//! Finds secrets that are given so that others can see them.
//!
//! What `--help` hides, because it is a secret or the file of one, is looked at: a secret given by a flag stands in the
//! list of processes, and a file that every user may read is no place for one. The group may read it, as the files that
//! an orchestrator mounts for a container are read by their group.

use std::{ffi::OsString, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use clap::{Arg, ArgMatches, Command, parser::ValueSource};
use tracing::warn;

use super::clap_error;

/// Holds the bit that lets every user read a file.
const OTHERS_READ: u32 = 0o004;

/// Names a setting whose secret others can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisibleSecret {
    /// The secret is a flag.
    Flag(String),
    /// Every user may read the secret's file.
    File(String),
}

impl VisibleSecret {
    /// Warns the operator.
    pub fn warn(&self) {
        match self {
            Self::Flag(setting) => {
                warn!(setting, "A secret is given by a flag, which every user sees in the list of processes");
            }
            Self::File(setting) => warn!(setting, "The file of a secret can be read by every user"),
        }
    }
}

/// Lists the secrets among these arguments and the environment that others can see. Arguments that can't be used have
/// none: they end the program.
pub(super) fn all(
    mut command: Command,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Vec<VisibleSecret> {
    let Ok(matches) = command.try_get_matches_from_mut(args) else { return Vec::new() };
    command
        .get_arguments()
        .filter(|argument| is_secret(argument))
        .filter_map(|argument| see(argument, &matches))
        .collect()
}

/// Whether a setting is secret, or the path of what is.
pub(super) fn is_secret(argument: &Arg) -> bool {
    argument.is_hide_env_values_set()
}

fn see(argument: &Arg, matches: &ArgMatches) -> Option<VisibleSecret> {
    let id = argument.get_id().as_str();
    // The program's own settings may also stand behind its command.
    let inner = matches.subcommand().map(|(_, matches)| matches);
    let [of_program, of_command] = [Some(matches), inner].map(|matches| {
        let matches = matches?;
        // An argument that the command doesn't know is no error here.
        matches.try_contains_id(id).unwrap_or(false).then(|| (matches, matches.value_source(id)))
    });
    let found = [of_program, of_command].into_iter().flatten();
    let (matches, source) = found.max_by_key(|(_, source)| *source == Some(ValueSource::CommandLine))?;
    match matches.try_get_one::<PathBuf>(id) {
        Ok(Some(path)) => {
            let mode = fs::metadata(path).ok().filter(|file| file.is_file())?.permissions().mode();
            (mode & OTHERS_READ != 0).then(|| VisibleSecret::File(clap_error::name(argument)))
        }
        // Addresses are secret only where they hold credentials, and then they aren't taken.
        _ if argument.get_long() == Some("server-url") => None,
        _ => (source == Some(ValueSource::CommandLine)).then(|| VisibleSecret::Flag(clap_error::name(argument))),
    }
}
