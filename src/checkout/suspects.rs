//! Keys that callers sent and that may be locked by somebody else: those of batches that waited for a lock in vain.
//!
//! An INSERT whose unique key is taken waits for whoever has that row locked, and all of its batch waits with it. Nobody
//! says which of the keys it was. So all of them are treated with care for a while: they are looked up first, and by
//! themselves.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a key is suspected.
const SUSPECTED_FOR: Duration = Duration::from_secs(10);
/// Keys that are suspected at the same moment.
const SUSPECTS_MAX: usize = 4096;

/// The suspected keys of a use case.
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
        let mut known = suspects.take().map(|(_, known)| known).unwrap_or_default();
        if known.len() >= SUSPECTS_MAX {
            known.clear();
        }
        known.extend(keys.take(SUSPECTS_MAX).cloned());
        *suspects = Some((Instant::now(), known));
    }

    /// Those of these keys that are suspected.
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
            Some((_, known)) => keys.filter(|key| known.contains(*key)).cloned().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, HashSet<K>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
