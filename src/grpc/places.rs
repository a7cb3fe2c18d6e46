//! Places: each call under way takes some, until its caller has read the answer.
//!
//! A place is given back when the last byte of the answer has gone to the system, or the call is dropped. So a caller who
//! asks for much and reads nothing pays for what he keeps in memory. He is refused before his call begins, and whatever
//! he was answered stays true.

mod body;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::sleep;
use tower::{Layer, Service};

use body::{End, KeptBody};

use super::status;
use crate::{
    access::Caller,
    error::Error,
    listener::{OpenStream, Peer, Unread},
    shares::{CallLimits, CallerId, Rate, Tally, on_behalf_of},
};

/// Says how many places a call takes whose answer is a page of a list: up to 500 rows, where others have one.
const LIST_PLACES: usize = 64;
/// Says which part of the calls under way health and reflection may have beside the others, and how many at the least.
const OPEN_TO_ALL_SHARE: usize = 8;
const OPEN_TO_ALL_MIN: usize = 64;
/// Limits how long a health watch or a reflection stream lasts. Its caller then asks again.
const STREAM_TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// Refuses a call whose caller has his share.
const OVER_SHARE: Error = Error::Overloaded("too many calls are under way");
/// Refuses a stream on a connection that has many.
const OVER_STREAMS: Error = Error::Overloaded("this connection has too many health watches and reflection streams");

/// Shares out the calls under way. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    calls: Room,
    /// Health checks, health watches and reflection. They are open to strangers, who must not take the places of others.
    open_to_all: Room,
    rate: Option<Rate>,
}

#[derive(Debug)]
struct Room {
    max: usize,
    tally: Mutex<Tally>,
}

impl Places {
    pub(super) fn new(limits: CallLimits) -> Self {
        let rate = limits.rate_max.map(Rate::per_second);
        let open_to_all = (limits.calls_max / OPEN_TO_ALL_SHARE).max(OPEN_TO_ALL_MIN);
        Self {
            shared: Arc::new(Shared { calls: Room::of(limits.calls_max), open_to_all: Room::of(open_to_all), rate }),
        }
    }

    /// Takes the places of a call.
    fn take(&self, kind: Kind, caller: Option<CallerId>) -> Result<Place, http::Response<()>> {
        if let (Some(rate), Some(caller), Kind::Rpc | Kind::List) = (&self.shared.rate, caller, kind) {
            rate.count(caller).map_err(|wait| status::over_rate(wait).into_http())?;
        }
        let room = self.shared.room(kind);
        let places = match kind {
            Kind::List => LIST_PLACES.min(room.max / 2).max(1),
            Kind::Rpc | Kind::HealthCheck | Kind::Stream => 1,
        };
        let mut tally = room.tally();
        if !tally.try_take(caller, places, room.max) {
            // A full server is alive, and whoever looks after it has to see that.
            if !(kind == Kind::HealthCheck && tally.has_none(caller)) {
                return Err(status::of(&OVER_SHARE).into_http());
            }
            tally.take(caller, places);
        }
        drop(tally);
        Ok(Place { shared: Arc::clone(&self.shared), kind, caller, places })
    }
}

impl Shared {
    fn room(&self, kind: Kind) -> &Room {
        match kind {
            Kind::Rpc | Kind::List => &self.calls,
            Kind::HealthCheck | Kind::Stream => &self.open_to_all,
        }
    }
}

impl Room {
    fn of(max: usize) -> Self {
        Self { max, tally: Mutex::default() }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what a call is, as far as its places go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rpc,
    /// Is a call whose answer has many rows.
    List,
    HealthCheck,
    /// Lasts as long as its caller likes.
    Stream,
}

impl Kind {
    fn of(path: &str) -> Self {
        let (service, method) = path.rsplit_once('/').unwrap_or_default();
        match (service, method) {
            ("/grpc.health.v1.Health", "Check") => Self::HealthCheck,
            (service, _) if service.starts_with("/grpc.") => Self::Stream,
            (_, method) if method.starts_with("List") => Self::List,
            _ => Self::Rpc,
        }
    }
}

/// Is the place of a call under way. It is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    kind: Kind,
    caller: Option<CallerId>,
    places: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.room(self.kind).tally().give_back(self.caller, self.places);
    }
}

/// Is what an answer keeps until it has been read.
#[derive(Debug)]
struct Kept {
    _place: Place,
    _stream: Option<OpenStream>,
    _unread: Option<Unread>,
}

/// Lets calls in as far as there are places.
#[derive(Debug, Clone)]
pub(super) struct PlacesLayer(pub(super) Places);

impl<S> Layer<S> for PlacesLayer {
    type Service = Placed<S>;

    fn layer(&self, inner: S) -> Placed<S> {
        Placed { inner, places: self.0.clone() }
    }
}

/// Lets the calls of a service in as far as there are places.
#[derive(Debug, Clone)]
pub(super) struct Placed<S> {
    inner: S,
    places: Places,
}

