//! Table `payment_exceptions`: money that needs a person.

use std::time::SystemTime;

use chrono::NaiveDateTime;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Nullable, Text, Timestamp},
};

use super::{
    Connection, Failure, FailureKind, Script,
    payment_webhooks::NewEvent,
    statement::{Statement, bytes, integer_or_null, moment, timestamp},
};
use crate::domain::{
    IdempotencyKey, OrderId, PaymentException, PaymentExceptionId, PaymentExceptionKind, ProductId, Remark,
    payment_exception::Resolution,
};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = Binary)]
    idempotency_key: Vec<u8>,
    #[diesel(sql_type = Nullable<BigInt>)]
    amount_cents: Option<i64>,
    #[diesel(sql_type = Timestamp)]
    created_at: NaiveDateTime,
    #[diesel(sql_type = Nullable<Timestamp>)]
    resolved_at: Option<NaiveDateTime>,
    #[diesel(sql_type = Nullable<Text>)]
    note: Option<String>,
    #[diesel(sql_type = Timestamp)]
    now: NaiveDateTime,
}

impl TryFrom<Row> for PaymentException {
    type Error = Failure;

    fn try_from(row: Row) -> Result<Self, Failure> {
        let wrong =
            |what: &str| Failure { kind: FailureKind::Wrong, text: format!("payment exception {} has {what}", row.id) };
        let kind = match row.kind.as_str() {
            "late_success" => PaymentExceptionKind::LateSuccess,
            "duplicate_success" => PaymentExceptionKind::DuplicateSuccess,
            "amount_mismatch" => PaymentExceptionKind::AmountMismatch,
            other => return Err(wrong(&format!("the unknown kind {other:?}"))),
        };
        let resolution = match (row.resolved_at, row.note) {
            (None, None) => None,
            (Some(at), Some(note)) => Some(Resolution { resolved_at: moment(at), note: Remark::stored(note) }),
            (Some(_), None) | (None, Some(_)) => return Err(wrong("one of resolved_at and note, and not the other")),
        };
        Ok(Self {
            id: PaymentExceptionId::stored(row.id),
            kind,
            order_id: OrderId::stored(row.order_id),
            key: IdempotencyKey::stored(row.idempotency_key),
            amount_cents: row.amount_cents,
            created_at: moment(row.created_at),
            resolution,
        })
    }
}

/// SYSDATE, as in [`super::products`], is the time after the wait for a row's lock.
const SELECT: &str = "SELECT id, kind, order_id, idempotency_key, amount_cents, created_at, resolved_at, note, \
    SYSDATE(6) AS now FROM payment_exceptions";

/// Which exceptions to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Only this product's.
    pub product_id: Option<ProductId>,
    /// Whether also those that are resolved.
    pub include_resolved: bool,
}

/// Reads up to `limit` exceptions, newest first, of those older than `before`. Each filter has an index of its own, read
/// backwards.
pub async fn list(
    conn: &mut Connection,
    filter: Filter,
    before: Option<PaymentExceptionId>,
    limit: usize,
) -> Result<Vec<PaymentException>, Failure> {
    let (index, condition) = match (filter.product_id, filter.include_resolved) {
        (None, true) => ("PRIMARY", ""),
        (None, false) => ("payment_exceptions_open", "resolved_at IS NULL AND"),
        (Some(_), true) => ("payment_exceptions_product", "product_id = ? AND"),
        (Some(_), false) => ("payment_exceptions_product_open", "product_id = ? AND resolved_at IS NULL AND"),
    };
    let text = format!("{SELECT} FORCE INDEX ({index}) WHERE {condition} id < ? ORDER BY id DESC LIMIT ?");
    let mut statement = Statement::new(&text);
    if let Some(product_id) = filter.product_id {
        statement = statement.integer(product_id.get());
    }
    let before = before.map_or(i64::MAX, PaymentExceptionId::get);
    let limit = limit.try_into().unwrap_or(i64::MAX);
    let rows: Vec<Row> = statement.integer(before).integer(limit).rows(conn).await?;
    rows.into_iter().map(PaymentException::try_from).collect()
}

/// Locks an exception, by its primary key, and reads it and the time.
pub async fn lock(
    conn: &mut Connection,
    id: PaymentExceptionId,
) -> Result<Option<(PaymentException, SystemTime)>, Failure> {
    let statement = Statement::new(&format!("{SELECT} WHERE id = ? FOR UPDATE")).integer(id.get());
    let rows: Vec<Row> = statement.rows(conn).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let now = moment(row.now);
    Ok(Some((PaymentException::try_from(row)?, now)))
}

/// Stores the exceptions among these events, in the order of their keys, as the events themselves are.
pub fn insert(script: &mut Script, events: &[NewEvent]) {
    let mut exceptions: Vec<(&NewEvent, PaymentExceptionKind)> =
        events.iter().filter_map(|event| event.settlement.outcome.exception().map(|kind| (event, kind))).collect();
    if exceptions.is_empty() {
        return;
    }
    exceptions.sort_by(|(one, _), (other, _)| one.key.cmp(&other.key));
    let rows = exceptions.iter().map(|(new, kind)| {
        format!(
            "('{}',{},{},{},{},UTC_TIMESTAMP(6))",
            as_str(*kind),
            new.order_id,
            new.product_id,
            bytes(new.key.as_bytes()),
            integer_or_null(new.event.amount_cents),
        )
    });
    script.insert("payment_exceptions (kind,order_id,product_id,idempotency_key,amount_cents,created_at)", rows);
}

/// Resolves a locked exception that isn't resolved.
pub fn resolve(script: &mut Script, id: PaymentExceptionId, resolution: &Resolution) {
    let Resolution { resolved_at, note } = resolution;
    script.write(
        1,
        format_args!(
            "UPDATE payment_exceptions SET resolved_at = {}, note = _utf8mb4 {} WHERE id = {id} AND resolved_at IS NULL",
            timestamp(*resolved_at),
            bytes(note.as_str().as_bytes()),
        ),
    );
}

fn as_str(kind: PaymentExceptionKind) -> &'static str {
    match kind {
        PaymentExceptionKind::LateSuccess => "late_success",
        PaymentExceptionKind::DuplicateSuccess => "duplicate_success",
        PaymentExceptionKind::AmountMismatch => "amount_mismatch",
    }
}
