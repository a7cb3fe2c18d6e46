//! Table `orders`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use chrono::NaiveDateTime;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Integer, Nullable, Text, Timestamp},
};

use super::{
    Connection, Failure, FailureKind, Script,
    due::{Due, Of, Place},
    statement::{Statement, bytes, list, moment, timestamp, timestamp_or_null},
};
use crate::domain::{Hold, HoldId, Order, OrderId, OrderStatus, ProductId, Quantity, RequestId};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    hold_id: i64,
    #[diesel(sql_type = BigInt)]
    product_id: i64,
    #[diesel(sql_type = Integer)]
    qty: i32,
    #[diesel(sql_type = BigInt)]
    amount_cents: i64,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<Timestamp>)]
    payment_due_at: Option<NaiveDateTime>,
    #[diesel(sql_type = Timestamp)]
    created_at: NaiveDateTime,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
}

/// An order as read, with the request that made it.
#[derive(Debug, Clone)]
pub struct StoredOrder {
    /// The order.
    pub order: Order,
    /// The request that made it.
    pub request_id: RequestId,
}

impl TryFrom<Row> for StoredOrder {
    type Error = Failure;

    fn try_from(row: Row) -> Result<Self, Failure> {
        let status = status_of(&row.status).ok_or_else(|| Failure {
            kind: FailureKind::Wrong,
            text: format!("order {} has the unknown status {:?}", row.id, row.status),
        })?;
        let order = Order {
            id: OrderId::stored(row.id),
            hold_id: HoldId::stored(row.hold_id),
            product_id: ProductId::stored(row.product_id),
            qty: Quantity::stored(row.qty),
            amount_cents: row.amount_cents,
            status,
            payment_due_at: row.payment_due_at.map(moment),
            created_at: moment(row.created_at),
        };
        Ok(Self { order, request_id: RequestId::stored(row.request_id) })
    }
}

const SELECT: &str = "SELECT id, hold_id, product_id, qty, amount_cents, status, payment_due_at, created_at, request_id \
    FROM orders";

async fn load(conn: &mut Connection, statement: Statement) -> Result<Vec<StoredOrder>, Failure> {
    let rows: Vec<Row> = statement.rows(conn).await?;
    rows.into_iter().map(StoredOrder::try_from).collect()
}

fn by_id(orders: Vec<StoredOrder>) -> BTreeMap<OrderId, Order> {
    orders.into_iter().map(|stored| (stored.order.id, stored.order)).collect()
}

fn integers(ids: impl IntoIterator<Item = OrderId>) -> Vec<i64> {
    ids.into_iter().map(OrderId::get).collect()
}

/// Locks those of these orders that nobody else has locked, in the order of their ids, by the primary key, forced as for
/// holds. Waits for none. Also returns which of the others are there: those that somebody else has locked.
pub async fn lock_or_busy(
    conn: &mut Connection,
    ids: BTreeSet<OrderId>,
) -> Result<(BTreeMap<OrderId, Order>, BTreeSet<OrderId>), Failure> {
    let text = format!("{SELECT} FORCE INDEX (PRIMARY) WHERE id IN ");
    let all = integers(ids.iter().copied());
    let statement = Statement::new(&text).integers(&all, " ORDER BY id FOR UPDATE SKIP LOCKED");
    let locked = by_id(load(&mut *conn, statement).await?);
    let missing: Vec<OrderId> = ids.into_iter().filter(|id| !locked.contains_key(id)).collect();
    if missing.is_empty() {
        return Ok((locked, BTreeSet::new()));
    }
    let busy = read(conn, missing).await?.into_keys().collect();
    Ok((locked, busy))
}

/// Reads orders by their primary key, without a lock.
pub async fn read(
    conn: &mut Connection,
    ids: impl IntoIterator<Item = OrderId>,
) -> Result<BTreeMap<OrderId, Order>, Failure> {
    let text = format!("{SELECT} FORCE INDEX (PRIMARY) WHERE id IN ");
    Ok(by_id(load(conn, Statement::new(&text).integers(&integers(ids), "")).await?))
}

