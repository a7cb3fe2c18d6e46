//! All lanes of a server, made and closed by one value.

use std::{fmt, sync::Arc};

use tokio_util::task::TaskTracker;

use super::{Batch, LaneLimits, Lanes, OneByOne, RunOne, Shared};
use crate::metrics;

/// Makes lanes, and closes all the lanes that it has made. There is no other way to make any.
#[derive(Default)]
pub struct LaneGroup {
    tasks: TaskTracker,
    made: Vec<Arc<dyn RefuseCommands>>,
}

impl fmt::Debug for LaneGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneGroup").field("made", &self.made.len()).finish_non_exhaustive()
    }
}

/// Closes the lanes of one use case, whichever it is.
trait RefuseCommands: Send + Sync {
    fn refuse_commands(&self);
}

impl<B: Batch> RefuseCommands for Shared<B> {
    fn refuse_commands(&self) {
        self.queues().closed = true;
    }
}

impl LaneGroup {
    /// Makes the lanes of a use case that runs its commands together.
    pub fn lanes<B: Batch>(&mut self, batch: B, limits: LaneLimits) -> Lanes<B> {
        let lanes = Lanes::new(batch, limits, self.tasks.clone());
        self.made.push(Arc::<Shared<B>>::clone(&lanes.shared));
        let shared = Arc::downgrade(&lanes.shared);
        metrics::watch_queue(B::NAME, move || shared.upgrade().map(|shared| shared.queues().waiting()));
        lanes
    }

    /// Makes the lanes of a use case that runs its commands one by one.
    pub fn one_by_one<R: RunOne>(&mut self, run: R, limits: LaneLimits) -> Lanes<OneByOne<R>> {
        self.lanes(OneByOne(run), LaneLimits { batch_max: 1, ..limits })
    }

    /// Closes the lanes: they take no more commands. Returns when the commands they took are answered and recorded.
    pub async fn close(&self) {
        for lanes in &self.made {
            lanes.refuse_commands();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}
