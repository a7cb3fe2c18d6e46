//! The settings of the database, which server and sweeper share.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::{
    database_tls::{self, DatabaseTls, DatabaseTlsArgs, Transport},
    secret::{self, SettingName},
    value,
};
use crate::{
    reload::{Current, Reload},
    startup::BadSetting,
};

/// Limits the connections of a pool.
const POOL_SIZE_MAX: usize = 1_000;

/// Says where the database is, and how many connections to it are kept.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `mysql://user:password@host:port/database`, with a host and a database.
    pub url: SecretString,
    /// The most connections, 1 to 1,000.
    pub pool_size: usize,
    /// What TLS is made with.
    pub tls: Current<DatabaseTls>,
    /// How the database is reached.
    pub transport: Transport,
    /// The setting that the URL came from.
    pub(super) setting: SettingName,
}

impl DatabaseConfig {
    /// Makes the settings as if the URL came from DATABASE_URL. The URL isn't checked, and counts as this machine's.
    pub fn new(url: SecretString, pool_size: usize) -> Self {
        let transport = Transport { is_local: true, is_verified: false };
        let tls = Current::fixed(DatabaseTls::default());
        Self { url, pool_size, tls, transport, setting: secret::DATABASE_URL }
    }

    /// Says why the URL can't be used. `reason` must not repeat any text of the URL, which may be secret.
    pub fn bad_url(&self, reason: impl Into<String>) -> BadSetting {
        BadSetting::new(self.setting, reason)
    }
}

#[derive(Args)]
pub(super) struct DatabaseArgs {
    /// The database: mysql://user:password@host:port/database. Required, unless its file is given.
    #[arg(long, env = secret::DATABASE_URL.env, value_name = "URL", hide_env_values = true, global = true)]
    database_url: Option<SecretString>,
    /// A file that holds the database's URL.
    #[arg(long, env = secret::DATABASE_URL_FILE.env, value_name = "PATH", hide_env_values = true, global = true)]
    database_url_file: Option<PathBuf>,
    /// The most connections to the database, 1 to 1000.
    #[arg(long, env = "FLASHSALE_DB_POOL_SIZE", value_name = "CONNECTIONS", default_value = "16", global = true, value_parser = value::count(POOL_SIZE_MAX))]
    db_pool_size: usize,
    #[command(flatten)]
    tls: DatabaseTlsArgs,
}

impl DatabaseArgs {
    /// Checks the URL where it is needed. Where it isn't, it stays unread and is empty.
    pub(super) fn check_unless(self, unneeded: bool, reload: &mut Reload) -> Result<DatabaseConfig, BadSetting> {
        if unneeded { Ok(DatabaseConfig::new(SecretString::default(), self.db_pool_size)) } else { self.check(reload) }
    }

    pub(super) fn check(self, reload: &mut Reload) -> Result<DatabaseConfig, BadSetting> {
        let (setting, url) = secret::database_url(self.database_url, self.database_url_file)?;
        let files = self.tls.check()?;
        let transport = database_tls::transport(url.expose_secret(), &files);
        let transport = transport.map_err(|reason| BadSetting::new(setting, reason))?;
        let tls = reload.read(files.paths(), move || files.read())?;
        Ok(DatabaseConfig { url, pool_size: self.db_pool_size, tls, transport, setting })
    }
}
