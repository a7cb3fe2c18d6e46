//! Reads secret settings, from their value or from a file, and checks them without ever repeating them.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    gateway::{StripeSecret, WebhookSecret},
    startup::BadSetting,
};

/// Holds the two names of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SettingName {
    pub(super) env: &'static str,
    pub(super) flag: &'static str,
}

impl fmt::Display for SettingName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (--{})", self.env, self.flag)
    }
}

pub(super) const DATABASE_URL: SettingName = SettingName { env: "DATABASE_URL", flag: "database-url" };
pub(super) const DATABASE_URL_FILE: SettingName = SettingName { env: "DATABASE_URL_FILE", flag: "database-url-file" };
pub(super) const WEBHOOK_SECRETS: SettingName =
    SettingName { env: "FLASHSALE_WEBHOOK_SECRETS", flag: "webhook-secrets" };
pub(super) const WEBHOOK_SECRETS_FILE: SettingName =
    SettingName { env: "FLASHSALE_WEBHOOK_SECRETS_FILE", flag: "webhook-secrets-file" };
pub(super) const WEBHOOK_ALLOW_UNSIGNED: SettingName =
    SettingName { env: "FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", flag: "webhook-allow-unsigned" };
pub(super) const STRIPE_SECRETS: SettingName = SettingName { env: "FLASHSALE_STRIPE_SECRETS", flag: "stripe-secrets" };
pub(super) const STRIPE_SECRETS_FILE: SettingName =
    SettingName { env: "FLASHSALE_STRIPE_SECRETS_FILE", flag: "stripe-secrets-file" };
pub(super) const SERVER_TOKEN: SettingName = SettingName { env: "FLASHSALE_SERVER_TOKEN", flag: "server-token" };
pub(super) const SERVER_TOKEN_FILE: SettingName =
    SettingName { env: "FLASHSALE_SERVER_TOKEN_FILE", flag: "server-token-file" };

/// Limits the bytes that the file of a secret may have. A larger file is some other file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Limits the secrets of a list. Two are enough to replace a secret; more serve several senders.
const SECRETS_MAX: usize = 16;

/// Returns the URL, and the setting that it came from.
pub(super) fn database_url(
    value: Option<SecretString>,
    file: Option<PathBuf>,
) -> Result<(SettingName, SecretString), BadSetting> {
    let Some((setting, url)) = read(value.as_ref(), DATABASE_URL, file.as_deref(), DATABASE_URL_FILE)? else {
        return Err(BadSetting::new(DATABASE_URL, format!("is required, or {DATABASE_URL_FILE}")));
    };
    match check_database_url(url.expose_secret()) {
        Ok(()) => Ok((setting, url)),
        Err(reason) => Err(BadSetting::new(setting, reason)),
    }
}

fn check_database_url(text: &str) -> Result<(), String> {
    const EXPECTED: &str = "expected mysql://user:password@host:port/database";
    let url = Url::parse(text).map_err(|error| {
        format!("is not a URL ({error}); {EXPECTED}, with characters like @ : / # ? % in the password as %40 and so on")
    })?;
    if url.scheme() != "mysql" {
        return Err(format!("doesn't start with mysql://; {EXPECTED}"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("has no host; {EXPECTED}"));
    }
    if url.fragment().is_some() {
        return Err(format!("has a #, which in a password is written %23; {EXPECTED}"));
    }
    match url.path().trim_start_matches('/') {
        "" => Err(format!("has no database name; {EXPECTED}")),
        name if name.contains('/') => Err(format!("has a / in the database name; {EXPECTED}")),
        _ => Ok(()),
    }
}

pub(super) fn webhook_secrets(
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<Vec<WebhookSecret>>, BadSetting> {
    let given = read(value, WEBHOOK_SECRETS, file, WEBHOOK_SECRETS_FILE)?;
    given.map(|(setting, list)| parse_each(setting, &list, WebhookSecret::parse)).transpose()
}

/// Says that payment webhooks are served, and nobody could be believed.
pub(super) fn no_webhook_secrets() -> BadSetting {
    let reason = format!(
        "is required, or {WEBHOOK_SECRETS_FILE}, or {STRIPE_SECRETS}, so that payment webhooks can be verified; \
         {WEBHOOK_ALLOW_UNSIGNED} set to true takes unsigned ones, for trying things out"
    );
    BadSetting::new(WEBHOOK_SECRETS, reason)
}

pub(super) fn stripe_secrets(
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Vec<StripeSecret>, BadSetting> {
    match read(value, STRIPE_SECRETS, file, STRIPE_SECRETS_FILE)? {
        Some((setting, list)) => parse_each(setting, &list, StripeSecret::parse),
        None => Ok(Vec::new()),
    }
}

/// Reads the gateway's token. It is sent in a header, so it is one word.
pub(super) fn server_token(
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, BadSetting> {
    let Some((setting, token)) = read(value, SERVER_TOKEN, file, SERVER_TOKEN_FILE)? else { return Ok(None) };
    if token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(token));
    }
    Err(BadSetting::new(setting, "has spaces, line breaks or characters that aren't ASCII"))
}

/// Reads secrets that are separated by commas. The errors of `parse` must not repeat any text of a secret.
fn parse_each<S, E: fmt::Display>(
    setting: SettingName,
    list: &SecretString,
    parse: fn(&str) -> Result<S, E>,
) -> Result<Vec<S>, BadSetting> {
    let parts: Vec<&str> = list.expose_secret().split(',').map(str::trim).collect();
    if parts.len() > SECRETS_MAX {
        return Err(BadSetting::new(setting, format!("has more than {SECRETS_MAX} secrets")));
    }
    let parse_part = |(index, part): (usize, &&str)| {
        let bad = |reason: String| BadSetting::new(setting, format!("secret {} of {}{reason}", index + 1, parts.len()));
        if part.is_empty() {
            return Err(bad(" is empty".to_owned()));
        }
        parse(part).map_err(|error| bad(format!(": {error}")))
    };
    parts.iter().enumerate().map(parse_part).collect()
}

/// Returns the secret, and the setting that it came from.
fn read(
    value: Option<&SecretString>,
    value_setting: SettingName,
    file: Option<&Path>,
    file_setting: SettingName,
) -> Result<Option<(SettingName, SecretString)>, BadSetting> {
    let (setting, secret) = match (value, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(BadSetting::new(value_setting, format!("is given, and so is {file_setting}: leave one out")));
        }
        (Some(value), None) => (value_setting, value.clone()),
        (None, Some(path)) => match read_file(path) {
            Ok(secret) => (file_setting, secret),
            Err(reason) => {
                // Somebody may have put the secret itself there, so the path isn't repeated.
                return Err(BadSetting::new(file_setting, format!("names a file that can't be read: {reason}")));
            }
        },
    };
    if secret.expose_secret().is_empty() {
        return Err(BadSetting::new(setting, "is empty"));
    }
    Ok(Some((setting, secret)))
}

/// Reads the file's text without its last line break, and no more than the limit: the path may be a pipe.
fn read_file(path: &Path) -> Result<SecretString, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(SecretString::from(text.strip_suffix('\r').unwrap_or(text)))
}
