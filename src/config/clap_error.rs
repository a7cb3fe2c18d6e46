//! Turns an error of `clap` into one line that names the setting.
//!
//! `clap` explains a bad value on several lines. It names only the flag, also where the value came from the
//! environment. It repeats the value, also where it is a secret. Here a value is repeated only where it is none.

use std::env;

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::visible_secrets;
use crate::startup::{BadSetting, Stop};

/// Limits the characters of a bad value that the error repeats.
const SHOWN_CHARS_MAX: usize = 100;

/// Says why `command` could not read its settings.
pub(super) fn stop(error: clap::Error, command: &Command) -> Stop {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Stop::Help(error);
    }
    bad_setting(&error, command).into()
}

fn bad_setting(error: &clap::Error, command: &Command) -> BadSetting {
    let argument = text(error, ContextKind::InvalidArg).or_else(|| missing(error)).unwrap_or_default();
    let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
    let found = find(command, argument);
    let setting = found.map_or_else(|| flag(argument), name);
    let reason = match error.kind() {
        ErrorKind::UnknownArgument => "is not known; --help lists all settings".to_owned(),
        ErrorKind::InvalidSubcommand => {
            return BadSetting::new("the command", "is not known; --help lists all commands");
        }
        ErrorKind::InvalidUtf8 => return BadSetting::new(not_utf8(command), "is not valid UTF-8"),
        ErrorKind::ArgumentConflict => "is given twice".to_owned(),
        ErrorKind::TooManyValues => "takes no value".to_owned(),
        ErrorKind::MissingRequiredArgument => "is required".to_owned(),
        _ if value.is_empty() => format!("is empty{}", expected(error)),
        _ if found.is_some_and(visible_secrets::is_secret) => format!("can't be used{}", expected(error)),
        // What was expected may repeat parts of the value as well.
        _ if looks_secret(value) => "can't be used: it looks like a secret, and like no such setting".to_owned(),
        _ => format!("can't be '{}'{}", shown(value), expected(error)),
    };
    BadSetting::new(setting, reason)
}

/// Says what was expected in place of the bad value, if that is known.
fn expected(error: &clap::Error) -> String {
    if let Some(cause) = std::error::Error::source(error) {
        return format!(": {cause}");
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => format!(": expected {}", values.join(" or ")),
        _ => String::new(),
    }
}

/// Whether a value may hold a secret that was meant for another setting. Such a value isn't repeated.
fn looks_secret(value: &str) -> bool {
    ["@", "://", "whsec_", "Bearer ", "-----BEGIN"].iter().any(|mark| value.contains(mark))
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// Returns the first argument that is missing.
fn missing(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(arguments)) => arguments.first().map(String::as_str),
        _ => None,
    }
}

/// Finds the argument that `clap` shows as `--flag <VALUE>`, of the program or of one of its commands.
fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let flag = shown.split([' ', '=', '[']).next()?.strip_prefix("--")?;
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(flag))
        .or_else(|| command.get_subcommands().find_map(|command| find(command, shown)))
}

/// Names a setting: its variable and its flag.
pub(super) fn name(argument: &Arg) -> String {
    let flag = argument.get_long().unwrap_or_default();
    match argument.get_env() {
        Some(env) => format!("{} (--{flag})", env.to_string_lossy()),
        None => format!("--{flag}"),
    }
}

/// Names an unknown flag. Any other word isn't repeated: it may be a secret that was meant to follow its flag.
fn flag(argument: &str) -> String {
    match argument.split('=').next() {
        Some(flag) if flag.starts_with("--") => shown(flag),
        _ => "an argument without a flag".to_owned(),
    }
}

/// Finds the setting that isn't UTF-8: `clap` doesn't say which one it is.
fn not_utf8(command: &Command) -> String {
    let bad = |argument: &&Arg| argument.get_env().and_then(env::var_os).is_some_and(|value| value.to_str().is_none());
    let commands_arguments = command.get_subcommands().flat_map(Command::get_arguments);
    command.get_arguments().chain(commands_arguments).find(bad).map_or_else(|| "an argument".to_owned(), name)
}

fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}
