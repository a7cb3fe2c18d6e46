//! How many sessions the database has room for, as far as this process knows.
//!
//! An account may be allowed fewer connections than the pool may have, and other clients may use up the connections of
//! the database. So each session of the pool needs a place. A place whose session was refused is given up, except the
//! last place. Its caller then waits for a place that has a session. One more place is tried once every [`PAUSE`].
//! Where only the last place is left, that place is tried once every [`PAUSE`].

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout_at},
};
use tracing::warn;

use crate::db::{Failure, FailureKind};

/// Sets how long after a refusal the database is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// Sets the number of places from which on half of them can be kept back.
const KEPT_BACK_FROM: usize = 4;

/// Gives out the places for a pool's sessions.
#[derive(Debug)]
pub(in crate::db) struct Room {
    places: Arc<Semaphore>,
    known: Mutex<Known>,
    places_max: usize,
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Known {
    places: usize,
    next_try: Instant,
}

/// Gives the right to have a session, until it is dropped.
#[derive(Debug)]
pub(in crate::db) struct Place(OwnedSemaphorePermit);

impl Room {
    pub(in crate::db) fn new(places_max: usize) -> Self {
        let known = Known { places: places_max, next_try: Instant::now() };
        let (places, waiting) = (Arc::new(Semaphore::new(places_max)), AtomicUsize::new(0));
        Self { places, known: Mutex::new(known), places_max, waiting }
    }

    /// Counts the calls that wait for a place.
    pub(in crate::db) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Tells whether half of the places or more are taken. It is never so with fewer places than [`KEPT_BACK_FROM`].
    pub(in crate::db) fn is_crowded(&self) -> bool {
        let places = self.known.lock().unwrap_or_else(PoisonError::into_inner).places;
        places >= KEPT_BACK_FROM && self.places.available_permits() * 2 <= places
    }

    /// Waits for a place, in the order of the calls.
    ///
    /// # Errors
    /// `PoolBusy` after the deadline.
    pub(in crate::db) async fn take(&self, deadline: Instant) -> Result<Place, Failure> {
        let _waiting = Waits::begin(&self.waiting);
        let mut place = pin!(Arc::clone(&self.places).acquire_owned());
        loop {
            let until = self.grow().map_or(deadline, |next_try| next_try.min(deadline));
            match timeout_at(until, place.as_mut()).await {
                // The semaphore is never closed.
                Ok(taken) => return taken.map(Place).map_err(|_closed| busy()),
                Err(_elapsed) if Instant::now() >= deadline => return Err(busy()),
                Err(_elapsed) => {}
            }
        }
    }

    /// Records that the database had no room for the session of this place.
    ///
    /// The last place isn't given up: it waits until the database may be asked again, and meanwhile nobody else asks.
    ///
    /// # Errors
    /// `PoolBusy` after the deadline.
    pub(in crate::db) async fn refused(&self, place: Place, deadline: Instant, text: &str) -> Result<(), Failure> {
        let next_try = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.next_try = Instant::now() + PAUSE;
            if known.places == self.places_max {
                warn!(error = text, "The database has no room for more connections");
            }
            if known.places > 1 {
                known.places -= 1;
                place.0.forget();
                return Ok(());
            }
            known.next_try
        };
        sleep_until(next_try.min(deadline)).await;
        if Instant::now() >= deadline { Err(busy()) } else { Ok(()) }
    }

    /// Adds a place if it is time to try one. Returns when the next try will be, or `None` where all places are there.
    fn grow(&self) -> Option<Instant> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if known.places < self.places_max && now >= known.next_try {
            known.places += 1;
            known.next_try = now + PAUSE;
            self.places.add_permits(1);
        }
        (known.places < self.places_max).then_some(known.next_try)
    }
}

/// Counts a call that waits, until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn busy() -> Failure {
    Failure { kind: FailureKind::PoolBusy, text: "no connection came free in time".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        Instant::now()
    }

    #[tokio::test]
    async fn a_refused_place_is_tried_again_after_a_pause_and_not_before() {
        let room = Room::new(3);
        let kept = room.take(now()).await.unwrap();
        let began = now();
        for _ in 0..2 {
            let place = room.take(now()).await.unwrap();
            room.refused(place, now(), "full").await.unwrap();
        }
        assert_eq!(room.take(began + PAUSE / 2).await.unwrap_err().kind, FailureKind::PoolBusy);
        let tried = room.take(began + 20 * PAUSE).await.unwrap();
        assert!(began.elapsed() >= PAUSE, "{:?}", began.elapsed());
        room.refused(tried, now(), "full").await.unwrap();

        // A place that comes back is there at once.
        drop(kept);
        room.take(now()).await.unwrap();
    }

    #[tokio::test]
    async fn the_last_place_is_kept_and_asks_once_a_pause() {
        let room = Room::new(1);
        let began = Instant::now();
        for tries in 1..=4 {
            let place = room.take(now()).await.unwrap();
            room.refused(place, began + 20 * PAUSE, "full").await.unwrap();
            assert!(began.elapsed() >= tries * PAUSE, "{:?}", began.elapsed());
        }
        let place = room.take(now()).await.unwrap();
        assert_eq!(room.refused(place, now(), "full").await.unwrap_err().kind, FailureKind::PoolBusy);
    }
}
