//! The loop that accepts connections, and the end of all of them.

use std::{convert::Infallible, error::Error, future::Future, io, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::Service,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::{
    Limits, Listener,
    connection::{self, Told},
    counts::Counts,
    protocol::Protocol,
};
use crate::seldom::Seldom;

/// Says how long the loop rests where the system has no resources for a connection.
const REST: Duration = Duration::from_millis(500);
/// Says how seldom the same trouble is logged.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Says by how much a process makes the age of its connections shorter or longer, so that servers that started together
/// don't renew them together.
const AGE_SPREAD: f64 = 0.1;

/// Serves the connections of a listener until `stop`. Then the listener is closed, and connections are told to go.
///
/// Returns whether all of them have ended within `drain_max`. Those that have not are cut. Dropping the future cuts all.
pub async fn serve<S, B>(
    listener: impl Into<Listener>,
    protocol: Protocol,
    limits: Limits,
    service: S,
    stop: impl Future<Output = ()>,
    drain_max: Duration,
) -> bool
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Listener { tcp: listener, tls } = listener.into();
    let (tell, told) = watch::channel(Told::Serve);
    let connections = TaskTracker::new();
    let (protocol, age_max) = (Arc::new(protocol), limits.age_max.map(spread));
    let start = |stream: TcpStream, place| {
        let counted = (place, protocol.counts.enter());
        let (protocol, tls) = (Arc::clone(&protocol), tls.clone());
        let (service, told) = (service.clone(), told.clone());
        connections.spawn(async move {
            let _counted = counted;
            connection::serve(stream, tls.as_ref(), &protocol, service, age_max, told).await;
        });
    };
    tokio::select! {
        biased;
        () = stop => {}
        never = accept(&listener, protocol.counts, limits.connections_max, start) => match never {},
    }
    drop(listener);
    tell.send_replace(Told::Go);
    connections.close();
    let ended = timeout(drain_max, connections.wait()).await.is_ok();
    tell.send_replace(Told::End);
    ended
}

/// Accepts connections, and starts those that there is room for.
async fn accept(
    listener: &TcpListener,
    counts: &Counts,
    connections_max: usize,
    start: impl Fn(TcpStream, OwnedSemaphorePermit),
) -> Infallible {
    let room = Arc::new(Semaphore::new(connections_max));
    let (failures, refusals) = (Seldom::every(SAID_AGAIN_AFTER), Seldom::every(SAID_AGAIN_AFTER));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
            Err(error) if is_of_the_peer(&error) => continue,
            Err(error) => {
                if failures.is_time() {
                    error!(%error, "Connections can't be accepted");
                }
                sleep(REST).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            counts.refuse();
            if refusals.is_time() {
                warn!(connections_max, "A connection was closed: there are too many");
            }
            continue;
        };
        // Answers are small, and a caller waits for each. An error means that the peer is gone, which shows again.
        let _gone = stream.set_nodelay(true);
        start(stream, place);
    }
}

/// Whether the connection failed, and not the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Makes an age up to a tenth shorter or longer.
fn spread(age: Duration) -> Duration {
    age.mul_f64(rand::random_range(1.0 - AGE_SPREAD..=1.0 + AGE_SPREAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_tenth_shorter_or_longer_at_most() {
        let ages: Vec<Duration> = (0..1000).map(|_| spread(Duration::from_secs(100))).collect();
        assert!(ages.iter().all(|age| (90.0..=110.0).contains(&age.as_secs_f64())));
        assert!(ages.iter().any(|age| age.as_secs() < 95) && ages.iter().any(|age| age.as_secs() > 105));
    }
}
