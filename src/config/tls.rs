//! The settings of a listener's TLS.

use std::path::PathBuf;

use clap::Args;

use super::secret::SettingName;
use crate::{
    listener::{Tls, TlsFile, TlsFiles, TlsSettings},
    reload::Reload,
    startup::BadSetting,
};

const CERT: SettingName = SettingName { env: "FLASHSALE_TLS_CERT", flag: "tls-cert" };
const KEY: SettingName = SettingName { env: "FLASHSALE_TLS_KEY", flag: "tls-key" };
const CLIENT_CA: SettingName = SettingName { env: "FLASHSALE_TLS_CLIENT_CA", flag: "tls-client-ca" };

#[derive(Args)]
pub(super) struct TlsArgs {
    /// A file with the certificate to show, and those that vouch for it, in PEM. Without it everything is plain text.
    #[arg(long, env = CERT.env, value_name = "PATH")]
    tls_cert: Option<PathBuf>,
    /// A file with the certificate's private key in PEM: PKCS#8, PKCS#1 or SEC1.
    #[arg(long, env = KEY.env, value_name = "PATH", hide_env_values = true)]
    tls_key: Option<PathBuf>,
    /// A file with the authorities of the clients' certificates, in PEM. With it, clients have to show one.
    #[arg(long, env = CLIENT_CA.env, value_name = "PATH")]
    tls_client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// Reads the files, and again whenever one changes. `protocols` are the versions of HTTP that clients may ask for.
    ///
    /// Clients without a certificate are let in only while `is_lenient`.
    pub(super) fn read(
        self,
        protocols: &'static [&'static [u8]],
        reload: &mut Reload,
        is_lenient: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Option<Tls>, BadSetting> {
        let Some(files) = self.files()? else { return Ok(None) };
        let named = [&files.certificate, &files.key].into_iter().chain(&files.client_ca).cloned().collect::<Vec<_>>();
        let read = move || {
            TlsSettings::read(&files, protocols).map_err(|(file, reason)| {
                let setting = match file {
                    TlsFile::Certificate => CERT,
                    TlsFile::Key => KEY,
                    TlsFile::ClientCa => CLIENT_CA,
                };
                BadSetting::new(setting, reason)
            })
        };
        Ok(Some(Tls::new(reload.read(named, read)?, is_lenient)))
    }

    fn files(self) -> Result<Option<TlsFiles>, BadSetting> {
        let Self { tls_cert, tls_key, tls_client_ca: client_ca } = self;
        match (tls_cert, tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
            (Some(_), None) => Err(BadSetting::new(KEY, format!("is required with {CERT}"))),
            (None, Some(_)) => Err(BadSetting::new(CERT, format!("is required with {KEY}"))),
            (None, None) if client_ca.is_some() => Err(BadSetting::new(CERT, format!("is required with {CLIENT_CA}"))),
            (None, None) => Ok(None),
        }
    }
}
