//! The end of the program, as those see it who still have something to send.
//!
//! All of them together have [`ENDING_MAX`], so a collector that doesn't answer delays the end once.

use std::{sync::LazyLock, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Says how long the end of a program waits for a collector.
pub(super) const ENDING_MAX: Duration = Duration::from_secs(4);
/// Says how much earlier an export is cut short, so that what comes after it also has its time.
const MARGIN: Duration = Duration::from_millis(300);

/// Holds the moment at which exports are cut short, once the end has begun.
static TIME_IS_UP: LazyLock<watch::Sender<Option<Instant>>> = LazyLock::new(|| watch::channel(None).0);

/// Begins the end, unless it has begun.
pub(super) fn begin() {
    TIME_IS_UP.send_if_modified(|moment| {
        let is_first = moment.is_none();
        moment.get_or_insert_with(|| Instant::now() + ENDING_MAX - MARGIN);
        is_first
    });
}

/// Runs an export, to its end or until the program has ended and its time is up. It needs a runtime with timers.
///
/// # Errors
/// The export's, or that it was cut short.
pub(super) async fn cut_short(export: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::select! {
        biased;
        () = time_is_up() => Err("the program ended before the collector answered".to_owned()),
        sent = export => sent,
    }
}

async fn time_is_up() {
    let mut moments = TIME_IS_UP.subscribe();
    let moment = match moments.wait_for(Option::is_some).await {
        Ok(moment) => *moment,
        Err(_) => None,
    };
    if let Some(moment) = moment {
        sleep_until(moment).await;
    }
}
