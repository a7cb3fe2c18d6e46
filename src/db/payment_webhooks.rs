//! Table `payment_webhooks`: every event that was taken, and its answer.

use std::collections::BTreeMap;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Nullable, Text},
};

use super::{
    Connection, Failure, FailureKind, Script, orders,
    statement::{Statement, bytes, integer_or_null},
};
use crate::domain::{IdempotencyKey, OrderId, PaymentEvent, PaymentOutcome, PaymentStatus, ProductId, Settlement};

/// An event that was taken before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEvent {
    /// The order it was for.
    pub order_id: OrderId,
    /// What it reported.
    pub event: PaymentEvent,
    /// Its answer.
    pub settlement: Settlement,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Binary)]
    idempotency_key: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    amount_cents: Option<i64>,
    #[diesel(sql_type = Text)]
    order_status: String,
    #[diesel(sql_type = Text)]
    result: String,
}

impl Row {
    fn event(&self) -> Option<StoredEvent> {
        let status = match self.status.as_str() {
            "success" => PaymentStatus::Success,
            "failure" => PaymentStatus::Failure,
            _ => return None,
        };
        let outcome = match self.result.as_str() {
            "applied" => PaymentOutcome::Applied,
            "unchanged" => PaymentOutcome::Unchanged,
            "late_success" => PaymentOutcome::LateSuccess,
            "duplicate_success" => PaymentOutcome::DuplicateSuccess,
            "amount_mismatch" => PaymentOutcome::AmountMismatch,
            _ => return None,
        };
        let settlement = Settlement { order_status: orders::status_of(&self.order_status)?, outcome };
        let event = PaymentEvent { status, amount_cents: self.amount_cents };
        Some(StoredEvent { order_id: OrderId::stored(self.order_id), event, settlement })
    }
}

/// Reads which of these keys were taken, by the unique key.
pub async fn taken(
    conn: &mut Connection,
    keys: &[&IdempotencyKey],
) -> Result<BTreeMap<IdempotencyKey, StoredEvent>, Failure> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    let text = "SELECT idempotency_key, order_id, status, amount_cents, order_status, result \
        FROM payment_webhooks FORCE INDEX (payment_webhooks_key) WHERE idempotency_key IN ";
    let rows: Vec<Row> = Statement::new(text).byte_strings(&keys, "").rows(conn).await?;
    let stored = rows.into_iter().map(|row| match row.event() {
        Some(event) => Ok((IdempotencyKey::stored(row.idempotency_key), event)),
        None => Err(Failure {
            kind: FailureKind::Wrong,
            text: format!("a webhook of order {} has an unknown status or result", row.order_id),
        }),
    });
    stored.collect()
}

/// An event to be stored.
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

/// Stores events and their answers, in the order of their keys: so two batches with keys in common wait for each other
/// and don't deadlock.
pub fn insert(script: &mut Script, events: &[NewEvent]) {
    if events.is_empty() {
        return;
    }
    let mut sorted: Vec<&NewEvent> = events.iter().collect();
    sorted.sort_by(|one, other| one.key.cmp(&other.key));
    let rows = sorted.iter().map(|new| {
        let status = match new.event.status {
            PaymentStatus::Success => "success",
            PaymentStatus::Failure => "failure",
        };
        format!(
            "({},{},{},'{status}',{},'{}','{}',UTC_TIMESTAMP(6))",
            bytes(new.key.as_bytes()),
            new.order_id,
            new.product_id,
            integer_or_null(new.event.amount_cents),
            orders::as_str(new.settlement.order_status),
            new.settlement.outcome.as_str(),
        )
    });
    let into =
        "payment_webhooks (idempotency_key,order_id,product_id,status,amount_cents,order_status,result,created_at)";
    script.insert(into, rows);
}
