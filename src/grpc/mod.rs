//! The gRPC server: decode, call the checkout, encode.
//!
//! It also serves grpc.health.v1, in [`health`], and reflection, v1 and v1alpha.

mod admin;
mod convert;
mod flash_sale;
#[cfg(test)]
mod fuzz;
mod gate;
pub mod health;
mod layer;
mod lists;
mod page_token;
mod payment;
mod places;
mod refused_calls;
mod sale_figures;
mod status;
mod update_mask;
mod weight;

use std::{
    future::{self, Future},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tower::Layer;
use tracing::{error, info, warn};

use health::{Health, Readiness};
use places::{Places, PlacesLayer};
use weight::SMALL_MESSAGE_BYTES_MAX;

use crate::{
    access::Access,
    checkout::{Checkout, Settings},
    config::ServerConfig,
    error::Error,
    listener::{self, CALLS, LEAVE_TIME_MAX, Limits, Listener, Protocol, Tls, listen},
    metrics,
    pb::{
        FILE_DESCRIPTOR_SET, admin_service_server::AdminServiceServer,
        flash_sale_service_server::FlashSaleServiceServer, payment_service_server::PaymentServiceServer,
    },
    probes,
    shares::CallLimits,
};

/// Limits the bytes of a message that the server takes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Limits the calls of one connection at the same time. Further calls wait in the client. hyper's default of 200 would
/// make the connection of one gateway the bottleneck.
const STREAMS_PER_CONNECTION_MAX: u32 = 8192;
/// Limits the bytes of requests that a connection may send before the server has read them.
///
/// The HTTP/2 library counts 256 bytes for each small frame that nobody has read. Where they exceed half of the window,
/// it closes the connection for excessive load. This window has room for two frames of each call under way.
const CONNECTION_WINDOW_BYTES: u32 = 2 * 2 * 256 * STREAMS_PER_CONNECTION_MAX;
/// Limits the calls of a connection that its client may have given up before the server has seen them. One more closes
/// the connection with all its calls.
///
/// While the server is paused, each call under way can time out, and so can the call that takes its place. In a longer
/// pause the gateway's ping times out anyway. The HTTP/2 library's default of 20 is meant for strangers: thirty slow
/// calls of one gateway would break hundreds of good ones. An attacker gains memory for this many heads, and each costs
/// him a frame.
const GIVEN_UP_PER_CONNECTION_MAX: usize = 2 * STREAMS_PER_CONNECTION_MAX as usize;
/// Limits the faults of a peer, such as a frame for a call that was answered early, before its connection is closed.
///
/// They are counted over the whole life of a connection, so any limit would some day break a good gateway's connection.
const FAULTS_PER_CONNECTION_MAX: Option<usize> = None;
/// Says how often a connection is pinged. One that doesn't answer is closed, so that the calls of a vanished client
/// end.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Limits how long a ping may go without an answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Limits how long connections may drain after they were told to go. Without a limit, one silent connection would hold
/// the process.
const CONNECTIONS_DRAIN_MAX: Duration = Duration::from_secs(7);
/// Limits how long the lanes may drain after the connections. With 4 s before them and 7 s more for the last spans and
/// log lines, a shutdown takes less than the 25 s that an orchestrator is promised.
const LANES_DRAIN_MAX: Duration = Duration::from_secs(6);

/// Says where a server serves, whom, and within which limits.
#[derive(Debug)]
pub struct Front {
    /// Where it serves.
    pub listener: TcpListener,
    /// Where AdminService and reflection are served, and health as well. `None`: with the other services.
    pub admin_listener: Option<TcpListener>,
    /// How both encrypt their connections. `None`: they are plain text.
    pub tls: Option<Tls>,
    /// Whether reflection is served.
    pub reflection: bool,
    /// Who may call what.
    pub access: Access,
    /// How many connections there may be at each address, how old they may get, and how they end.
    pub limits: Limits,
    /// How many calls may be under way at all addresses, and how many a caller may make.
    pub calls: CallLimits,
}

impl Front {
    /// Serves everything to everybody, for development and tests.
    pub fn for_everybody(listener: TcpListener, limits: Limits) -> Self {
        Self {
            listener,
            admin_listener: None,
            tls: None,
            reflection: true,
            access: Access::for_everybody(),
            limits,
            calls: CallLimits::default(),
        }
    }
}

/// Says why the server can't serve, or why it ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server can't listen on an address.
    #[error("can't listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The listener has no address.
    #[error("the listener has no address")]
    Address(#[source] io::Error),
    /// The checkout can't be opened.
    #[error(transparent)]
    Checkout(#[from] Error),
    /// The service definition can't be served by reflection.
    #[error("the service definition can't be served by reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// Serves by `config` until `shutdown`. Then it drains, which takes at most 17 s.
///
/// # Errors
/// An address can't be listened on, the checkout can't be opened, or the service definition can't be served.
pub async fn run(config: ServerConfig, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let listener_on = |address| listen(address).map_err(|cause| ServeError::Listen { address, cause });
    let front = Front {
        listener: listener_on(config.listen)?,
        admin_listener: config.admin_listen.map(listener_on).transpose()?,
        tls: config.tls,
        reflection: config.reflection,
        access: config.access,
        limits: config.limits,
        calls: config.calls,
    };
    if front.access.is_for_nobody() {
        warn!("The file of principals has nobody: no call but those of health is let in");
    }
    let metrics_listener = listener_on(config.metrics_listen)?;
    let settings = Settings {
        hold_ttl: config.hold_ttl,
        payment_due: config.payment_due,
        require_amount: config.webhook_require_amount,
        lane_queue: config.lane_queue,
    };
    let checkout = Checkout::open(&config.database, settings)?;

    let readiness = Readiness::default();
    let is_ready = {
        let readiness = readiness.clone();
        move || future::ready(readiness.is_ready())
    };
    let (stop, stopped) = watch::channel(false);
    let page = tokio::spawn(probes::serve(metrics_listener, config.limits, is_ready, until(stopped)));
    let served = serve_with(front, checkout, readiness, shutdown).await;
    // The metrics can be read until the lanes have drained.
    stop.send_replace(true);
    if let Err(error) = page.await {
        error!(%error, "The metrics endpoint broke down");
    }
    served
}

/// Serves routes with the verdict, limits, span and deadline that every call has, until `stop`.
///
/// Connections then have 7 s to end their calls, and the answer is whether all did. The references of the benchmark are
/// served by it, too.
pub async fn serve_routes(
    listener: impl Into<Listener>,
    routes: Routes,
    access: Access,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> bool {
    serve_placed(listener, routes, access, limits, Places::new(CallLimits::default()), stop).await
}

/// Serves routes whose calls take places.
async fn serve_placed(
    listener: impl Into<Listener>,
    routes: Routes,
    access: Access,
    limits: Limits,
    places: Places,
    stop: impl Future<Output = ()>,
) -> bool {
    let mut http = auto::Builder::new(TokioExecutor::new()).http2_only();
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(GIVEN_UP_PER_CONNECTION_MAX)
        .max_local_error_reset_streams(FAULTS_PER_CONNECTION_MAX)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let protocol = Protocol {
        http,
        head_time_max: None,
        http2_age_max: None,
        leave_time_max: LEAVE_TIME_MAX,
        corks: true,
        counts: &CALLS,
    };
    let service =
        TowerToHyperService::new(layer::CallLayer { access }.layer(PlacesLayer(places).layer(routes.prepare())));
    listener::serve(listener, protocol, limits, service, stop, CONNECTIONS_DRAIN_MAX).await
}

/// Waits until the watch is true, or its sender is gone.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _sender_gone = stopped.wait_for(|stopped| *stopped).await;
}

/// Serves on its listeners until `shutdown`. Then health says NOT_SERVING, and connections and lanes drain.
///
/// # Errors
/// A listener has no address, or the service definition can't be served.
pub async fn serve(front: Front, checkout: Checkout, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    serve_with(front, checkout, Readiness::default(), shutdown).await
}

/// Serves, and keeps `readiness` as health has it.
async fn serve_with(
    front: Front,
    checkout: Checkout,
    readiness: Readiness,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let Front { listener, admin_listener, tls, reflection, access, limits, calls } = front;
    let places = Places::new(calls);
    let address = listener.local_addr().map_err(ServeError::Address)?;
    let (health, health_service) = Health::new(readiness).await;
    let health_service = health_service.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX);
    let gate = Arc::new(gate::Gate::new(checkout.clone()));
    let figures = sale_figures::SaleFigures::new(&gate);
    metrics::start_server();
    metrics::before_each_page(move || figures.clone().refresh());
    let of_sale = sale_routes(&gate).add_service(health_service.clone());
    info!(%address, "Listening");
    let (of_sale, admin) = match admin_listener {
        None => (admin_routes(of_sale, &gate, reflection)?, None),
        Some(listener) => {
            let address = listener.local_addr().map_err(ServeError::Address)?;
            info!(%address, "Listening for operators");
            (of_sale.clone(), Some((listener, admin_routes(of_sale, &gate, reflection)?)))
        }
    };
    let watch = health.clone().watch(checkout.clone(), Arc::clone(&gate));
    let watching = AbortOnDropHandle::new(tokio::spawn(watch));

    let (tell, told) = watch::channel(false);
    let stop = async {
        shutdown.await;
        // Health changes first: its watchers can go elsewhere before connections are told to go.
        watching.abort();
        let _watcher_ended = watching.await;
        health.stop().await;
        gate.checked(false);
        sleep(limits.drain_delay).await;
        tell.send_replace(true);
    };
    let of_tls = |tcp| Listener { tcp, tls: tls.clone() };
    let serving = serve_placed(of_tls(listener), of_sale, access.clone(), limits, places.clone(), until(told.clone()));
    let serving_admin = async {
        match admin {
            Some((listener, routes)) => {
                serve_placed(of_tls(listener), routes, access, limits, places, until(told)).await
            }
            None => true,
        }
    };
    let ((), is_ended, is_admin_ended) = tokio::join!(stop, serving, serving_admin);
    if !is_ended || !is_admin_ended {
        warn!("Connections were still open and are closed now");
    }
    if tokio::time::timeout(LANES_DRAIN_MAX, checkout.close()).await.is_err() {
        error!("Some calls were still at work and are given up");
    }
    info!("Stopped");
    Ok(())
}

/// Returns the services of the sale.
fn sale_routes(gate: &Arc<gate::Gate>) -> Routes {
    Routes::new(
        FlashSaleServiceServer::new(flash_sale::FlashSaleRpcs::new(Arc::clone(gate)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX),
    )
    .add_service(
        PaymentServiceServer::new(payment::PaymentRpcs::new(Arc::clone(gate)))
            .max_decoding_message_size(MESSAGE_BYTES_MAX),
    )
}

/// Adds what operators and their tools call.
fn admin_routes(routes: Routes, gate: &Arc<gate::Gate>, reflection: bool) -> Result<Routes, ServeError> {
    let routes = routes.add_service(
        AdminServiceServer::new(admin::AdminRpcs::new(Arc::clone(gate))).max_decoding_message_size(MESSAGE_BYTES_MAX),
    );
    if !reflection {
        return Ok(routes);
    }
    let v1 = reflected().build_v1().map_err(ServeError::Reflection)?;
    let v1alpha = reflected().build_v1alpha().map_err(ServeError::Reflection)?;
    Ok(routes
        .add_service(v1.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX))
        .add_service(v1alpha.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX)))
}

/// Returns what reflection knows: the services, and the details of errors, which tools print by it.
fn reflected() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
