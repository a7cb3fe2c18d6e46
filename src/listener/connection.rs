//! One connection: it is served until its peer leaves, or until it is told to go and its calls have ended.

use std::{
    convert::Infallible,
    error::Error,
    future,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, Version};
use hyper::{
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::{
    peer::{Peer, SubjectName},
    protocol::Protocol,
    stream::Stream,
    tls::Tls,
    unread::{self, PERIOD},
};
use crate::spans::{self, Ends};

/// Counts the bytes with which an HTTP/2 connection begins: RFC 9113, section 3.4.
const PREFACE_BYTES: usize = 24;
/// Limits how long a peer may take to its first bytes, with the handshake of TLS. Over gRPC they have to be the preface.
const FIRST_BYTES_TIME_MAX: Duration = Duration::from_secs(10);

/// Says what the connections of a listener are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Serve.
    Serve,
    /// Take no new calls, and end with those that are under way.
    Go,
    /// End now.
    End,
}

/// Serves a connection until it ends. `age_max` is when it is told to go, whatever the listener says.
pub(super) async fn serve<S, B>(
    stream: TcpStream,
    tls: Option<&Tls>,
    protocol: &Protocol,
    service: S,
    age_max: Option<Duration>,
    mut told: watch::Receiver<Told>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let accepted = Instant::now();
    let ends = Ends { server: stream.local_addr().ok(), peer: stream.peer_addr().ok() };
    let (stream, peer) = match tls {
        None => (Either::Left(stream), Peer::new(ends.peer)),
        Some(tls) => {
            let encrypted = tokio::select! {
                // Whoever is told to go before the first call has lost nothing.
                _going = told.wait_for(|told| *told != Told::Serve) => return,
                encrypted = timeout_at(accepted + FIRST_BYTES_TIME_MAX, encrypt(tls, stream, ends.peer)) => encrypted,
            };
            let Ok(Some((stream, names))) = encrypted else { return };
            (Either::Right(stream), Peer::encrypted(ends.peer, names))
        }
    };
    let peer = Arc::new(peer);

    let (asked, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let speaks_http2 = Arc::new(AtomicBool::new(false));
    let service = Asked {
        inner: service,
        ends,
        peer: Arc::clone(&peer),
        asked: Arc::clone(&asked),
        speaks_http2: Arc::clone(&speaks_http2),
    };
    let stream = TokioIo::new(Stream::new(stream, Arc::clone(&heard), protocol.corks));
    let has_asked = || asked.load(Ordering::Relaxed);
    let is_silent = || !has_asked() && heard.load(Ordering::Relaxed) < PREFACE_BYTES;
    let mut connection = pin!(protocol.http.serve_connection(stream, service));
    // HTTP/1.1 has no word for "go after this call", and its idle connections have a limit.
    let mut aged = pin!(async {
        after(age_max.or(protocol.http2_age_max)).await;
        if age_max.is_none() && !speaks_http2.load(Ordering::Relaxed) {
            future::pending::<()>().await;
        }
    });
    // hyper starts its timer only once it knows the version of HTTP, and has none for HTTP/2. A caller over gRPC may be
    // idle for as long as it likes, but not before it has said that it is one.
    let mut first_is_late = pin!(async {
        let bytes_min = if protocol.head_time_max.is_some() { 1 } else { PREFACE_BYTES };
        let head_time_max = protocol.head_time_max.unwrap_or(FIRST_BYTES_TIME_MAX);
        sleep_until(accepted + FIRST_BYTES_TIME_MAX.min(head_time_max)).await;
        if !has_asked() && heard.load(Ordering::Relaxed) < bytes_min {
            return;
        }
        sleep_until(accepted + head_time_max).await;
        if protocol.head_time_max.is_none() || has_asked() {
            future::pending::<()>().await;
        }
    });
    let mut does_not_read = pin!(unread::given_up(&peer.keeps, PERIOD));
    let mut is_leaving = false;
    let mut left_at = None;
    loop {
        tokio::select! {
            biased;
            // An error means that the peer went away or doesn't speak HTTP: nothing is left to answer.
            _ended = &mut connection => return,
            changed = told.changed() => match changed.map(|()| *told.borrow_and_update()) {
                Ok(Told::Serve) => continue,
                Ok(Told::Go) => is_leaving = true,
                Ok(Told::End) | Err(_) => return,
            },
            () = &mut aged, if !is_leaving => is_leaving = true,
            () = &mut first_is_late => return,
            () = &mut does_not_read => return,
            () = sleep_until(left_at.unwrap_or(accepted)), if left_at.is_some() => return,
        }
        left_at = left_at.or_else(|| Some(Instant::now() + protocol.leave_time_max));
        if is_silent() {
            // hyper would wait for the first bytes, to answer them.
            return;
        }
        connection.as_mut().graceful_shutdown();
        peer.keeps.tell_to_go();
    }
}

/// Does the handshake of TLS. `None`: it failed, and the connection has ended.
async fn encrypt(
    tls: &Tls,
    stream: TcpStream,
    peer: Option<SocketAddr>,
) -> Option<(TlsStream<TcpStream>, Vec<SubjectName>)> {
    match tls.accept(stream).await {
        Ok(encrypted) => Some(encrypted),
        Err((error, stream)) => {
            tls.failed(&error, peer);
            // The alert says why. It would be lost in a reset.
            let _gone = Stream::new(stream, Arc::default(), false).shutdown().await;
            None
        }
    }
}

/// Waits for a time, or for ever.
async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => future::pending().await,
    }
}

/// Notes that a connection has had a request, and says in each where it came from.
struct Asked<S> {
    inner: S,
    ends: Ends,
    peer: Arc<Peer>,
    asked: Arc<AtomicBool>,
    speaks_http2: Arc<AtomicBool>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Asked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        self.asked.store(true, Ordering::Relaxed);
        if request.version() == Version::HTTP_2 {
            self.speaks_http2.store(true, Ordering::Relaxed);
        }
        request.extensions_mut().insert(Arc::clone(&self.peer));
        if spans::are_recorded() {
            request.extensions_mut().insert(self.ends);
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests;
