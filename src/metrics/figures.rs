//! Figures that are read from the database for the page: stock, overdue rows, open payment exceptions, sweeps, audits.
//!
//! They are the same on every server, so a query takes the `max`. They are shown until they are too old.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::Instant,
};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use super::{labels::EXCEPTION_KINDS, pipeline::meter};

/// Holds the units of one product, which add up to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductFigures {
    /// The product's id.
    pub product_id: i64,
    /// Units put on sale.
    pub limit: i64,
    /// Units that can be held.
    pub available: i64,
    /// Units in active holds.
    pub held: i64,
    /// Units in pending orders.
    pub pending: i64,
    /// Units in paid orders.
    pub paid: i64,
}

/// Holds what was read from the database at one moment. Times are in seconds since 1970 (UTC), and 0 where nothing has
/// ended yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Products whose sale isn't over for a day.
    pub products: Vec<ProductFigures>,
    /// Holds past their time that nobody has taken back yet.
    pub holds_overdue: i64,
    /// How long the oldest of them is past its time, in seconds.
    pub oldest_hold_overdue_seconds: f64,
    /// Orders past their time that nobody has cancelled yet.
    pub orders_overdue: i64,
    /// Payment exceptions that nobody has resolved: late_success, duplicate_success, amount_mismatch.
    pub exceptions_open: [i64; 3],
    /// When the last sweep ended well.
    pub swept_at: f64,
    /// Sweeps that ended well.
    pub sweeps: i64,
    /// Holds that sweeps expired.
    pub holds_expired: i64,
    /// Orders that sweeps cancelled.
    pub orders_cancelled: i64,
    /// Units that sweeps gave back.
    pub stock_released: i64,
    /// When the last audit ended without a finding.
    pub audited_at: f64,
    /// Findings of the last audit.
    pub findings: i64,
}

/// Keeps what was read last, and until when it is shown.
static SHOWN: Mutex<Option<(Figures, Instant)>> = Mutex::new(None);

/// Shows these figures until a time, or until others are shown.
pub fn show(figures: Figures, until: Instant) {
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some((figures, until));
}

fn with_shown(look: impl FnOnce(&Figures)) {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((figures, _)) = shown.as_ref().filter(|(_, until)| Instant::now() <= *until) {
        look(figures);
    }
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Shows a number as a gauge.
fn gauge(name: &'static str, description: &'static str, value: fn(&Figures) -> i64) {
    let _gauge = meter()
        .i64_observable_gauge(name)
        .with_description(description)
        .with_callback(move |observer| with_shown(|figures| observer.observe(value(figures), &[])))
        .build();
}

/// Shows a number of seconds as a gauge.
fn gauge_of_seconds(name: &'static str, description: &'static str, value: fn(&Figures) -> f64) {
    let _gauge = meter()
        .f64_observable_gauge(name)
        .with_description(description)
        .with_unit("s")
        .with_callback(move |observer| with_shown(|figures| observer.observe(value(figures), &[])))
        .build();
}

/// Shows a total as a counter.
fn total(name: &'static str, description: &'static str, value: fn(&Figures) -> i64) {
    let _counter = meter()
        .u64_observable_counter(name)
        .with_description(description)
        .with_callback(move |observer| with_shown(|figures| observer.observe(unsigned(value(figures)), &[])))
        .build();
}

fn observe_usage(observer: &dyn AsyncInstrument<i64>, product: &ProductFigures) {
    let ProductFigures { product_id, limit: _, available, held, pending, paid } = *product;
    for (state, units) in [("available", available), ("held", held), ("pending", pending), ("paid", paid)] {
        observer.observe(units, &[KeyValue::new("product_id", product_id), KeyValue::new("state", state)]);
    }
}

fn show_stock(meter: &Meter) {
    let _limit = meter
        .i64_observable_gauge("flashsale.stock.limit")
        .with_description("Units of a product that were put on sale")
        .with_unit("{unit}")
        .with_callback(|observer| {
            with_shown(|figures| {
                for product in &figures.products {
                    observer.observe(product.limit, &[KeyValue::new("product_id", product.product_id)]);
                }
            });
        })
        .build();
    let _usage = meter
        .i64_observable_gauge("flashsale.stock.usage")
        .with_description("Units of a product by where they are, which add up to flashsale_stock_limit")
        .with_unit("{unit}")
        .with_callback(|observer| {
            with_shown(|figures| figures.products.iter().for_each(|product| observe_usage(observer, product)));
        })
        .build();
    let _exceptions = meter
        .i64_observable_gauge("flashsale.payment_exception.open")
        .with_description("Payments that need a person and that nobody has resolved")
        .with_unit("{exception}")
        .with_callback(|observer| {
            with_shown(|figures| {
                for (kind, count) in EXCEPTION_KINDS.iter().zip(figures.exceptions_open) {
                    observer.observe(count, &[KeyValue::new("kind", *kind)]);
                }
            });
        })
        .build();
}

fn show_all() {
    show_stock(meter());
    gauge("flashsale.hold.overdue", "Holds past their time that nobody has taken back yet", |figures| {
        figures.holds_overdue
    });
    gauge_of_seconds(
        "flashsale.hold.overdue.oldest",
        "How long the oldest hold is past its time that nobody has taken back yet",
        |figures| figures.oldest_hold_overdue_seconds,
    );
    gauge("flashsale.order.overdue", "Orders past their time that nobody has cancelled yet", |figures| {
        figures.orders_overdue
    });
    gauge_of_seconds(
        "flashsale.sweeper.last_success.timestamp",
        "When the last sweep ended well, in seconds since 1970, or 0",
        |figures| figures.swept_at,
    );
    total("flashsale.sweeper.runs", "Sweeps that ended well", |figures| figures.sweeps);
    total("flashsale.sweeper.holds_expired", "Holds that sweeps expired", |figures| figures.holds_expired);
    total("flashsale.sweeper.orders_cancelled", "Orders that sweeps cancelled for want of a payment", |figures| {
        figures.orders_cancelled
    });
    total("flashsale.sweeper.stock_released", "Units that sweeps gave back", |figures| figures.stock_released);
    gauge_of_seconds(
        "flashsale.audit.last_success.timestamp",
        "When the last audit ended without a finding, in seconds since 1970, or 0",
        |figures| figures.audited_at,
    );
    gauge("flashsale.audit.findings", "Findings of the last audit", |figures| figures.findings);
}

pub(super) fn start() {
    static STARTED: LazyLock<()> = LazyLock::new(show_all);
    LazyLock::force(&STARTED);
}
