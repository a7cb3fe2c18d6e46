//! The settings of the three programs: read once, checked, and passed on as types.
//!
//! Every setting is a flag, and also an environment variable. The flag wins. A value that can't be used ends the
//! program with exit code 2 and one line that names the setting.
//!
//! | setting | flag | default | bounds | programs |
//! |---|---|---|---|---|
//! | `DATABASE_URL` | `--database-url` | required | `mysql://user:password@host:port/database` | server, sweeper |
//! | `DATABASE_URL_FILE` | `--database-url-file` | – | a file that holds it | server, sweeper |
//! | `FLASHSALE_LISTEN` | `--listen` | 127.0.0.1:50051 | an IP address and a port | server |
//! | `FLASHSALE_METRICS_LISTEN` | `--metrics-listen` | 127.0.0.1:9464; gateway 127.0.0.1:9465 | an IP address and a port | server, gateway |
//! | `FLASHSALE_HOLD_TTL` | `--hold-ttl` | 120s | 1 s to 30 days, whole microseconds | server |
//! | `FLASHSALE_PAYMENT_DUE` | `--payment-due` | 30m | 0 (never), or 1 s to 365 days, whole microseconds | server |
//! | `FLASHSALE_DB_POOL_SIZE` | `--db-pool-size` | 16 | 1 to 1,000 connections | server, sweeper |
//! | `FLASHSALE_DB_CA_FILE` | `--db-ca-file` | –; with it, TLS to the database | certificates in PEM | server, sweeper |
//! | `FLASHSALE_DB_CERT_FILE` | `--db-cert-file` | – | certificates in PEM, and the key's file | server, sweeper |
//! | `FLASHSALE_DB_KEY_FILE` | `--db-key-file` | – | an RSA key in PKCS#1, and the certificate's file | server, sweeper |
//! | `FLASHSALE_DRAIN_DELAY` | `--drain-delay` | 0s | 0 to 4 s | server, gateway |
//! | `FLASHSALE_MAX_CONNECTIONS` | `--max-connections` | 4096 | 1 to 1,000,000 of each address | server, gateway |
//! | `FLASHSALE_MAX_CONNECTION_AGE` | `--max-connection-age` | 5m | 0 (never), or 1 s to 365 days | server |
//! | `FLASHSALE_MAX_CALLS` | `--max-calls` | 16384 | 1 to 1,000,000 calls under way | server |
//! | `FLASHSALE_MAX_CALL_RATE` | `--max-call-rate` | 0 | 0 (any), or 1 to 1,000,000 calls a second of one caller | server |
//! | `FLASHSALE_LANE_QUEUE` | `--lane-queue` | 4096 | 1 to 1,000,000 commands | server |
//! | `FLASHSALE_PRINCIPALS_FILE` | `--principals-file` | –; without it everybody may call | a file of at most 256 KiB | server, gateway |
//! | `FLASHSALE_ADMIN_LISTEN` | `--admin-listen` | –; AdminService and reflection are at `FLASHSALE_LISTEN` | an IP address and a port | server |
//! | `FLASHSALE_REFLECTION` | `--reflection` | on at a loopback address, else off | on or off | server |
//! | `FLASHSALE_GATEWAY_LISTEN` | `--listen` | 127.0.0.1:8000 | an IP address and a port | gateway |
//! | `FLASHSALE_SERVER_URL` | `--server-url` | http://127.0.0.1:50051 | `http://` or `https://`, a host, no path | gateway |
//! | `FLASHSALE_SERVER_CA` | `--server-ca` | –; those that the system trusts | certificates in PEM | gateway |
//! | `FLASHSALE_SERVER_CERT` | `--server-cert` | – | certificates in PEM, and the key's file | gateway |
//! | `FLASHSALE_SERVER_KEY` | `--server-key` | – | a key in PEM, and the certificate's file | gateway |
//! | `FLASHSALE_SERVER_TOKEN` | `--server-token` | – | one word; to `https://` or to this machine | gateway |
//! | `FLASHSALE_SERVER_TOKEN_FILE` | `--server-token-file` | – | a file that holds it | gateway |
//! | `FLASHSALE_GATEWAY_TIMEOUT` | `--timeout` | 5s | 1 ms to 5 minutes | gateway |
//! | `FLASHSALE_GATEWAY_ROUTES` | `--routes` | all on loopback, else webhook | webhook, shop or all | gateway |
//! | `FLASHSALE_WEBHOOK_SECRETS` | `--webhook-secrets` | required for webhooks, or its file, or Stripe's, or `true` for unsigned ones | 1 to 16, separated by commas | gateway |
//! | `FLASHSALE_WEBHOOK_SECRETS_FILE` | `--webhook-secrets-file` | – | a file that holds them | gateway |
//! | `FLASHSALE_WEBHOOK_ALLOW_UNSIGNED` | `--webhook-allow-unsigned` | false | true or false; ignored where there are secrets | gateway |
//! | `FLASHSALE_STRIPE_SECRETS` | `--stripe-secrets` | –; without it Stripe's route isn't served | 1 to 16, separated by commas | gateway |
//! | `FLASHSALE_STRIPE_SECRETS_FILE` | `--stripe-secrets-file` | – | a file that holds them | gateway |
//! | `FLASHSALE_WEBHOOK_REQUIRE_AMOUNT` | `--webhook-require-amount` | false | true or false | server |
//! | `FLASHSALE_TLS_CERT` | `--tls-cert` | –; without it everything is plain text | a file of PEM, with its key | server, gateway |
//! | `FLASHSALE_TLS_KEY` | `--tls-key` | – | a file of PEM | server, gateway |
//! | `FLASHSALE_TLS_CLIENT_CA` | `--tls-client-ca` | –; without it clients show no certificate | a file of PEM | server, gateway |
//! | `FLASHSALE_INSECURE` | `--insecure` | false | true or false | all |
//! | `FLASHSALE_SWEEP_BATCH` | `--batch` | 100 | 1 to 10,000 rows | sweeper |
//! | `FLASHSALE_AUDIT_PAGE` | `--page` | 10000 | 1 to 100,000 rows | sweeper audit |
//! | `FLASHSALE_PURGE_AFTER` | `--after` | required | 1 day to 10 years | sweeper purge |
//! | `FLASHSALE_LOG_FORMAT` | `--log-format` | json | json or text | all |
//!
//! Durations are written like `120s`, `30m` or `1h 30m`. [`crate::telemetry`] reads `RUST_LOG` and `OTEL_*`.
//!
//! A secret is a `SecretString` from the start, which can't be printed. It is checked only after `clap` has ended,
//! since the errors of `clap` repeat values.

