//! Says in one line why a program ends before its work begins.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

/// Holds the exit code for settings that can't be used.
const EXIT_BAD_SETTINGS: u8 = 2;

/// Names a setting that can't be used and says why, on one line and without a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {reason}")]
pub struct BadSetting {
    setting: String,
    reason: String,
}

impl BadSetting {
    /// Makes the error. `setting` is its name as the user knows it; `reason` continues the sentence, like `is empty`.
    pub fn new(setting: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self { setting: setting.to_string(), reason: reason.into() }
    }
}

/// Says why a program ends before its work begins.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The user asked for the help or the version.
    #[error(transparent)]
    Help(clap::Error),
    /// The user asked for a text.
    #[error("{0}")]
    Text(String),
    /// A setting can't be used.
    #[error(transparent)]
    BadSetting(#[from] BadSetting),
    /// The machine refuses something that the program needs.
    #[error("{what}")]
    Failed {
        /// What the program could not do.
        what: &'static str,
        /// Why.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
}

impl Stop {
    /// Says that the program could not do something that it needs.
    pub fn failed(what: &'static str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { what, cause: cause.into() }
    }

    /// Tells the user: help, or the text that was asked for, on stdout; anything else as one line on stderr.
    ///
    /// Returns the exit code: 0 for help and for a text, 2 for a bad setting, 1 for anything else.
    pub fn report(&self) -> ExitCode {
        // Nothing is left to do where stdout or stderr can't be written.
        match self {
            Self::Help(help) => {
                let _ = help.print();
                ExitCode::SUCCESS
            }
            Self::Text(text) => match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
                Ok(()) => ExitCode::SUCCESS,
                // Half of a text that somebody feeds to a database is no success.
                Err(_) => ExitCode::FAILURE,
            },
            Self::BadSetting(bad) => {
                let _ = writeln!(io::stderr(), "bad setting: {bad}");
                ExitCode::from(EXIT_BAD_SETTINGS)
            }
            Self::Failed { what, cause } => {
                let _ = writeln!(io::stderr(), "can't start: {what}: {cause}");
                ExitCode::FAILURE
            }
        }
    }
}
