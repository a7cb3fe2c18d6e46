//! Decides which sweep may run, and whether the sweep that has the lock makes progress.
//!
//! The lock ends with its connection. Only a working sweep keeps that connection alive, between its batches. So the
//! lock shows that a sweep works, not only that its process exists. At most once a second the sweep records its
//! progress on that connection.

use std::time::{Duration, Instant};

use crate::{
    config::DatabaseConfig,
    db::{
        Connection, Database,
        named_lock::{Holder, NamedLock},
        sweeper_state,
    },
    error::Error,
};

/// Names the lock.
const LOCK: &str = "sweep";
/// Says how often a sweep records its progress: often enough for the minute after which an idle connection loses its
/// lock, and seldom compared with the batches.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Says after which time without recorded progress a sweep counts as stalled.
pub(super) const STALLED_AFTER_SECONDS: i64 = 5 * 60;
/// Says how long a sweep that seems stalled gets to show progress or to end: it may have begun just now.
const SECOND_LOOK_SECONDS: i64 = 3;

/// Says which sweep has the lock.
pub(super) enum SweepTurn {
    /// This sweep has it.
    Ours(SweepLock),
    /// Another sweep has it, and works.
    OfAnother(Holder),
    /// Another sweep has it, and makes no progress.
    Stalled(Holder),
}

/// Holds the lock of this sweep.
pub(super) struct SweepLock {
    lock: NamedLock,
    progress_at: Instant,
}

impl SweepTurn {
    /// Takes the lock, or finds out what the sweep that has it does.
    pub(super) async fn take(config: &DatabaseConfig, database: &Database) -> Result<Self, Error> {
        let holder = match NamedLock::take(config, LOCK, 0).await? {
            Ok(lock) => return SweepLock::begin(lock).await.map(Self::Ours),
            Err(holder) => holder,
        };
        if !is_stalled(database).await? {
            return Ok(Self::OfAnother(holder));
        }
        match NamedLock::take(config, LOCK, SECOND_LOOK_SECONDS).await? {
            Ok(lock) => SweepLock::begin(lock).await.map(Self::Ours),
            Err(holder) if is_stalled(database).await? => Ok(Self::Stalled(holder)),
            Err(holder) => Ok(Self::OfAnother(holder)),
        }
    }
}

/// Whether no progress was recorded for too long. A time in the future counts, too: the clock went back since then.
async fn is_stalled(database: &Database) -> Result<bool, Error> {
    let seconds = database
        .read("sweep_progress", async |conn: &mut Connection, _attempt| {
            sweeper_state::seconds_since_progress(conn).await
        })
        .await?;
    Ok(seconds.is_some_and(|seconds| seconds.saturating_abs() >= STALLED_AFTER_SECONDS))
}

impl SweepLock {
    async fn begin(mut lock: NamedLock) -> Result<Self, Error> {
        sweeper_state::record_progress(&mut lock).await?;
        Ok(Self { lock, progress_at: Instant::now() })
    }

    /// Records progress, and checks that the lock is still held.
    ///
    /// The lock is lost where the process was frozen for a minute, or where somebody has killed its connection.
    ///
    /// # Errors
    /// `Unavailable`: the lock is lost, and another sweep may be running by now.
    pub(super) async fn keep(&mut self) -> Result<(), Error> {
        if self.progress_at.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        sweeper_state::record_progress(&mut self.lock).await?;
        self.progress_at = Instant::now();
        Ok(())
    }

    /// Releases the lock.
    pub(super) async fn release(self) {
        self.lock.release().await;
    }
}
