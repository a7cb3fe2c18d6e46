//! The settings of the gateway: what it serves, where, and how it calls the server.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::{CommandFactory, Parser};

use super::{
    AFTER_HELP, LogArgs, Risks, VisibleSecret,
    access::PrincipalsArgs,
    connections::ConnectionArgs,
    event_senders::EventSenderArgs,
    exposure::{self, Exposure, InsecureArgs},
    parse,
    routes::RoutesArgs,
    tls::TlsArgs,
    upstream::UpstreamArgs,
    value, visible_secrets,
};
use crate::{
    access::Access,
    gateway::{Credentials, EventSenders, Routes, ServerUrl, WebhookAuth},
    listener::{HTTP1, HTTP2, Limits, Tls},
    reload::{Current, Reload},
    startup::{BadSetting, Stop},
    telemetry::LogFormat,
};

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

    pub(super) fn read(args: GatewayArgs) -> Result<Self, BadSetting> {
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

/// Serves flash-sale checkouts over HTTP and JSON, and calls a server for each.
#[derive(Parser)]
#[command(name = "gateway", version, after_help = AFTER_HELP)]
pub(super) struct GatewayArgs {
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

fn timeout(text: &str) -> Result<Duration, String> {
    value::duration(text, Duration::from_millis(1), Duration::from_secs(5 * 60), "from 1ms to 5m")
}
