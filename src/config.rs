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
//! A secret is a [`SecretString`] from the start, which can't be printed. It is checked only after `clap` has ended,
//! since the errors of `clap` repeat values.

mod access;
mod calls;
mod clap_error;
mod connections;
mod database_tls;
mod event_senders;
mod exposure;
mod grants;
mod pem;
mod routes;
mod secret;
mod sweeper;
mod tls;
mod upstream;
mod value;
mod visible_secrets;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    access::Access,
    gateway::{Credentials, EventSenders, Routes, ServerUrl, WebhookAuth},
    listener::{HTTP1, HTTP2, Limits, Tls},
    reload::{Current, Reload},
    shares::CallLimits,
    startup::{BadSetting, Stop},
    telemetry::LogFormat,
};

pub use database_tls::{DatabaseTls, Identity, Transport};
pub use exposure::Risks;
pub use grants::{Account, GrantsConfig};
pub use sweeper::{SweeperCommand, SweeperConfig};
pub use visible_secrets::VisibleSecret;

use access::{AdminArgs, PrincipalsArgs};
use calls::CallArgs;
use connections::{AgeArgs, ConnectionArgs};
use database_tls::DatabaseTlsArgs;
use event_senders::EventSenderArgs;
use exposure::{Exposure, InsecureArgs};
use grants::GrantsArgs;
use routes::RoutesArgs;
use secret::SettingName;
use tls::TlsArgs;
use upstream::UpstreamArgs;

/// Limits the connections of a pool.
const POOL_SIZE_MAX: usize = 1_000;
/// Limits the commands that may wait in a lane.
const LANE_QUEUE_MAX: usize = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
    setting: SettingName,
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

/// Holds the settings of the server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The database.
    pub database: DatabaseConfig,
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub metrics_listen: SocketAddr,
    /// How connections are encrypted. `None`: they are plain text.
    pub tls: Option<Tls>,
    /// How many connections there may be, how old they may get, and how they end.
    pub limits: Limits,
    /// Who may call what.
    pub access: Access,
    /// Where AdminService and reflection are served, and nowhere else. `None`: with the others.
    pub admin_listen: Option<SocketAddr>,
    /// Whether reflection is served.
    pub reflection: bool,
    /// How many calls may be under way, and how many a caller may make.
    pub calls: CallLimits,
    /// How long a hold is valid: 1 s to 30 days, whole microseconds.
    pub hold_ttl: Duration,
    /// How long an order may wait for its payment: 1 s to 365 days, whole microseconds. `None`: without limit.
    pub payment_due: Option<Duration>,
    /// Whether a payment's success has to say its amount.
    pub webhook_require_amount: bool,
    /// The most commands that may wait in a lane, 1 to 1,000,000.
    pub lane_queue: usize,
    /// What is read anew while the server runs.
    pub reload: Reload,
    /// What is open to strangers.
    pub risks: Risks,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// What to do.
    pub command: ServerCommand,
}

/// Says what the server is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCommand {
    /// Serve until a signal ends it.
    Serve,
    /// Bring the database's tables up to date and exit.
    Migrate {
        /// Also put the sample product on sale, unless it is on sale already.
        seed: bool,
    },
    /// Print the statements that make the database's accounts, and exit.
    Grants(GrantsConfig),
}

/// Holds the settings of the HTTP gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub metrics_listen: SocketAddr,
    /// How connections are encrypted. `None`: they are plain text.
    pub tls: Option<Tls>,
    /// How many connections there may be, and how they end. They may get as old as they like.
    pub limits: Limits,
    /// Who may call the shop's routes.
    pub access: Access,
    /// The address of the server.
    pub server_url: ServerUrl,
    /// How the gateway knows the server, and how it is known there.
    pub credentials: Current<Credentials>,
    /// How long a call to the server may take: 1 ms to 5 minutes.
    pub timeout: Duration,
    /// Which routes are served.
    pub routes: Routes,
    /// Whose payment events are believed. Nobody's, where those routes aren't served.
    pub senders: Current<EventSenders>,
    /// What is read anew while the gateway runs.
    pub reload: Reload,
    /// What is open to strangers.
    pub risks: Risks,
    /// How log lines are written.
    pub log_format: LogFormat,
}

