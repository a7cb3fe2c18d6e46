//! The gRPC server: decode, call the checkout, encode.
//!
//! It also serves grpc.health.v1 (see [`health`]) and reflection, v1 and v1alpha.

mod admin;
mod convert;
pub mod cork;
mod flash_sale;
mod gate;
pub mod health;
mod layer;
mod page_token;
mod payment;
mod status;
mod sweeper_metrics;
mod update_mask;

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_stream::{Stream, StreamExt};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Server, server::TcpIncoming};
use tower::layer::util::{Identity, Stack};
use tracing::{error, info, warn};

use cork::Corked;

use crate::{
    checkout::{Burst, Checkout, Settings},
    config::ServerConfig,
    error::Error,
    listener::listen,
    pb::{
        FILE_DESCRIPTOR_SET, admin_service_server::AdminServiceServer,
        flash_sale_service_server::FlashSaleServiceServer, payment_service_server::PaymentServiceServer,
    },
    telemetry,
};

/// Largest message taken, by the contract.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Calls of one connection at the same moment; further ones wait in the client. hyper's default of 200 would make one
/// gateway's connection the bottleneck.
const STREAMS_PER_CONNECTION_MAX: u32 = 8192;
/// Bytes of requests that a connection may send ahead. Not for the bytes: half of it is what the HTTP/2 library spends
/// on small frames that nobody has read yet, 256 for each, before it closes the connection for excessive load. That is
/// two frames of every call that a connection may have under way.
const CONNECTION_WINDOW_BYTES: u32 = 2 * 2 * 256 * STREAMS_PER_CONNECTION_MAX;
/// Calls that a connection may have given up before the server has looked at them; one more closes it, with all its
/// calls. While the server is paused, each call under way can run out of time, and so can the call that takes its place.
/// A pause that outlasts this is also longer than a gateway waits for a ping. The HTTP/2 library's default of 20 is for
/// strangers: thirty slow calls of one gateway would break hundreds of good ones. What a stranger gains is memory for as
/// many heads, and each costs him a frame.
const GIVEN_UP_PER_CONNECTION_MAX: usize = 2 * STREAMS_PER_CONNECTION_MAX as usize;
/// Faults of the peer's, such as a frame for a call that was answered early, after which a connection is closed. They are
/// counted for as long as a connection lives, so any number would break a good gateway's connection some day.
const FAULTS_PER_CONNECTION_MAX: Option<usize> = None;
/// A connection that doesn't answer a ping is closed, so that a vanished client's calls end.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long connections may drain after the shutdown began. One silent connection would otherwise hold the process.
const CONNECTIONS_DRAIN_MAX: Duration = Duration::from_secs(8);
/// How long the lanes may drain after that. With the 7 s for the last spans and log lines (see `telemetry`) under the
/// 25 s that an orchestrator is promised.
const LANES_DRAIN_MAX: Duration = Duration::from_secs(6);

/// Serves by `config` until `shutdown`, then drains, in 14 s at the most.
///
/// # Errors
/// `Unavailable` where a listener can't be bound, `Internal` where the server breaks down.
pub async fn run(config: ServerConfig, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let listener_on =
        |address| listen(address).map_err(|error| Error::Unavailable(format!("can't listen on {address}: {error}")));
    let listener = listener_on(config.listen)?;
    let metrics_listener = listener_on(config.metrics_listen)?;
    let settings =
        Settings { hold_ttl: config.hold_ttl, payment_due: config.payment_due, lane_queue: config.lane_queue };
    let checkout = Checkout::open(&config.database, settings)?;

    let (stop, stopped) = watch::channel(false);
    let metrics = tokio::spawn(telemetry::serve_metrics(metrics_listener, until(stopped.clone())));
    let served = serve(listener, checkout, shutdown).await;
    // The metrics are read until the very end.
    stop.send_replace(true);
    if let Err(error) = metrics.await {
        error!(%error, "The metrics endpoint broke down");
    }
    served
}

/// A tonic server with the limits, spans and deadlines that every call has, and no service yet: the benchmark's
/// references stand behind the same.
pub fn front() -> Server<Stack<layer::CallLayer, Identity>> {
    Server::builder()
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION_MAX))
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_pending_accept_reset_streams(Some(GIVEN_UP_PER_CONNECTION_MAX))
        .http2_max_local_error_reset_streams(FAULTS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(layer::CallLayer)
}

/// The connections that a listener takes. Answers are small and each is waited for, so none is held back but for those
/// that `burst` promises.
pub fn incoming(listener: TcpListener, burst: Burst) -> impl Stream<Item = io::Result<Corked<TcpStream>>> {
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    connections.map(move |connection| Ok(Corked::new(connection?, burst.clone())))
}

/// Resolves when the watch turns true, or its sender is gone.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _sender_gone = stopped.wait_for(|stopped| *stopped).await;
}

/// Serves on a listener until `shutdown`: then health says NOT_SERVING, connections and lanes drain.
///
/// # Errors
/// `Internal` where the server breaks down.
pub async fn serve(listener: TcpListener, checkout: Checkout, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let internal = |error: String| Error::Internal(error);
    let address = listener.local_addr().map_err(|error| internal(error.to_string()))?;
    let (health, health_service) = health::Health::new().await;
    let gate = Arc::new(gate::Gate::new(checkout.clone()));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection_v1 = reflection().build_v1().map_err(|error| internal(error.to_string()))?;
    let reflection_v1alpha = reflection().build_v1alpha().map_err(|error| internal(error.to_string()))?;

    let (stop, stopped) = watch::channel(false);
    let router = front()
        .add_service(
            FlashSaleServiceServer::new(flash_sale::Service::new(Arc::clone(&gate)))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            PaymentServiceServer::new(payment::Service::new(Arc::clone(&gate)))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            AdminServiceServer::new(admin::Service::new(Arc::clone(&gate)))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(health_service)
        .add_service(reflection_v1)
        .add_service(reflection_v1alpha);
    let mut server =
        tokio::spawn(router.serve_with_incoming_shutdown(incoming(listener, checkout.burst()), until(stopped)));
    info!(%address, "Listening");
    let watch = health.clone().watch(checkout.clone(), Arc::clone(&gate));
    let watching = AbortOnDropHandle::new(tokio::spawn(watch));

    tokio::select! {
        () = shutdown => {}
        ended = &mut server => return Err(internal(format!("the server ended by itself: {ended:?}"))),
    }
    // In this order: whoever watches the health can turn away before connections are refused.
    watching.abort();
    let _watcher_ended = watching.await;
    health.stop().await;
    gate.looked(false);
    stop.send_replace(true);
    match tokio::time::timeout(CONNECTIONS_DRAIN_MAX, &mut server).await {
        Ok(Ok(Ok(()))) => {}
        Ok(ended) => error!(?ended, "The server did not end well"),
        Err(_) => {
            warn!("Connections are still open and are closed now");
            server.abort();
        }
    }
    if tokio::time::timeout(LANES_DRAIN_MAX, checkout.close()).await.is_err() {
        error!("Some calls were still at work and are given up");
    }
    info!("Stopped");
    Ok(())
}
