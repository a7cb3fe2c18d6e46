//! The settings of `server grants`: whose rights it prints, and for which database.

use clap::{Args, ValueEnum};

/// Limits the characters of a database's name, as both engines do.
const DATABASE_MAX: usize = 64;
/// Limits the characters of the prefix, so that no user's name is longer than MySQL's 32.
const PREFIX_MAX: usize = 20;
/// Limits the characters of a host part, as both engines do.
const HOST_MAX: usize = 255;

/// Names the accounts, one for each kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Account {
    /// `server migrate` makes and changes the tables.
    Migrator,
    /// `server` sells.
    Server,
    /// `sweeper` gives back what has expired.
    Sweeper,
    /// `sweeper audit` reads, and writes down how it ended.
    Auditor,
    /// `sweeper audit --repair` also corrects `available_stock`.
    Repairer,
    /// `sweeper purge` deletes.
    Purger,
}

impl Account {
    /// Lists all accounts.
    pub const ALL: [Self; 6] =
        [Self::Migrator, Self::Server, Self::Sweeper, Self::Auditor, Self::Repairer, Self::Purger];

    /// Returns the account's name, which follows the prefix in the name of its user.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Migrator => "migrator",
            Self::Server => "server",
            Self::Sweeper => "sweeper",
            Self::Auditor => "auditor",
            Self::Repairer => "repairer",
            Self::Purger => "purger",
        }
    }

    /// Returns the command that logs in by the account.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Migrator => "server migrate",
            Self::Server => "server",
            Self::Sweeper => "sweeper",
            Self::Auditor => "sweeper audit",
            Self::Repairer => "sweeper audit --repair",
            Self::Purger => "sweeper purge",
        }
    }
}

/// Holds the settings of `server grants`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantsConfig {
    /// The database's name, 1 to 64 characters. `None`: the database of DATABASE_URL.
    pub database: Option<String>,
    /// The host part of the accounts, such as `%` or `10.0.0.%`.
    pub host: String,
    /// What stands before each account's name.
    pub prefix: String,
    /// The accounts, at least one, in the order of [`Account`].
    pub accounts: Vec<Account>,
    /// Whether the users are there already, so that only their rights are printed.
    pub existing_users: bool,
}

#[derive(Args)]
pub(super) struct GrantsArgs {
    /// The database's name. Without it, the database of DATABASE_URL.
    #[arg(value_name = "DATABASE", value_parser = database)]
    database: Option<String>,
    /// The host part of the accounts.
    #[arg(long, value_name = "HOST", default_value = "%", value_parser = host)]
    host: String,
    /// What stands before the accounts' names.
    #[arg(long, value_name = "PREFIX", default_value = "flashsale_", value_parser = prefix)]
    prefix: String,
    /// Print this account alone; may be given several times.
    #[arg(long = "account", value_name = "ACCOUNT")]
    accounts: Vec<Account>,
    /// Print no CREATE USER, only the rights: for accounts that are there, after a migration.
    #[arg(long)]
    existing_users: bool,
}

impl GrantsArgs {
    /// Tells whether the database is named here, so that its URL isn't needed.
    pub(super) fn names_database(&self) -> bool {
        self.database.is_some()
    }

    pub(super) fn read(self) -> GrantsConfig {
        let Self { database, host, prefix, mut accounts, existing_users } = self;
        accounts.sort_unstable();
        accounts.dedup();
        if accounts.is_empty() {
            accounts.extend(Account::ALL);
        }
        GrantsConfig { database, host, prefix, accounts, existing_users }
    }
}

fn database(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > DATABASE_MAX || text.chars().any(char::is_control) {
        return Err(format!("must have 1 to {DATABASE_MAX} characters, none of them a control character"));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, String> {
    let fits = |char: char| char.is_ascii_alphanumeric() || "._-:%/[]".contains(char);
    if text.is_empty() || text.len() > HOST_MAX || !text.chars().all(fits) {
        return Err("must be a host's name, an address, or a pattern of either, such as 10.0.0.%".to_owned());
    }
    Ok(text.to_owned())
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = |char: char| char.is_ascii_alphanumeric() || "_-".contains(char);
    if text.len() > PREFIX_MAX || !text.chars().all(fits) {
        return Err(format!("must have at most {PREFIX_MAX} letters, digits, _ or -"));
    }
    Ok(text.to_owned())
}