impl ServerConfig {
    /// Reads the settings from `args` (the program's name first) and the environment.
    ///
    /// # Errors
    /// [`Stop`]: help was asked for, or a setting can't be used.
    pub fn from_args(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, Stop> {
        Ok(Self::read(parse(ServerArgs::command(), args)?)?)
    }

    /// Lists the secrets among `args` and the environment that others can see.
    pub fn visible_secrets(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Vec<VisibleSecret> {
        visible_secrets::all(ServerArgs::command(), args)
    }

    fn read(args: ServerArgs) -> Result<Self, BadSetting> {
        let ServerArgs {
            database,
            listen,
            metrics_listen,
            tls,
            connections,
            age,
            principals,
            admin,
            calls,
            hold_ttl,
            payment_due,
            webhook_require_amount,
            lane_queue,
            insecure,
            log,
            command,
        } = args;
        let mut reload = Reload::default();
        let database = match &command {
            // It needs no database, and no URL of one where the name is given.
            Some(ServerSubcommand::Grants(grants)) => database.check_unless(grants.names_database(), &mut reload)?,
            Some(ServerSubcommand::Migrate { .. }) | None => database.check(&mut reload)?,
        };
        let access = principals.access(&mut reload)?;
        let (admin_listen, reflection) = admin.admin(listen)?;
        let command = match command {
            None => ServerCommand::Serve,
            Some(ServerSubcommand::Migrate { seed }) => ServerCommand::Migrate { seed },
            Some(ServerSubcommand::Grants(grants)) => ServerCommand::Grants(grants.read()),
        };
        let tls = match &command {
            ServerCommand::Serve => {
                let principals = access.clone();
                tls.read(&[HTTP2], &mut reload, move || principals.knows_tokens())?
            }
            ServerCommand::Migrate { .. } | ServerCommand::Grants(_) => None,
        };
        let open_to_all = Exposure { database: Some(&database), ..Exposure::default() };
        let admin_address = admin_listen.map(|address| (access::ADMIN_LISTEN, address));
        let exposure = match &command {
            ServerCommand::Migrate { .. } => open_to_all,
            // It opens nothing and calls nobody.
            ServerCommand::Grants(_) => Exposure::default(),
            ServerCommand::Serve => Exposure {
                listens: [(exposure::LISTEN, listen)].into_iter().chain(admin_address).collect(),
                metrics_listen: Some(metrics_listen),
                is_tls: tls.is_some(),
                needs_principals: true,
                has_principals: access.is_for_principals(),
                ..open_to_all
            },
        };
        Ok(Self {
            risks: exposure.check(&insecure)?,
            database,
            listen,
            metrics_listen,
            tls,
            limits: Limits { age_max: age.age_max(), ..connections.limits() },
            access,
            admin_listen,
            reflection,
            calls: calls.limits(),
            hold_ttl,
            payment_due: (!payment_due.is_zero()).then_some(payment_due),
            webhook_require_amount,
            lane_queue,
            reload,
            log_format: log.log_format,
            command,
        })
    }
}

impl GatewayConfig {
    /// Reads the settings from `args` (the program's name first) and the environment.
    ///
    /// # Errors
    /// [`Stop`]: help was asked for, or a setting can't be used.
    pub fn from_args(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, Stop> {
        Ok(Self::read(parse(GatewayArgs::command(), args)?)?)
    }

    /// Lists the secrets among `args` and the environment that others can see.
    pub fn visible_secrets(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Vec<VisibleSecret> {
        visible_secrets::all(GatewayArgs::command(), args)
    }

    fn read(args: GatewayArgs) -> Result<Self, BadSetting> {
        let GatewayArgs {
            listen,
            metrics_listen,
            tls,
            connections,
            principals,
            server_url,
            upstream,
            timeout,
            routes,
            senders,
            insecure,
            log,
        } = args;
        let mut reload = Reload::default();
        let routes = routes.routes(listen);
        let senders = senders.read(routes, &mut reload)?;
        let access = principals.access(&mut reload)?;
        let callers = access.clone();
        let tls = tls.read(&[HTTP2, HTTP1], &mut reload, move || callers.knows_tokens())?;
        let credentials = upstream.check(&server_url, &mut reload)?;
        let exposure = Exposure {
            listens: vec![(exposure::GATEWAY_LISTEN, listen)],
            metrics_listen: Some(metrics_listen),
            is_tls: tls.is_some(),
            needs_principals: routes.has_shop(),
            has_principals: access.is_for_principals(),
            takes_unsigned_webhooks: matches!(senders.get().webhook, Some(WebhookAuth::Unsigned)),
            server_url: Some(&server_url),
            ..Exposure::default()
        };
        Ok(Self {
            risks: exposure.check(&insecure)?,
            listen,
            metrics_listen,
            tls,
            limits: connections.limits(),
            access,
            credentials,
            server_url,
            timeout,
            routes,
            senders,
            reload,
            log_format: log.log_format,
        })
    }
}

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

/// Serves flash-sale checkouts over gRPC.
#[derive(Parser)]
#[command(name = "server", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct ServerArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Where to serve gRPC: an IP address and a port.
    #[arg(long, env = "FLASHSALE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:50051", value_parser = value::address)]
    listen: SocketAddr,
    /// Where to serve /metrics, /healthz and /readyz: an IP address and a port.
    #[arg(long, env = "FLASHSALE_METRICS_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9464", value_parser = value::address)]
    metrics_listen: SocketAddr,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    connections: ConnectionArgs,
    #[command(flatten)]
    age: AgeArgs,
    #[command(flatten)]
    principals: PrincipalsArgs,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    calls: CallArgs,
    /// How long a hold is valid, 1s to 30days.
    #[arg(long, env = "FLASHSALE_HOLD_TTL", value_name = "DURATION", default_value = "120s", value_parser = hold_ttl)]
    hold_ttl: Duration,
    /// How long an order may wait for its payment, 1s to 365days; 0: without limit.
    #[arg(long, env = "FLASHSALE_PAYMENT_DUE", value_name = "DURATION", default_value = "30m", value_parser = payment_due)]
    payment_due: Duration,
    /// Refuse a payment's success that doesn't say amount_cents.
    #[arg(
        long,
        env = "FLASHSALE_WEBHOOK_REQUIRE_AMOUNT",
        value_name = "BOOL",
        default_value = "false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    webhook_require_amount: bool,
    /// The most commands that may wait in a lane, 1 to 1000000. Further callers are told to try again later.
    #[arg(long, env = "FLASHSALE_LANE_QUEUE", value_name = "COMMANDS", default_value = "4096", value_parser = value::count(LANE_QUEUE_MAX))]
    lane_queue: usize,
    #[command(flatten)]
    insecure: InsecureArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Option<ServerSubcommand>,
}

#[derive(Subcommand)]
enum ServerSubcommand {
    /// Bring the database's tables up to date and exit.
    Migrate {
        /// Also put a sample product on sale, unless it is on sale already: "Flash Sale Item", price_cents 1000, stock
        /// 100.
        #[arg(long)]
        seed: bool,
    },
    /// Print the statements that make an account for each program, with the rights that it needs and no others. They are
    /// for the database's administrator, who puts passwords in. Nothing is sent to a database.
    Grants(GrantsArgs),
}

/// Serves flash-sale checkouts over HTTP and JSON, and calls a server for each.
#[derive(Parser)]
#[command(name = "gateway", version, after_help = AFTER_HELP)]
struct GatewayArgs {
    /// Where to serve HTTP: an IP address and a port.
    #[arg(long, env = "FLASHSALE_GATEWAY_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8000", value_parser = value::address)]
    listen: SocketAddr,
    /// Where to serve /metrics, /healthz and /readyz: an IP address and a port.
    #[arg(long, env = "FLASHSALE_METRICS_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9465", value_parser = value::address)]
    metrics_listen: SocketAddr,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    connections: ConnectionArgs,
    #[command(flatten)]
    principals: PrincipalsArgs,
    /// The server: http:// or https://, a host and a port.
    #[arg(
        long,
        env = "FLASHSALE_SERVER_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051"
    )]
    server_url: ServerUrl,
    #[command(flatten)]
    upstream: UpstreamArgs,
    /// How long a call to the server may take, 1ms to 5m.
    #[arg(long, env = "FLASHSALE_GATEWAY_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    routes: RoutesArgs,
    #[command(flatten)]
    senders: EventSenderArgs,
    #[command(flatten)]
    insecure: InsecureArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Args)]
