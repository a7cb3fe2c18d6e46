//! One connection: it is served until its peer leaves, or until it is told to go and its calls have ended.

use std::{
    convert::Infallible,
    error::Error,
    future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::sleep,
};

use super::{
    cork::Corked,
    linger::Lingering,
    patience::{Patient, WRITE_TIME_MAX},
    peer::Peer,
    protocol::Protocol,
};
use crate::spans::{self, Ends};

/// Counts the bytes with which an HTTP/2 connection begins: RFC 9113, section 3.4.
const PREFACE_BYTES: usize = 24;
/// Limits how long a peer may take to say that it speaks HTTP/2, where its first request has no limit.
const PREFACE_TIME_MAX: Duration = Duration::from_secs(10);

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
pub(super) async fn serve<I, S, B>(
    stream: I,
    ends: Ends,
    peer: Arc<Peer>,
    protocol: &Protocol,
    service: S,
    age_max: Option<Duration>,
    mut told: watch::Receiver<Told>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (asked, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let service = Asked { inner: service, ends, peer, asked: Arc::clone(&asked) };
    let stream = Patient::new(stream, Arc::clone(&heard), WRITE_TIME_MAX);
    let stream = TokioIo::new(Lingering::new(Corked::new(stream, protocol.corks)));
    let has_asked = || asked.load(Ordering::Relaxed);
    let is_silent = || !has_asked() && heard.load(Ordering::Relaxed) < PREFACE_BYTES;
    let mut connection = pin!(protocol.http.serve_connection(stream, service));
    let mut aged = pin!(after(age_max));
    // hyper starts its timer only once it knows the version of HTTP, and has none for HTTP/2. A caller over gRPC may be
    // idle for as long as it likes, but not before it has said that it is one.
    let mut first_is_late = pin!(async {
        sleep(protocol.head_time_max.unwrap_or(PREFACE_TIME_MAX)).await;
        let is_late = if protocol.head_time_max.is_some() { !has_asked() } else { is_silent() };
        if !is_late {
            future::pending::<()>().await;
        }
    });
    let mut is_leaving = false;
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
        }
        if is_silent() {
            // hyper would wait for the first bytes, to answer them.
            return;
        }
        connection.as_mut().graceful_shutdown();
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
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Asked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        self.asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Arc::clone(&self.peer));
        if spans::are_recorded() {
            request.extensions_mut().insert(self.ends);
        }
        self.inner.call(request)
    }
}
