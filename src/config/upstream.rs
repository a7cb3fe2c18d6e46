//! The settings of the gateway that say how it knows the server, and how it is known there.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;

use super::{
    exposure,
    pem::{self, BadIdentity},
    secret::{self, SERVER_TOKEN, SERVER_TOKEN_FILE, SettingName},
};
use crate::{
    gateway::{Credentials, ServerUrl},
    reload::{Current, Reload},
    startup::BadSetting,
};

const SERVER_CA: SettingName = SettingName { env: "FLASHSALE_SERVER_CA", flag: "server-ca" };
const SERVER_CERT: SettingName = SettingName { env: "FLASHSALE_SERVER_CERT", flag: "server-cert" };
const SERVER_KEY: SettingName = SettingName { env: "FLASHSALE_SERVER_KEY", flag: "server-key" };

#[derive(Args)]
pub(super) struct UpstreamArgs {
    /// A file with the authorities (PEM) that alone may sign the server's certificate. Without it, those that the system
    /// trusts may.
    #[arg(long, env = SERVER_CA.env, value_name = "PATH")]
    server_ca: Option<PathBuf>,
    /// A file with the certificate (PEM) that is shown to the server.
    #[arg(long, env = SERVER_CERT.env, value_name = "PATH")]
    server_cert: Option<PathBuf>,
    /// A file with the key (PEM) of that certificate.
    #[arg(long, env = SERVER_KEY.env, value_name = "PATH", hide_env_values = true)]
    server_key: Option<PathBuf>,
    /// The token that is shown to the server with each call. Plain text has to stay on this machine.
    #[arg(long, env = SERVER_TOKEN.env, value_name = "TOKEN", hide_env_values = true)]
    server_token: Option<SecretString>,
    /// A file that holds that token.
    #[arg(long, env = SERVER_TOKEN_FILE.env, value_name = "PATH", hide_env_values = true)]
    server_token_file: Option<PathBuf>,
}

impl UpstreamArgs {
    pub(super) fn check(self, url: &ServerUrl, reload: &mut Reload) -> Result<Current<Credentials>, BadSetting> {
        let identity = match (self.server_cert, self.server_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(BadSetting::new(SERVER_KEY, format!("is required with {SERVER_CERT}"))),
            (None, Some(_)) => return Err(BadSetting::new(SERVER_CERT, format!("is required with {SERVER_KEY}"))),
        };
        let files = UpstreamFiles {
            authorities: self.server_ca,
            identity,
            token: self.server_token,
            token_file: self.server_token_file,
        };
        let needs_tls = [(SERVER_CA, files.authorities.is_some()), (SERVER_CERT, files.identity.is_some())];
        if let Some((setting, _)) = needs_tls.into_iter().find(|(_, given)| *given && !url.is_tls()) {
            return Err(BadSetting::new(
                setting,
                "needs a server with https:// in FLASHSALE_SERVER_URL (--server-url)",
            ));
        }
        let token = [(SERVER_TOKEN, files.token.is_some()), (SERVER_TOKEN_FILE, files.token_file.is_some())];
        if let Some((setting, _)) = token.into_iter().find(|(_, given)| *given && is_open_to_others(url)) {
            let reason = "would be sent in plain text: FLASHSALE_SERVER_URL (--server-url) has to be https://, or on \
                this machine";
            return Err(BadSetting::new(setting, reason));
        }
        reload.read(files.paths(), move || files.read())
    }
}

/// Whether what is sent to this server goes in plain text, and may leave the machine.
fn is_open_to_others(url: &ServerUrl) -> bool {
    !url.is_tls() && !exposure::is_loopback_name(url.host())
}

/// Names the files by which the gateway and the server know each other.
#[derive(Debug)]
struct UpstreamFiles {
    authorities: Option<PathBuf>,
    /// The certificate's file and the key's.
    identity: Option<(PathBuf, PathBuf)>,
    token: Option<SecretString>,
    token_file: Option<PathBuf>,
}

impl UpstreamFiles {
    /// Returns the files that [`Self::read`] opens.
    fn paths(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.authorities.iter().chain(identity).chain(&self.token_file).cloned().collect()
    }

    /// Reads the files, which may be read again later, and checks them. An error names the setting.
    fn read(&self) -> Result<Credentials, BadSetting> {
        let mut credentials = Credentials::default();
        if let Some(path) = &self.authorities {
            let bytes = read(SERVER_CA, path)?;
            pem::authorities(&bytes).map_err(|reason| BadSetting::new(SERVER_CA, reason))?;
            credentials.authorities = Some(bytes);
        }
        if let Some((certificate, key)) = &self.identity {
            let (chain_pem, key_pem) = (read(SERVER_CERT, certificate)?, read(SERVER_KEY, key)?);
            pem::check_identity(&chain_pem, &key_pem).map_err(|bad| match bad {
                BadIdentity::Certificate(reason) => BadSetting::new(SERVER_CERT, reason),
                BadIdentity::Key(reason) => BadSetting::new(SERVER_KEY, reason),
            })?;
            credentials.identity = Some((chain_pem, key_pem.into()));
        }
        credentials.token = secret::server_token(self.token.as_ref(), self.token_file.as_deref())?;
        Ok(credentials)
    }
}

fn read(setting: SettingName, path: &Path) -> Result<Vec<u8>, BadSetting> {
    pem::read(path).map_err(|reason| BadSetting::new(setting, reason))
}
