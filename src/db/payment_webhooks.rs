//! Table `payment_webhooks`: every event that was taken, and its answer.

use std::collections::BTreeMap;

use diesel::{ExpressionMethods, QueryDsl, Queryable, Selectable, SelectableHelper, mysql::Mysql};

use super::{
    Connection, Failure, Script,
    read::{padded, read, statement_time},
    render::Index,
    schema::payment_webhooks,
};
use crate::domain::{
    IdempotencyKey, OrderId, OrderStatus, PaymentEvent, PaymentResult, PaymentStatus, ProductId, Settlement,
};

const BY_KEY: Index = Index { table: "payment_webhooks", name: "payment_webhooks_key" };

/// Describes an event that was taken before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEvent {
    /// The order it was for.
    pub order_id: OrderId,
    /// What it reported.
    pub event: PaymentEvent,
    /// Its answer.
    pub settlement: Settlement,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = payment_webhooks, check_for_backend(Mysql))]
struct EventRow {
    idempotency_key: IdempotencyKey,
    order_id: OrderId,
    status: PaymentStatus,
    amount_cents: Option<i64>,
    order_status: OrderStatus,
    result: PaymentResult,
}

impl From<EventRow> for StoredEvent {
    fn from(row: EventRow) -> Self {
        Self {
            order_id: row.order_id,
            event: PaymentEvent { status: row.status, amount_cents: row.amount_cents },
            settlement: Settlement { order_status: row.order_status, result: row.result },
        }
    }
}

/// Reads which of these keys were taken, and with which events, by the unique key.
pub async fn known_events(
    conn: &mut Connection,
    keys: &[&IdempotencyKey],
) -> Result<BTreeMap<IdempotencyKey, StoredEvent>, Failure> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keys = padded(keys.iter().map(|key| key.as_bytes()).collect());
    let query =
        payment_webhooks::table.filter(payment_webhooks::idempotency_key.eq_any(keys)).select(EventRow::as_select());
    let rows: Vec<EventRow> = read(query).force_index(BY_KEY).rows(conn).await?;
    Ok(rows.into_iter().map(|row| (row.idempotency_key.clone(), row.into())).collect())
}

/// Describes an event to be stored.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its key.
    pub key: IdempotencyKey,
    /// The order it is for.
    pub order_id: OrderId,
    /// The order's product.
    pub product_id: ProductId,
    /// What it reports.
    pub event: PaymentEvent,
    /// Its answer.
    pub settlement: Settlement,
}

/// Stores events and their answers, in the order of their keys. So two batches that have keys in common wait for each
/// other and don't deadlock.
pub fn insert(script: &mut Script, events: &[NewEvent]) {
    if events.is_empty() {
        return;
    }
    let mut sorted: Vec<&NewEvent> = events.iter().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    let row = |new: &NewEvent| {
        (
            payment_webhooks::idempotency_key.eq(new.key.as_bytes().to_vec()),
            payment_webhooks::order_id.eq(new.order_id.get()),
            payment_webhooks::product_id.eq(new.product_id.get()),
            payment_webhooks::status.eq(new.event.status),
            payment_webhooks::amount_cents.eq(new.event.amount_cents),
            payment_webhooks::order_status.eq(new.settlement.order_status),
            payment_webhooks::result.eq(new.settlement.result),
            payment_webhooks::created_at.eq(statement_time()),
        )
    };
    let rows: Vec<_> = sorted.into_iter().map(row).collect();
    script.insert(diesel::insert_into(payment_webhooks::table).values(rows));
}
