//! Table `payment_webhooks`: every event that was taken, and its answer.

use std::{collections::BTreeMap, time::SystemTime};

use chrono::NaiveDateTime;
use diesel::{ExpressionMethods, QueryDsl, Queryable, Selectable, SelectableHelper, mysql::Mysql};

use super::{
    Connection, Failure, Script,
    read::{padded, read, statement_time},
    render::Index,
    schema::payment_webhooks,
    statement::system_time,
};
use crate::domain::{
    IdempotencyKey, OrderId, OrderStatus, PaymentEvent, PaymentEventId, PaymentId, PaymentResult, PaymentStatus,
    ProductId, Settlement,
};

const BY_KEY: Index = Index { table: "payment_webhooks", name: "payment_webhooks_key" };
const BY_ORDER: Index = Index { table: "payment_webhooks", name: "payment_webhooks_order" };

/// Describes an event that was taken before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The order it was for.
    pub order_id: OrderId,
    /// What it reported.
    pub event: PaymentEvent,
    /// Its answer.
    pub settlement: Settlement,
}

/// Describes an event for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEvent {
    /// The event's id.
    pub id: PaymentEventId,
    /// Its key.
    pub idempotency_key: IdempotencyKey,
    /// The event itself, and its answer.
    pub event: StoredEvent,
    /// When it was taken.
    pub created_at: SystemTime,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = payment_webhooks, check_for_backend(Mysql))]
struct EventRow {
    id: PaymentEventId,
    idempotency_key: IdempotencyKey,
    order_id: OrderId,
    status: PaymentStatus,
    amount_cents: Option<i64>,
    order_status: OrderStatus,
    result: PaymentResult,
    payment_id: Option<PaymentId>,
    created_at: NaiveDateTime,
}

impl From<EventRow> for ListedEvent {
    fn from(row: EventRow) -> Self {
        let event = StoredEvent {
            order_id: row.order_id,
            event: PaymentEvent { status: row.status, amount_cents: row.amount_cents, payment_id: row.payment_id },
            settlement: Settlement { order_status: row.order_status, result: row.result },
        };
        let created_at = system_time(row.created_at);
        Self { id: row.id, idempotency_key: row.idempotency_key, event, created_at }
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
    let by_key = |ListedEvent { idempotency_key, event, .. }| (idempotency_key, event);
    Ok(rows.into_iter().map(ListedEvent::from).map(by_key).collect())
}

/// Reads up to `limit` events of an order that are older than `before`, newest first, by the index on order_id.
pub async fn of_order(
    conn: &mut Connection,
    order_id: OrderId,
    before: Option<PaymentEventId>,
    limit: usize,
) -> Result<Vec<ListedEvent>, Failure> {
    let query = payment_webhooks::table
        .filter(payment_webhooks::order_id.eq(order_id.get()))
        .filter(payment_webhooks::id.lt(before.map_or(i64::MAX, PaymentEventId::get)))
        .order(payment_webhooks::id.desc())
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select(EventRow::as_select());
    let rows: Vec<EventRow> = read(query).force_index(BY_ORDER).rows(conn).await?;
    Ok(rows.into_iter().map(ListedEvent::from).collect())
}

/// Reads the event with this key, by the unique key.
pub async fn with_key(conn: &mut Connection, key: &IdempotencyKey) -> Result<Option<ListedEvent>, Failure> {
    let query = payment_webhooks::table
        .filter(payment_webhooks::idempotency_key.eq(key.as_bytes()))
        .select(EventRow::as_select());
    let row: Option<EventRow> = read(query).force_index(BY_KEY).first(conn).await?;
    Ok(row.map(ListedEvent::from))
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
            payment_webhooks::payment_id.eq(new.event.payment_id.as_ref().map(|id| id.as_bytes().to_vec())),
        )
    };
    let rows: Vec<_> = sorted.into_iter().map(row).collect();
    script.insert(diesel::insert_into(payment_webhooks::table).values(rows));
}
