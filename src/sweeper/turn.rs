//! Whose turn it is to sweep, and whether the sweep that has the lock still works.
//!
//! The lock ends with its connection, which the sweep itself keeps alive between its batches: so the lock says that a
//! sweep works, and not just that its process is there. Once a second at the most it writes its progress down there.

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

const LOCK: &str = "sweep";
/// How often a sweep writes down that it works: often beside the minute after which the lock of an idle connection is
/// free, and seldom beside the batches.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// A sweep that has written nothing for so long gets nowhere.
pub(super) const STALLED_AFTER_SECONDS: i64 = 5 * 60;
/// How long a sweep gets to show that it works, or to let go, before it is told as stalled: it may have begun just now.
const SECOND_LOOK_SECONDS: i64 = 3;

/// Says whose turn it is.
pub(super) enum Turn {
    /// This sweep's.
    Ours(SweepLock),
    /// Another's, which works.
    Anothers(Holder),
    /// Another's, which gets nowhere.
    Stalled(Holder),
}

/// The lock of the sweep that works.
pub(super) struct SweepLock {
    lock: NamedLock,
    progress_at: Instant,
}

impl Turn {
    pub(super) async fn take(config: &DatabaseConfig, database: &Database) -> Result<Self, Error> {
        let holder = match NamedLock::take(config, LOCK, 0).await? {
            Ok(lock) => return SweepLock::begin(lock).await.map(Self::Ours),
            Err(holder) => holder,
        };
        if !is_stalled(database).await? {
            return Ok(Self::Anothers(holder));
        }
        match NamedLock::take(config, LOCK, SECOND_LOOK_SECONDS).await? {
            Ok(lock) => SweepLock::begin(lock).await.map(Self::Ours),
            Err(holder) if is_stalled(database).await? => Ok(Self::Stalled(holder)),
            Err(holder) => Ok(Self::Anothers(holder)),
        }
    }
}

/// A time that is to come counts, too: the clock has gone back, and nothing was written since.
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

    /// Shows that the sweep works, and finds out whether the lock is still there. It isn't where the process was frozen
    /// for a minute, or where somebody has killed its connection.
    ///
    /// # Errors
    /// `Unavailable` where the lock is lost: another sweep may be at work by now.
    pub(super) async fn keep(&mut self) -> Result<(), Error> {
        if self.progress_at.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        sweeper_state::record_progress(&mut self.lock).await?;
        self.progress_at = Instant::now();
        Ok(())
    }

    pub(super) async fn release(self) {
        self.lock.release().await;
    }
}