impl<S, B, R> Service<Request<B>> for Placed<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    R: Default,
{
    type Response = Response<KeptBody<R>>;
    type Error = Infallible;
    type Future = PlacedCall<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> PlacedCall<S::Future> {
        let kind = Kind::of(request.uri().path());
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        let caller = match (kind, request.extensions().get::<Caller>()) {
            // Whoever may not call anything else may still ask for health, and then is only a connection.
            (Kind::HealthCheck | Kind::Stream, _) | (_, None) => {
                peer.as_ref().map(|peer| CallerId::of(&Caller::Connection(peer.connection_id)))
            }
            (Kind::Rpc | Kind::List, Some(caller)) => Some(CallerId::of(caller)),
        };
        let stream = match (kind, &peer) {
            (Kind::Stream, Some(peer)) => match peer.open_stream() {
                None => return PlacedCall::Refused(Some(status::of(&OVER_STREAMS).into_http())),
                stream => stream,
            },
            _ => None,
        };
        match self.places.take(kind, caller) {
            Err(refused) => PlacedCall::Refused(Some(refused)),
            Ok(place) => {
                PlacedCall::Admitted { call: self.inner.call(request), caller, keeps: Some((place, stream)), peer }
            }
        }
    }
}

/// Is a call under way, or one that was refused.
#[derive(Debug)]
pub(super) enum PlacedCall<F> {
    Refused(Option<Response<()>>),
    Admitted { call: F, caller: Option<CallerId>, keeps: Option<(Place, Option<OpenStream>)>, peer: Option<Arc<Peer>> },
}

impl<F, R> Future for PlacedCall<F>
where
    F: Future<Output = Result<Response<R>, Infallible>> + Unpin,
    R: Default,
{
    type Output = Result<Response<KeptBody<R>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Refused(refused) => {
                let refused = refused.take().unwrap_or_default();
                Poll::Ready(Ok(refused.map(|()| KeptBody::default())))
            }
            Self::Admitted { call, caller, keeps, peer } => {
                let answer = ready!(on_behalf_of(*caller, || Pin::new(call).poll(context)));
                let Some((place, stream)) = keeps.take() else { return Poll::Pending };
                Poll::Ready(answer.map(|response| response.map(|body| keep(body, place, stream, peer.as_ref()))))
            }
        }
    }
}

/// Makes a body keep what its call has taken.
fn keep<R>(body: R, place: Place, stream: Option<OpenStream>, peer: Option<&Arc<Peer>>) -> KeptBody<R> {
    let is_stream = stream.is_some();
    let unread = peer.filter(|_| !is_stream).map(Peer::unread);
    let end = peer.filter(|_| is_stream).map(|peer| end_of_stream(Arc::clone(peer), STREAM_TIME_MAX));
    KeptBody::new(body, Kept { _place: place, _stream: stream, _unread: unread }, end)
}

/// Waits until a stream has to end: its time is over, or its connection is told to go.
fn end_of_stream(peer: Arc<Peer>, time_max: Duration) -> End {
    Box::pin(async move {
        tokio::select! {
            () = peer.told_to_go() => {}
            () = sleep(time_max) => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(calls_max: usize) -> Places {
        Places::new(CallLimits { calls_max, rate_max: None })
    }

    fn caller(number: u32) -> Option<CallerId> {
        Some(CallerId::of(&number))
    }

    /// Makes calls of one kind until one is refused.
    fn taken(places: &Places, kind: Kind, caller: Option<CallerId>) -> Vec<Place> {
        std::iter::from_fn(|| places.take(kind, caller).ok()).collect()
    }

    #[test]
    fn a_list_takes_more_places_than_another_call_and_one_can_always_be_made() {
        let all = places(16_384);
        let lists = taken(&all, Kind::List, caller(1));
        assert_eq!(lists.len(), 128);
        assert!(all.take(Kind::Rpc, caller(1)).is_err());
        assert!(all.take(Kind::Rpc, caller(2)).is_ok());
        drop(lists);
        assert_eq!(taken(&all, Kind::Rpc, caller(1)).len(), 8192);
        for calls_max in [1, 2, 3, 100] {
            assert!(places(calls_max).take(Kind::List, caller(1)).is_ok(), "{calls_max}");
        }
    }

    #[test]
    fn strangers_who_fill_health_take_nobodys_place_and_one_check_of_a_connection_is_always_answered() {
        let places = places(16);
        let strangers: Vec<Place> =
            (1..=99).flat_map(|number| taken(&places, Kind::HealthCheck, caller(number))).collect();
        assert!(strangers.len() >= OPEN_TO_ALL_MIN);
        assert!(places.take(Kind::Stream, caller(100)).is_err());
        let check = places.take(Kind::HealthCheck, caller(100));
        assert!(check.is_ok());
        assert!(places.take(Kind::HealthCheck, caller(100)).is_err());
        assert_eq!(taken(&places, Kind::Rpc, caller(100)).len(), 8);
        drop(strangers);
        assert!(places.take(Kind::Stream, caller(101)).is_ok());
    }

    #[test]
    fn the_kind_of_a_call_is_that_of_its_path() {
        for (path, kind) in [
            ("/flashsale.v1.FlashSaleService/CreateHold", Kind::Rpc),
            ("/flashsale.v1.AdminService/ListOrders", Kind::List),
            ("/grpc.health.v1.Health/Check", Kind::HealthCheck),
            ("/grpc.health.v1.Health/Watch", Kind::Stream),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Kind::Stream),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Kind::Stream),
            ("/x", Kind::Rpc),
            ("", Kind::Rpc),
        ] {
            assert_eq!(Kind::of(path), kind, "{path:?}");
        }
    }

    #[tokio::test]
    async fn a_stream_ends_when_its_time_is_over() {
        let peer = Arc::new(Peer::new(None));
        assert_eq!(STREAM_TIME_MAX.as_secs(), 3600);
        tokio::time::timeout(Duration::from_secs(10), end_of_stream(peer, Duration::from_millis(1))).await.unwrap();
    }
}
