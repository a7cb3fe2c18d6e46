//! The settings of the gateway that say whose payment events are believed.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use super::secret;
use crate::{
    gateway::{StripeSecret, WebhookAuth},
    startup::BadSetting,
};

#[derive(Args)]
pub(super) struct WebhookArgs {
    /// The secrets that sign payment webhooks (whsec_...), separated by commas. Required, unless their file is given.
    #[arg(long, env = secret::WEBHOOK_SECRETS.env, value_name = "SECRETS", hide_env_values = true)]
    webhook_secrets: Option<SecretString>,
    /// A file that holds the webhook secrets, separated by commas.
    #[arg(long, env = secret::WEBHOOK_SECRETS_FILE.env, value_name = "PATH")]
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
}

impl WebhookArgs {
    pub(super) fn check(self) -> Result<WebhookAuth, BadSetting> {
        secret::webhook_auth(self.webhook_secrets, self.webhook_secrets_file, self.webhook_allow_unsigned)
    }
}

#[derive(Args)]
pub(super) struct StripeArgs {
    /// The secrets of the endpoint at Stripe (whsec_...), separated by commas. Without one its events aren't taken.
    #[arg(long, env = secret::STRIPE_SECRETS.env, value_name = "SECRETS", hide_env_values = true)]
    stripe_secrets: Option<SecretString>,
    /// A file that holds the secrets of the endpoint at Stripe, separated by commas.
    #[arg(long, env = secret::STRIPE_SECRETS_FILE.env, value_name = "PATH")]
    stripe_secrets_file: Option<PathBuf>,
}

impl StripeArgs {
    pub(super) fn check(self) -> Result<Vec<StripeSecret>, BadSetting> {
        secret::stripe_secrets(self.stripe_secrets, self.stripe_secrets_file)
    }
}
