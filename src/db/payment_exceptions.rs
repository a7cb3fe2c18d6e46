//! Table `payment_exceptions`: money that needs a person.

use std::time::SystemTime;

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods, QueryDsl, Queryable, Selectable, SelectableHelper, expression::SqlLiteral, mysql::Mysql,
    sql_types::Datetime,
};

use super::{
    Connection, Failure, FailureKind, Script,
    payment_webhooks::NewEvent,
    read::{read, row_time, statement_time},
    render::Index,
    schema::payment_exceptions,
    statement::{datetime, system_time},
};
use crate::domain::{
    IdempotencyKey, OrderId, PaymentException, PaymentExceptionId, PaymentExceptionKind, ProductId, Remark,
    payment_exception::Resolution,
};

const PRIMARY: Index = Index { table: "payment_exceptions", name: "PRIMARY" };
const OPEN: Index = Index { table: "payment_exceptions", name: "payment_exceptions_open" };
const BY_PRODUCT: Index = Index { table: "payment_exceptions", name: "payment_exceptions_product" };
const OPEN_BY_PRODUCT: Index = Index { table: "payment_exceptions", name: "payment_exceptions_product_open" };

#[derive(Queryable, Selectable)]
#[diesel(table_name = payment_exceptions, check_for_backend(Mysql))]
struct ExceptionRow {
    id: PaymentExceptionId,
    kind: PaymentExceptionKind,
    order_id: OrderId,
    product_id: ProductId,
    idempotency_key: IdempotencyKey,
    amount_cents: Option<i64>,
    created_at: NaiveDateTime,
    resolved_at: Option<NaiveDateTime>,
    note: Option<Remark>,
    accepted: bool,
    #[diesel(select_expression = row_time(), select_expression_type = SqlLiteral<Datetime>)]
    now: NaiveDateTime,
}

impl TryFrom<ExceptionRow> for PaymentException {
    type Error = Failure;

    fn try_from(row: ExceptionRow) -> Result<Self, Failure> {
        let resolution = match (row.resolved_at, row.note) {
            (None, None) => None,
            (Some(at), Some(note)) => Some(Resolution { resolved_at: system_time(at), note, accepted: row.accepted }),
            (Some(_), None) | (None, Some(_)) => {
                let text = format!("payment exception {} has one of resolved_at and note, and not the other", row.id);
                return Err(Failure { kind: FailureKind::Wrong, text });
            }
        };
        Ok(Self {
            id: row.id,
            kind: row.kind,
            order_id: row.order_id,
            product_id: row.product_id,
            key: row.idempotency_key,
            amount_cents: row.amount_cents,
            created_at: system_time(row.created_at),
            resolution,
        })
    }
}

/// Says which exceptions to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// The product whose exceptions are listed. `None` means all products.
    pub product_id: Option<ProductId>,
    /// Whether resolved exceptions are listed as well.
    pub include_resolved: bool,
}

/// Reads up to `limit` exceptions that are older than `before`, newest first. Each filter has an index of its own,
/// which is read backwards.
pub async fn list(
    conn: &mut Connection,
    filter: Filter,
    before: Option<PaymentExceptionId>,
    limit: usize,
) -> Result<Vec<PaymentException>, Failure> {
    let query = payment_exceptions::table
        .filter(payment_exceptions::id.lt(before.map_or(i64::MAX, PaymentExceptionId::get)))
        .order(payment_exceptions::id.desc())
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select(ExceptionRow::as_select());
    let is_open = payment_exceptions::resolved_at.is_null();
    let of_product = |id: ProductId| payment_exceptions::product_id.eq(id.get());
    let read = match (filter.product_id, filter.include_resolved) {
        (None, true) => read(query).force_index(PRIMARY),
        (None, false) => read(query.filter(is_open)).force_index(OPEN),
        (Some(id), true) => read(query.filter(of_product(id))).force_index(BY_PRODUCT),
        (Some(id), false) => read(query.filter(of_product(id)).filter(is_open)).force_index(OPEN_BY_PRODUCT),
    };
    let rows: Vec<ExceptionRow> = read.rows(conn).await?;
    rows.into_iter().map(PaymentException::try_from).collect()
}

/// Locks an exception, by its primary key, and reads it and the time.
pub async fn lock(
    conn: &mut Connection,
    id: PaymentExceptionId,
) -> Result<Option<(PaymentException, SystemTime)>, Failure> {
    let query = payment_exceptions::table.find(id.get()).select(ExceptionRow::as_select()).for_update();
    let Some(row) = read(query).first::<ExceptionRow>(conn).await? else { return Ok(None) };
    let now = system_time(row.now);
    Ok(Some((PaymentException::try_from(row)?, now)))
}

/// Reads an exception by its primary key, without a lock.
pub async fn read_unlocked(conn: &mut Connection, id: PaymentExceptionId) -> Result<Option<PaymentException>, Failure> {
    let query = payment_exceptions::table.find(id.get()).select(ExceptionRow::as_select());
    read(query).first::<ExceptionRow>(conn).await?.map(PaymentException::try_from).transpose()
}

/// Stores the exceptions among these events, in the order of their keys, in which the events are stored as well.
pub fn insert(script: &mut Script, events: &[NewEvent]) {
    let mut exceptions: Vec<(&NewEvent, PaymentExceptionKind)> =
        events.iter().filter_map(|event| event.settlement.result.exception().map(|kind| (event, kind))).collect();
    if exceptions.is_empty() {
        return;
    }
    exceptions.sort_by(|(one, _), (other, _)| one.key.cmp(&other.key));
    let row = |(new, kind): (&NewEvent, PaymentExceptionKind)| {
        (
            payment_exceptions::kind.eq(kind),
            payment_exceptions::order_id.eq(new.order_id.get()),
            payment_exceptions::product_id.eq(new.product_id.get()),
            payment_exceptions::idempotency_key.eq(new.key.as_bytes().to_vec()),
            payment_exceptions::amount_cents.eq(new.event.amount_cents),
            payment_exceptions::created_at.eq(statement_time()),
        )
    };
    let rows: Vec<_> = exceptions.into_iter().map(row).collect();
    script.insert(diesel::insert_into(payment_exceptions::table).values(rows));
}

/// Resolves a locked exception that isn't resolved.
pub fn resolve(script: &mut Script, id: PaymentExceptionId, resolution: &Resolution) {
    let row = payment_exceptions::table.find(id.get()).filter(payment_exceptions::resolved_at.is_null());
    let changes = (
        payment_exceptions::resolved_at.eq(datetime(resolution.resolved_at)),
        payment_exceptions::note.eq(resolution.note.as_str()),
        payment_exceptions::accepted.eq(resolution.accepted),
    );
    script.update(1, diesel::update(row).set(changes));
}