mod access;
mod calls;
mod clap_error;
mod connections;
mod database;
mod database_tls;
mod event_senders;
mod exposure;
mod gateway;
mod grants;
mod pem;
mod routes;
mod secret;
mod server;
mod sweeper;
mod tls;
mod upstream;
mod value;
mod visible_secrets;

use std::{ffi::OsString, time::Duration};

use clap::{Args, Command, FromArgMatches};

use crate::{startup::Stop, telemetry::LogFormat};

pub use database::DatabaseConfig;
pub use database_tls::{DatabaseTls, Identity, Transport};
pub use exposure::Risks;
pub use gateway::GatewayConfig;
pub use grants::{Account, GrantsConfig};
pub use server::{ServerCommand, ServerConfig};
pub use sweeper::{SweeperCommand, SweeperConfig};
pub use visible_secrets::VisibleSecret;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn parse<A: FromArgMatches>(
    mut command: Command,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<A, Stop> {
    let matches = command.try_get_matches_from_mut(args).map_err(|error| clap_error::stop(error, &command))?;
    A::from_arg_matches(&matches).map_err(|error| clap_error::stop(error, &command))
}

/// Holds the text that `--help` adds below the settings.
const AFTER_HELP: &str = "\
RUST_LOG says what is logged (default: info). Traces go to OTEL_EXPORTER_OTLP_ENDPOINT by OTLP/gRPC when it is set, \
with OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_SDK_DISABLED as OpenTelemetry defines \
them.";

#[derive(Args)]
struct LogArgs {
    /// How log lines are written.
    #[arg(long, env = "FLASHSALE_LOG_FORMAT", value_name = "FORMAT", default_value = "json", global = true)]
    log_format: LogFormat,
}

#[cfg(test)]
mod tests;