struct DatabaseArgs {
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
    fn check_unless(self, unneeded: bool, reload: &mut Reload) -> Result<DatabaseConfig, BadSetting> {
        if unneeded { Ok(DatabaseConfig::new(SecretString::default(), self.db_pool_size)) } else { self.check(reload) }
    }

    fn check(self, reload: &mut Reload) -> Result<DatabaseConfig, BadSetting> {
        let (setting, url) = secret::database_url(self.database_url, self.database_url_file)?;
        let files = self.tls.check()?;
        let transport = database_tls::transport(url.expose_secret(), &files);
        let transport = transport.map_err(|reason| BadSetting::new(setting, reason))?;
        let tls = reload.read(files.paths(), move || files.read())?;
        Ok(DatabaseConfig { url, pool_size: self.db_pool_size, tls, transport, setting })
    }
}

#[derive(Args)]
struct LogArgs {
    /// How log lines are written.
    #[arg(long, env = "FLASHSALE_LOG_FORMAT", value_name = "FORMAT", default_value = "json", global = true)]
    log_format: LogFormat,
}

fn hold_ttl(text: &str) -> Result<Duration, String> {
    value::duration(text, SECOND, DAY * 30, "from 1s to 30days").and_then(value::whole_microseconds)
}

fn payment_due(text: &str) -> Result<Duration, String> {
    if value::any_duration(text)?.is_zero() {
        return Ok(Duration::ZERO);
    }
    value::duration(text, SECOND, DAY * 365, "from 1s to 365days, or 0").and_then(value::whole_microseconds)
}

fn timeout(text: &str) -> Result<Duration, String> {
    value::duration(text, Duration::from_millis(1), Duration::from_secs(5 * 60), "from 1ms to 5m")
}

#[cfg(test)]
mod tests;
