//! The settings of who may call what, and where operators call.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use tracing::warn;

use super::{secret::SettingName, value};
use crate::{
    access::{Access, Principals, PrincipalsFile},
    reload::Reload,
    startup::BadSetting,
};

const PRINCIPALS_FILE: SettingName = SettingName { env: "FLASHSALE_PRINCIPALS_FILE", flag: "principals-file" };

pub(super) const ADMIN_LISTEN: SettingName = SettingName { env: "FLASHSALE_ADMIN_LISTEN", flag: "admin-listen" };

#[derive(Args)]
pub(super) struct PrincipalsArgs {
    /// A file that says who may call what: a name, a credential and its roles a line. Unless given: everybody may call.
    #[arg(long, env = PRINCIPALS_FILE.env, value_name = "PATH")]
    principals_file: Option<PathBuf>,
}

impl PrincipalsArgs {
    /// Reads the file, now and whenever files are read anew.
    pub(super) fn access(self, reload: &mut Reload) -> Result<Access, BadSetting> {
        let Some(path) = self.principals_file else { return Ok(Access::for_everybody()) };
        let file = PrincipalsFile::new(path);
        let read = {
            let file = file.clone();
            move || read(&file)
        };
        Ok(Access::for_principals(reload.read([file.path().to_owned()], read)?))
    }
}

fn read(file: &PrincipalsFile) -> Result<Principals, BadSetting> {
    let bad = |error| BadSetting::new(PRINCIPALS_FILE, format!("can't be used: {error}"));
    let principals = file.read().map_err(bad)?;
    // At the start there is no log yet, and the program says it later.
    if principals.count() == 0 {
        warn!("The file of principals has nobody: no call but those of health is let in");
    }
    Ok(principals)
}

#[derive(Args)]
pub(super) struct AdminArgs {
    /// Where alone to serve AdminService and reflection, beside all else: an IP address and a port. Unless given: at --listen.
    #[arg(long, env = ADMIN_LISTEN.env, value_name = "ADDRESS", value_parser = value::address)]
    admin_listen: Option<SocketAddr>,
    /// Whether to serve reflection, by which tools learn the calls. Unless given: on at a loopback address, else off.
    #[arg(long, env = "FLASHSALE_REFLECTION", value_name = "SWITCH")]
    reflection: Option<Switch>,
}

/// Turns something on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl AdminArgs {
    /// Returns where operators call, and whether reflection is served, of a server that listens there.
    ///
    /// # Errors
    /// Both addresses are the same.
    pub(super) fn admin(&self, listen: SocketAddr) -> Result<(Option<SocketAddr>, bool), BadSetting> {
        if self.admin_listen == Some(listen) && listen.port() != 0 {
            let reason = "is the address of FLASHSALE_LISTEN: choose another, or leave it out";
            return Err(BadSetting::new(ADMIN_LISTEN, reason));
        }
        let address = self.admin_listen.unwrap_or(listen);
        let is_on = match self.reflection {
            Some(switch) => switch == Switch::On,
            None => address.ip().to_canonical().is_loopback(),
        };
        Ok((self.admin_listen, is_on))
    }
}
