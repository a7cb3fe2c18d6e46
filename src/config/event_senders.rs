//! The settings of the gateway that say whose payment events are believed.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::secret;
use crate::{
    gateway::{EventSenders, Routes, WebhookAuth},
    reload::{Current, Reload},
    startup::BadSetting,
};

#[derive(Args)]
pub(super) struct EventSenderArgs {
    /// The secrets that sign payment webhooks (whsec_...), separated by commas. Webhooks need them, or their file, unless
    /// only Stripe sends.
    #[arg(long, env = secret::WEBHOOK_SECRETS.env, value_name = "SECRETS", hide_env_values = true)]
    webhook_secrets: Option<SecretString>,
    /// A file that holds the webhook secrets, separated by commas.
    #[arg(long, env = secret::WEBHOOK_SECRETS_FILE.env, value_name = "PATH", hide_env_values = true)]
    webhook_secrets_file: Option<PathBuf>,
    /// Accept unsigned payment webhooks, where there is no secret. Only for trying things out.
    #[arg(
        long,
        env = secret::WEBHOOK_ALLOW_UNSIGNED.env,
        value_name = "BOOL",
        default_value = "false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    webhook_allow_unsigned: bool,
    /// The secrets of the endpoint at Stripe (whsec_...), separated by commas. Without one its events aren't taken.
    #[arg(long, env = secret::STRIPE_SECRETS.env, value_name = "SECRETS", hide_env_values = true)]
    stripe_secrets: Option<SecretString>,
    /// A file that holds the secrets of the endpoint at Stripe, separated by commas.
    #[arg(long, env = secret::STRIPE_SECRETS_FILE.env, value_name = "PATH", hide_env_values = true)]
    stripe_secrets_file: Option<PathBuf>,
}

impl EventSenderArgs {
    /// Reads all secrets that are given, and those in files anew whenever a file changes.
    ///
    /// Those of routes that aren't served are checked and left out.
    pub(super) fn read(self, routes: Routes, reload: &mut Reload) -> Result<Current<EventSenders>, BadSetting> {
        let files = [&self.webhook_secrets_file, &self.stripe_secrets_file].into_iter().flatten().cloned();
        reload.read(files.collect::<Vec<_>>(), move || self.check(routes))
    }

    fn check(&self, routes: Routes) -> Result<EventSenders, BadSetting> {
        let signed = secret::webhook_secrets(self.webhook_secrets.as_ref(), self.webhook_secrets_file.as_deref())?;
        let stripe = secret::stripe_secrets(self.stripe_secrets.as_ref(), self.stripe_secrets_file.as_deref())?;
        if !routes.has_webhooks() {
            return Ok(EventSenders::default());
        }
        let webhook = match signed {
            Some(secrets) => Some(WebhookAuth::Signed(secrets)),
            None if self.webhook_allow_unsigned => Some(WebhookAuth::Unsigned),
            None if !stripe.is_empty() => None,
            None => return Err(secret::no_webhook_secrets()),
        };
        Ok(EventSenders { webhook, stripe })
    }
}
