//! The process's meter, and the page that Prometheus reads.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::{
    Resource,
    metrics::{MeterProviderBuilder, SdkMeterProvider, reader::MetricReader},
};
use prometheus::{Registry, TextEncoder, process_collector::ProcessCollector};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Names the format of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Limits how long a page waits for what is read for it. Without that, it has what was read last.
const REFRESH_MAX: Duration = Duration::from_millis(1500);

/// How often what is read for the page is looked at where nobody may ask for pages. It is read more seldom.
const FRESH_EVERY: Duration = Duration::from_secs(5);

/// Reads something anew for the page.
type Refresh = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
static ARE_SENT: AtomicBool = AtomicBool::new(false);
static REFRESH: Mutex<Option<Refresh>> = Mutex::new(None);

/// Leads from the instruments to their readers.
struct Pipeline {
    registry: Registry,
    provider: SdkMeterProvider,
    meter: Meter,
}

impl Pipeline {
    /// Makes the pipeline of the page. `complete` may add a resource and a reader that sends.
    fn new(complete: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder) -> Result<Self, String> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self())).map_err(|error| error.to_string())?;
        let page = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // The page has no series but the table's, and no labels but the table's.
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(|error| error.to_string())?;
        let provider = complete(SdkMeterProvider::builder().with_reader(page)).build();
        let meter = provider.meter(env!("CARGO_PKG_NAME"));
        Ok(Self { registry, provider, meter })
    }

    /// Makes a pipeline that leads nowhere.
    fn nowhere() -> Self {
        let provider = SdkMeterProvider::builder().build();
        let meter = provider.meter(env!("CARGO_PKG_NAME"));
        Self { registry: Registry::new(), provider, meter }
    }
}

fn pipeline() -> &'static Pipeline {
    PIPELINE.get_or_init(|| Pipeline::new(|builder| builder).unwrap_or_else(|_| Pipeline::nowhere()))
}

/// Makes the process's meter, unless there is one. `sender` is a reader that sends by OTLP, if there is one.
///
/// Whatever is counted before makes a meter with the page alone. So a program calls this before anything else.
///
/// # Errors
/// The page can't be made, which only a wrong build does.
pub fn install<R: MetricReader>(resource: Resource, sender: Option<R>) -> Result<(), String> {
    if PIPELINE.get().is_none() {
        let is_sent = sender.is_some();
        let pipeline = Pipeline::new(|builder| match sender {
            Some(sender) => builder.with_resource(resource).with_reader(sender),
            None => builder.with_resource(resource),
        })?;
        PIPELINE.get_or_init(|| pipeline);
        ARE_SENT.store(is_sent, Ordering::Relaxed);
    }
    Ok(())
}

/// Keeps fresh what is read for the page, where it is also sent: then there may be nobody who asks for pages.
///
/// It never ends, and does nothing where nothing is sent.
pub async fn keep_fresh() {
    let mut ticks = interval(FRESH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ARE_SENT.load(Ordering::Relaxed) {
        ticks.tick().await;
        refresh().await;
    }
    std::future::pending().await
}

/// Reads anew what is read for the page, within the time that a page may wait.
async fn refresh() {
    let refresh = REFRESH.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(refresh) = refresh {
        // Too late: what was read before counts.
        let _too_late = timeout(REFRESH_MAX, refresh()).await.is_err();
    }
}

/// Sends what was not sent yet, where there is a reader that sends, and ends within `limit`.
///
/// # Errors
/// A sentence for the log that says why not.
pub fn shutdown(limit: Duration) -> Result<(), String> {
    match PIPELINE.get() {
        Some(pipeline) => pipeline.provider.shutdown_with_timeout(limit).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

pub(super) fn meter() -> &'static Meter {
    &pipeline().meter
}

/// Makes each page wait for `refresh`, for 1.5 s at the most. A refresh that takes longer is dropped.
pub fn before_each_page<F>(refresh: impl Fn() -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let refresh: Refresh = Arc::new(move || Box::pin(refresh()));
    *REFRESH.lock().unwrap_or_else(PoisonError::into_inner) = Some(refresh);
}

/// Returns the page, in the format [`CONTENT_TYPE`].
///
/// # Errors
/// A sentence for the log that says why there is no page.
pub async fn page() -> Result<String, String> {
    refresh().await;
    // One page at a time, so that a crowd of readers takes one thread and not a hundred.
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = ONE.lock().await;
    // A thousand series take a millisecond or two, which the calls need not wait for.
    tokio::task::spawn_blocking(render).await.map_err(|error| error.to_string())?
}

fn render() -> Result<String, String> {
    TextEncoder::new().encode_to_string(&pipeline().registry.gather()).map_err(|error| error.to_string())
}
