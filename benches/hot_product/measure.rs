//! Runs one measurement: a load on one design, and what the processes used meanwhile.

use std::{process, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    load::{Outcome, Period},
    machine,
    results::{Cpu, Round},
    shop::Shop,
};

/// Names the processes whose time and memory count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes {
    pub(crate) servers: Vec<u32>,
    /// The database, or Redis.
    pub(crate) database: Vec<u32>,
}

/// Holds what the processes had used at one moment.
struct Used {
    client: Duration,
    server: Duration,
    database: Duration,
    commits: u64,
    prepares: u64,
}

impl Used {
    async fn now(shop: &Shop, processes: &Processes) -> Self {
        let sum = |pids: &[u32]| pids.iter().map(|&pid| machine::cpu_time(pid)).sum();
        let status = shop.status(&["Com_commit", "Com_stmt_prepare"]).await;
        Self {
            client: machine::cpu_time(process::id()),
            server: sum(&processes.servers),
            database: sum(&processes.database),
            commits: status[0],
            prepares: status[1],
        }
    }
}

/// Runs a load and measures it.
pub(crate) async fn measure(
    shop: &Shop,
    processes: &Processes,
    period: Period,
    load: impl Future<Output = Outcome>,
) -> (Round, Outcome) {
    processes.servers.iter().for_each(|&pid| machine::reset_peak(pid));
    let warm = Instant::now() + period.warm_up;
    let watch = async {
        sleep_until(warm).await;
        let before = Used::now(shop, processes).await;
        sleep_until(warm + period.measured).await;
        (before, Used::now(shop, processes).await)
    };
    let (outcome, (before, after)) = tokio::join!(load, watch);
    let seconds = period.measured.as_secs_f64();
    let cores = |before: Duration, after: Duration| (after.saturating_sub(before)).as_secs_f64() / seconds;
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let (granted, refused) = (outcome.granted as f64, outcome.refused as f64);
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    let per_grant =
        |before: u64, after: u64| (granted > 0.0 && after > before).then(|| (after - before) as f64 / granted);
    let round = Round {
        seconds,
        granted: outcome.granted,
        refused: outcome.refused,
        failed: outcome.failed,
        granted_per_second: granted / seconds,
        refused_per_second: refused / seconds,
        latency: outcome.latency,
        slowest_over_median: outcome.slowest_over_median,
        cpu: Cpu {
            client: cores(before.client, after.client),
            server: cores(before.server, after.server),
            database: cores(before.database, after.database),
        },
        server_peak_bytes: processes.servers.iter().map(|&pid| machine::peak_bytes(pid)).sum(),
        commits_per_grant: per_grant(before.commits, after.commits),
        prepares_per_grant: per_grant(before.prepares, after.prepares),
    };
    (round, outcome)
}
