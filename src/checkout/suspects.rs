//! Keys that callers sent and that somebody else may have locked.
//!
//! An INSERT whose unique key is there already waits for whoever has that row locked, and its whole batch waits with
//! it. The database doesn't say which key it was. So after a wait in vain all keys of the batch are suspected for a
//! while. A use case looks for the rows of suspected keys before it inserts them, or runs each such command by itself.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long keys are suspected after the last wait in vain.
const SUSPECTED_FOR: Duration = Duration::from_secs(10);
/// Keys that are suspected at the same moment.
const SUSPECTS_MAX: usize = 4096;

/// Remembers the suspected keys of a use case, and since when.
#[derive(Debug)]
pub(super) struct Suspects<K>(Mutex<Option<(Instant, HashSet<K>)>>);

impl<K> Default for Suspects<K> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: Eq + Hash + Clone> Suspects<K> {
    /// Suspects the keys of a batch that waited in vain.
    pub(super) fn remember<'k>(&self, keys: impl Iterator<Item = &'k K>)
    where
        K: 'k,
    {
        let mut suspects = self.lock();
        let mut all = suspects.take().map(|(_, earlier)| earlier).unwrap_or_default();
        if all.len() >= SUSPECTS_MAX {
            all.clear();
        }
        all.extend(keys.take(SUSPECTS_MAX).cloned());
        *suspects = Some((Instant::now(), all));
    }

    /// Returns the keys among these that are suspected.
    pub(super) fn among<'k>(&self, keys: impl Iterator<Item = &'k K>) -> HashSet<K>
    where
        K: 'k,
    {
        let mut suspects = self.lock();
        match &*suspects {
            None => HashSet::new(),
            Some((since, _)) if since.elapsed() >= SUSPECTED_FOR => {
                *suspects = None;
                HashSet::new()
            }
            Some((_, suspected)) => keys.filter(|key| suspected.contains(*key)).cloned().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, HashSet<K>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
