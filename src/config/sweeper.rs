//! The settings of the sweeper: what a run does.

use std::{ffi::OsString, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};

use super::{
    AFTER_HELP, DAY, DatabaseConfig, LogArgs, Risks, VisibleSecret,
    database::DatabaseArgs,
    exposure::{Exposure, InsecureArgs},
    parse, value, visible_secrets,
};
use crate::{
    reload::Reload,
    startup::{BadSetting, Stop},
    telemetry::LogFormat,
};

/// Limits the rows of a batch of the sweep. They stay locked until the batch commits.
const SWEEP_BATCH_MAX: usize = 10_000;
/// Limits the rows that one statement of the audit may read. Its snapshot lasts as long as the statement.
const AUDIT_PAGE_MAX: usize = 100_000;
/// The length of a year as durations are written.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60 + 6 * 60 * 60);

/// Holds the settings of the sweeper.
#[derive(Debug, Clone)]
pub struct SweeperConfig {
    /// The database.
    pub database: DatabaseConfig,
    /// Rows of a batch, 1 to 10,000.
    pub batch: usize,
    /// What is open to strangers.
    pub risks: Risks,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// What to do.
    pub command: SweeperCommand,
}

/// Says what the sweeper is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweeperCommand {
    /// Sweep once.
    Sweep,
    /// Audit the tables once.
    Audit {
        /// The most rows that one statement reads, 1 to 100,000.
        page: usize,
        /// Also correct `available_stock` where nothing else is wrong.
        repair: bool,
    },
    /// Delete what has been over for long.
    Purge {
        /// How long ago it has to be over: 1 day to 10 years.
        after: Duration,
        /// Only count what would be deleted.
        dry_run: bool,
    },
}

impl SweeperConfig {
    /// Reads the settings from `args` (the program's name first) and the environment.
    ///
    /// # Errors
    /// [`Stop`]: help was asked for, or a setting can't be used.
    pub fn from_args(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, Stop> {
        Ok(Self::read(parse(SweeperArgs::command(), args)?)?)
    }

    /// Lists the secrets among `args` and the environment that others can see.
    pub fn visible_secrets(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Vec<VisibleSecret> {
        visible_secrets::all(SweeperArgs::command(), args)
    }

    pub(super) fn read(args: SweeperArgs) -> Result<Self, BadSetting> {
        let SweeperArgs { database, batch, insecure, log, command } = args;
        // A run ends long before anything would be read anew.
        let database = database.check(&mut Reload::default())?;
        Ok(Self {
            risks: Exposure { database: Some(&database), ..Exposure::default() }.check(&insecure)?,
            database,
            batch,
            log_format: log.log_format,
            command: match command {
                None => SweeperCommand::Sweep,
                Some(SweeperSubcommand::Audit { page, repair }) => SweeperCommand::Audit { page, repair },
                Some(SweeperSubcommand::Purge { after, dry_run }) => SweeperCommand::Purge { after, dry_run },
            },
        })
    }
}

/// Gives back the stock of expired holds and cancels overdue orders, in one run.
///
/// The exit code is 0 where it has swept, or where another sweep is running. It is 1 where something failed, where a
/// faulty product was left out, or where another sweep has made no progress for 5 minutes.
#[derive(Parser)]
#[command(name = "sweeper", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub(super) struct SweeperArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Rows of a batch, 1 to 10000.
    #[arg(long, env = "FLASHSALE_SWEEP_BATCH", value_name = "ROWS", default_value = "100", value_parser = value::count(SWEEP_BATCH_MAX))]
    batch: usize,
    #[command(flatten)]
    insecure: InsecureArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Option<SweeperSubcommand>,
}

#[derive(Subcommand)]
enum SweeperSubcommand {
    /// Compare the stock, holds, orders and payments of every product, and log each fault. It may run during a sale.
    /// The exit code is 0 where there is no fault (a clock that went back is none), and 1 where there is any.
    Audit {
        /// The most rows that one statement reads, 1 to 100000.
        #[arg(long, env = "FLASHSALE_AUDIT_PAGE", value_name = "ROWS", default_value = "10000", value_parser = value::count(AUDIT_PAGE_MAX))]
        page: usize,
        /// Also set available_stock to what holds and orders leave of the total, where the product has no other fault.
        #[arg(long)]
        repair: bool,
    },
    /// Delete expired and cancelled holds that have been over for long, and the rows of sales that ended long ago. It may
    /// run during a sale. What is open, or younger, or refers to what is, stays. The exit code is 0 where it is done, and 1
    /// where something failed.
    Purge {
        /// How long ago it has to be over, 1day to 10years.
        #[arg(long, env = "FLASHSALE_PURGE_AFTER", value_name = "DURATION", value_parser = purge_after)]
        after: Duration,
        /// Count what would be deleted, and delete nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

fn purge_after(text: &str) -> Result<Duration, String> {
    value::duration(text, DAY, YEAR * 10, "from 1day to 10years")
}
