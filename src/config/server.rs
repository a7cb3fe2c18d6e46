//! The settings of the server: what it serves, where, and to whom.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};

use super::{
    AFTER_HELP, DAY, DatabaseConfig, GrantsConfig, LogArgs, Risks, SECOND, VisibleSecret,
    access::{self, AdminArgs, PrincipalsArgs},
    calls::CallArgs,
    connections::{AgeArgs, ConnectionArgs},
    database::DatabaseArgs,
    exposure::{self, Exposure, InsecureArgs},
    grants::GrantsArgs,
    parse,
    tls::TlsArgs,
    value, visible_secrets,
};
use crate::{
    access::Access,
    listener::{HTTP2, Limits, Tls},
    reload::Reload,
    shares::CallLimits,
    startup::{BadSetting, Stop},
    telemetry::LogFormat,
};

/// Limits the commands that may wait in a lane.
const LANE_QUEUE_MAX: usize = 1_000_000;

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

    pub(super) fn read(args: ServerArgs) -> Result<Self, BadSetting> {
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

/// Serves flash-sale checkouts over gRPC.
#[derive(Parser)]
#[command(name = "server", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub(super) struct ServerArgs {
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

fn hold_ttl(text: &str) -> Result<Duration, String> {
    value::duration(text, SECOND, DAY * 30, "from 1s to 30days").and_then(value::whole_microseconds)
}

fn payment_due(text: &str) -> Result<Duration, String> {
    if value::any_duration(text)?.is_zero() {
        return Ok(Duration::ZERO);
    }
    value::duration(text, SECOND, DAY * 365, "from 1s to 365days, or 0").and_then(value::whole_microseconds)
}
