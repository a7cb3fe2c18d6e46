//! Why a program doesn't start, in one line.
//!
//! `clap` explains a bad value on several lines and names only the flag, also when the value came from the environment;
//! its errors are folded here into one line that names both.

use std::{
    env, fmt,
    io::{self, Write},
    process::ExitCode,
};

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Exit code for settings that can't be used.
const EXIT_BAD_SETTINGS: u8 = 2;
/// Characters of a bad value that are repeated.
const SHOWN_CHARS_MAX: usize = 100;

/// A setting's two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) env: &'static str,
    pub(super) flag: &'static str,
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (--{})", self.env, self.flag)
    }
}

/// A setting that can't be used: its names, and why. Displayed on one line, never with a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    setting: String,
    reason: String,
}

impl Invalid {
    /// `setting` as the user knows it, and why it can't be used.
    pub fn new(setting: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self { setting: setting.to_string(), reason: reason.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.setting, self.reason)
    }
}

impl std::error::Error for Invalid {}

/// Why a program ends before it begins.
#[derive(Debug)]
pub enum Stop {
    /// Its help or version was asked for.
    Help(clap::Error),
    /// A setting can't be used.
    Invalid(Invalid),
    /// The machine refuses what the program needs to begin.
    Failed(String),
}

impl From<Invalid> for Stop {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl Stop {
    /// Tells the user: the help on stdout, or one line on stderr. Returns the exit code: 0 for help, 2 for a bad
    /// setting, 1 for anything else.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Help(help) => {
                // Nobody reads it: nothing is lost.
                let _ = help.print();
                ExitCode::SUCCESS
            }
            Self::Invalid(invalid) => {
                let _ = writeln!(io::stderr(), "bad setting: {invalid}");
                ExitCode::from(EXIT_BAD_SETTINGS)
            }
            Self::Failed(reason) => {
                let _ = writeln!(io::stderr(), "can't start: {reason}");
                ExitCode::FAILURE
            }
        }
    }

    pub(super) fn from_clap(error: clap::Error, command: &Command) -> Self {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Self::Help(error);
        }
        Self::Invalid(fold(&error, command))
    }
}

fn fold(error: &clap::Error, command: &Command) -> Invalid {
    let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
    let setting = match find(command, argument) {
        Some(argument) => name(argument),
        None => flag(argument),
    };
    let reason = match error.kind() {
        ErrorKind::UnknownArgument => "is not known; --help lists all settings".to_owned(),
        ErrorKind::InvalidSubcommand => {
            return Invalid::new("the command", "is not known; --help lists all commands");
        }
        ErrorKind::InvalidUtf8 => return Invalid::new(not_utf8(command), "is not valid UTF-8"),
        ErrorKind::ArgumentConflict => "is given twice".to_owned(),
        ErrorKind::TooManyValues => "takes no value".to_owned(),
        _ if value.is_empty() => format!("is empty{}", expected(error)),
        _ => format!("can't be '{}'{}", shown(value), expected(error)),
    };
    Invalid::new(setting, reason)
}

/// What was expected in place of the bad value, if that is known.
fn expected(error: &clap::Error) -> String {
    if let Some(cause) = std::error::Error::source(error) {
        return format!(": {cause}");
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => format!(": expected {}", values.join(" or ")),
        _ => String::new(),
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// The argument that `clap` shows as `--flag <VALUE>`, of the program or of one of its commands.
fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let flag = shown.split([' ', '=', '[']).next()?.strip_prefix("--")?;
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(flag))
        .or_else(|| command.get_subcommands().find_map(|command| find(command, shown)))
}

fn name(argument: &Arg) -> String {
    let flag = argument.get_long().unwrap_or_default();
    match argument.get_env() {
        Some(env) => format!("{} (--{flag})", env.to_string_lossy()),
        None => format!("--{flag}"),
    }
}

/// A flag that isn't known. Any other word isn't repeated: it may be a secret that was meant to follow its flag.
fn flag(argument: &str) -> String {
    match argument.split('=').next() {
        Some(flag) if flag.starts_with("--") => shown(flag),
        _ => "an argument without a flag".to_owned(),
    }
}

/// `clap` doesn't say which value it was.
fn not_utf8(command: &Command) -> String {
    let bad = |argument: &&Arg| argument.get_env().and_then(env::var_os).is_some_and(|value| value.to_str().is_none());
    let of_commands = command.get_subcommands().flat_map(Command::get_arguments);
    command.get_arguments().chain(of_commands).find(bad).map_or_else(|| "an argument".to_owned(), name)
}

fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}