/// Reads the orders that these holds made, by the unique key on hold_id. The caller has locked the holds.
pub async fn of_holds(
    conn: &mut Connection,
    holds: impl IntoIterator<Item = HoldId>,
) -> Result<BTreeMap<HoldId, StoredOrder>, Failure> {
    let holds: Vec<i64> = holds.into_iter().map(HoldId::get).collect();
    if holds.is_empty() {
        return Ok(BTreeMap::new());
    }
    let text = format!("{SELECT} FORCE INDEX (orders_hold) WHERE hold_id IN ");
    let orders = load(conn, Statement::new(&text).integers(&holds, "")).await?;
    Ok(orders.into_iter().map(|stored| (stored.order.hold_id, stored)).collect())
}

const OVERDUE: Due = Due {
    select: SELECT,
    status: "pending",
    column: "payment_due_at",
    index: "orders_due",
    index_of_product: "orders_product_due",
};

/// Locks up to `limit` overdue orders after `since` that nobody else has locked, the oldest first.
pub async fn lock_overdue(conn: &mut Connection, of: Of, since: Place, limit: usize) -> Result<Vec<Order>, Failure> {
    let orders = load(conn, OVERDUE.lock(of, since, limit)).await?;
    Ok(orders.into_iter().map(|stored| stored.order).collect())
}

/// The place of an order in a sweep, where its payment can be overdue.
pub fn place(order: &Order) -> Option<Place> {
    order.payment_due_at.map(|at| Place { at, id: order.id.get() })
}

/// As [`lock_overdue`], of one product and from the oldest on: for whoever has that product locked.
pub async fn lock_overdue_of(
    conn: &mut Connection,
    product_id: ProductId,
    limit: usize,
) -> Result<Vec<Order>, Failure> {
    let text = format!(
        "{SELECT} FORCE INDEX (orders_product_due) \
        WHERE product_id = ? AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6) \
        ORDER BY payment_due_at LIMIT ? FOR UPDATE SKIP LOCKED"
    );
    let limit = limit.try_into().unwrap_or(i64::MAX);
    let orders = load(conn, Statement::new(&text).integer(product_id.get()).integer(limit)).await?;
    Ok(orders.into_iter().map(|stored| stored.order).collect())
}

/// An order to be made.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// The hold it comes from.
    pub hold: Hold,
    /// The request that makes it.
    pub request_id: RequestId,
    /// When it may be cancelled as overdue.
    pub payment_due_at: Option<SystemTime>,
    /// When it is made.
    pub created_at: SystemTime,
}

/// Makes pending orders.
pub fn insert(script: &mut Script, orders: &[NewOrder]) {
    if orders.is_empty() {
        return;
    }
    let rows = orders.iter().map(|new| {
        format!(
            "({},{},{},{},{},{},{})",
            new.hold.id,
            new.hold.product_id,
            new.hold.qty.get(),
            new.hold.amount_cents(),
            timestamp_or_null(new.payment_due_at),
            timestamp(new.created_at),
            bytes(new.request_id.as_bytes()),
        )
    });
    script.insert_for_ids("orders (hold_id,product_id,qty,amount_cents,payment_due_at,created_at,request_id)", rows);
}

/// Settles locked orders, all of which are pending.
pub fn settle(script: &mut Script, ids: &[OrderId], to: OrderStatus) {
    if ids.is_empty() {
        return;
    }
    let to = as_str(to);
    let id_list = list(ids.iter().map(|id| id.get()));
    script.write(
        ids.len(),
        format_args!(
            "UPDATE orders FORCE INDEX (PRIMARY) SET status = '{to}' WHERE id IN ({id_list}) AND status = 'pending'"
        ),
    );
}

pub(super) fn as_str(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Pending => "pending",
        OrderStatus::Paid => "paid",
        OrderStatus::Cancelled => "cancelled",
    }
}

pub(super) fn status_of(text: &str) -> Option<OrderStatus> {
    match text {
        "pending" => Some(OrderStatus::Pending),
        "paid" => Some(OrderStatus::Paid),
        "cancelled" => Some(OrderStatus::Cancelled),
        _ => None,
    }
}
