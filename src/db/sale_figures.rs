//! The figures that the servers show of the database in their metrics, in one statement.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable},
};

use super::{Connection, Failure, FailureKind, holds, lapsed, orders, statement::Statement};
use crate::{
    domain::LapsedUnits,
    metrics::{Figures, ProductFigures},
};

/// Limits the products: the newest whose sale isn't over for a day.
const PRODUCTS_MAX: usize = 50;
/// Limits the products that are looked at for that, newest first: nothing else bounds a catalogue of ended sales.
const LOOKED_AT_MAX: usize = 1000;

/// Writes the statement. All numbers are from one snapshot, so the units of a product add up.
///
/// The first columns are the same in each row. Both engines read what stands in them once. Each product is read by the
/// indexes that begin with it.
fn text() -> String {
    let overdue_holds = "holds FORCE INDEX (holds_expiry) WHERE status = 'active' AND expires_at < UTC_TIMESTAMP(6)";
    let count = |rows: &str| format!("(SELECT CAST(COUNT(*) AS SIGNED) FROM {rows})");
    let open = |kind: &str| {
        count(&format!(
            "payment_exceptions FORCE INDEX (payment_exceptions_open) WHERE resolved_at IS NULL AND kind = '{kind}'"
        ))
    };
    let since_1970 =
        |time: &str| format!("CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', {time}), 0) AS SIGNED)");
    let units = |rows: String, status: &str| {
        format!(
            "(SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) FROM {rows} \
                WHERE product_id = newest.id AND status = '{status}')"
        )
    };
    let (by_expiry, by_due) = (|| holds::BY_PRODUCT_AND_EXPIRY.to_string(), || orders::BY_PRODUCT_AND_DUE.to_string());
    format!(
        "SELECT {holds_overdue} AS holds_overdue, \
            CAST(COALESCE(TIMESTAMPDIFF(MICROSECOND, (SELECT MIN(expires_at) FROM {overdue_holds}), UTC_TIMESTAMP(6)), \
                0) AS SIGNED) AS oldest_overdue_microseconds, \
            {orders_overdue} AS orders_overdue, \
            {late} AS late_successes, {duplicate} AS duplicate_successes, {mismatch} AS amount_mismatches, \
            {swept_at} AS swept_at_microseconds, sweeper_state.runs AS sweeps, \
            sweeper_state.holds_expired AS holds_expired, sweeper_state.orders_cancelled AS orders_cancelled, \
            sweeper_state.stock_released AS stock_released, \
            {audited_at} AS audited_at_microseconds, audit_state.findings AS findings, \
            newest.id AS product_id, newest.total_stock AS total_stock, newest.available_stock AS available_stock, \
            {held} AS held_stock, {pending} AS pending_stock, {paid} AS paid_stock, {lapsed} \
        FROM sweeper_state JOIN audit_state ON audit_state.id = sweeper_state.id \
        LEFT JOIN (SELECT id, total_stock, available_stock FROM ( \
                SELECT id, total_stock, available_stock, ends_at FROM products FORCE INDEX (PRIMARY) \
                WHERE id < {} ORDER BY id DESC LIMIT {LOOKED_AT_MAX}) AS recent \
            WHERE ends_at IS NULL OR ends_at > UTC_TIMESTAMP(6) - INTERVAL 1 DAY \
            ORDER BY id DESC LIMIT {PRODUCTS_MAX}) AS newest ON TRUE \
        WHERE sweeper_state.id = 1",
        i64::MAX,
        holds_overdue = count(overdue_holds),
        orders_overdue =
            count("orders FORCE INDEX (orders_due) WHERE status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)"),
        late = open("late_success"),
        duplicate = open("duplicate_success"),
        mismatch = open("amount_mismatch"),
        swept_at = since_1970("sweeper_state.last_run_at"),
        audited_at = since_1970("audit_state.last_success_at"),
        held = units(by_expiry(), "active"),
        pending = units(by_due(), "pending"),
        paid = units(by_due(), "paid"),
        lapsed = lapsed::columns("newest.id"),
    )
}

#[derive(QueryableByName)]
struct FiguresRow {
    #[diesel(sql_type = BigInt)]
    holds_overdue: i64,
    #[diesel(sql_type = BigInt)]
    oldest_overdue_microseconds: i64,
    #[diesel(sql_type = BigInt)]
    orders_overdue: i64,
    #[diesel(sql_type = BigInt)]
    late_successes: i64,
    #[diesel(sql_type = BigInt)]
    duplicate_successes: i64,
    #[diesel(sql_type = BigInt)]
    amount_mismatches: i64,
    #[diesel(sql_type = BigInt)]
    swept_at_microseconds: i64,
    #[diesel(sql_type = BigInt)]
    sweeps: i64,
    #[diesel(sql_type = BigInt)]
    holds_expired: i64,
    #[diesel(sql_type = BigInt)]
    orders_cancelled: i64,
    #[diesel(sql_type = BigInt)]
    stock_released: i64,
    #[diesel(sql_type = BigInt)]
    audited_at_microseconds: i64,
    #[diesel(sql_type = BigInt)]
    findings: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    product_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    total_stock: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    available_stock: Option<i64>,
    #[diesel(sql_type = BigInt)]
    held_stock: i64,
    #[diesel(sql_type = BigInt)]
    pending_stock: i64,
    #[diesel(sql_type = BigInt)]
    paid_stock: i64,
    #[diesel(embed)]
    lapsed: lapsed::LapsedRow,
}

impl FiguresRow {
    /// Returns the row's product as callers see it: units whose time is over are available.
    fn into_product(self) -> Option<ProductFigures> {
        let (product_id, limit, available) = (self.product_id?, self.total_stock?, self.available_stock?);
        let LapsedUnits { held, ordered } = self.lapsed.into();
        Some(ProductFigures {
            product_id,
            limit,
            available: available.saturating_add(held).saturating_add(ordered),
            held: self.held_stock.saturating_sub(held),
            pending: self.pending_stock.saturating_sub(ordered),
            paid: self.paid_stock,
        })
    }
}

/// Reads the figures.
pub async fn read(conn: &mut Connection) -> Result<Figures, Failure> {
    let rows: Vec<FiguresRow> = Statement::new(&text()).rows(conn).await?;
    let Some(first) = rows.first() else {
        let text = "the one row of sweeper_state or of audit_state is missing, run `server migrate`".to_owned();
        return Err(Failure { kind: FailureKind::Wrong, text });
    };
    let mut figures = Figures {
        products: Vec::new(),
        holds_overdue: first.holds_overdue,
        oldest_hold_overdue_seconds: seconds(first.oldest_overdue_microseconds),
        orders_overdue: first.orders_overdue,
        exceptions_open: [first.late_successes, first.duplicate_successes, first.amount_mismatches],
        swept_at: seconds(first.swept_at_microseconds),
        sweeps: first.sweeps,
        holds_expired: first.holds_expired,
        orders_cancelled: first.orders_cancelled,
        stock_released: first.stock_released,
        audited_at: seconds(first.audited_at_microseconds),
        findings: first.findings,
    };
    figures.products = rows.into_iter().filter_map(FiguresRow::into_product).collect();
    Ok(figures)
}

fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}
