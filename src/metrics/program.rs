//! The program itself: whether it serves, its version, its connections, and log lines that nobody read.
//!
//! The metrics `process_*` are those of Prometheus's own clients. They are on the page only: a collector knows the
//! processes of its machine.

use std::sync::{
    LazyLock, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use opentelemetry::{KeyValue, metrics::Counter};

use super::pipeline::meter;

static SERVING: AtomicBool = AtomicBool::new(false);

static LINES_DROPPED: LazyLock<Counter<u64>> = LazyLock::new(|| {
    let counter = meter()
        .u64_counter("flashsale.log.lines_dropped")
        .with_description("Log lines that were dropped because nobody read them")
        .with_unit("{line}")
        .build();
    counter.add(0, &[]);
    counter
});

/// Counts the connections of a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionFigures {
    /// Connections that are open.
    pub open: u64,
    /// Connections that were refused since the program's start, because there were too many.
    pub refused: u64,
}

/// Counts the program's connections.
type LookAtConnections = Box<dyn Fn() -> ConnectionFigures + Send + Sync>;

static LOOK_AT_CONNECTIONS: Mutex<Option<LookAtConnections>> = Mutex::new(None);

fn connections() -> ConnectionFigures {
    let look = LOOK_AT_CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    look.as_ref().map(|look| look()).unwrap_or_default()
}

/// Shows the connections of the program, which `look` counts.
pub fn watch_connections(look: impl Fn() -> ConnectionFigures + Send + Sync + 'static) {
    *LOOK_AT_CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(look));
}

/// Shows whether the program serves.
pub fn set_serving(serving: bool) {
    SERVING.store(serving, Ordering::Relaxed);
}

/// Counts log lines that nobody read.
pub fn count_dropped_lines(lines: u64) {
    LINES_DROPPED.add(lines, &[]);
}

fn show() {
    let _serving = meter()
        .u64_observable_gauge("flashsale.serving")
        .with_description(
            "1 while the program serves: a server whose database takes writes, a gateway whose server does",
        )
        .with_callback(|observer| observer.observe(u64::from(SERVING.load(Ordering::Relaxed)), &[]))
        .build();
    let _build = meter()
        .u64_observable_gauge("flashsale.build_info")
        .with_description("1, with the version of the program")
        .with_callback(|observer| observer.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]))
        .build();
    let _open = meter()
        .u64_observable_gauge("flashsale.connections")
        .with_description("Connections that callers have open")
        .with_unit("{connection}")
        .with_callback(|observer| observer.observe(connections().open, &[]))
        .build();
    let _refused = meter()
        .u64_observable_counter("flashsale.connections.refused")
        .with_description("Connections that were closed at once because there were too many")
        .with_unit("{connection}")
        .with_callback(|observer| observer.observe(connections().refused, &[]))
        .build();
}

pub(super) fn start() {
    static SHOWN: LazyLock<()> = LazyLock::new(show);
    LazyLock::force(&SHOWN);
    LazyLock::force(&LINES_DROPPED);
}
