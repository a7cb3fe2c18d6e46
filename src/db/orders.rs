//! Table `orders`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, QueryDsl, Queryable, Selectable,
    SelectableHelper, dsl::AsSelect, mysql::Mysql,
};

use super::{
    Connection, Failure, Script,
    due::{SweepPosition, SweepScope},
    read::{Read, padded, read as select, statement_time},
    render::Index,
    schema::orders,
    statement::{datetime, system_time},
};
use crate::domain::{Hold, HoldId, Order, OrderId, OrderStatus, ProductId, Quantity, RequestId};

const PRIMARY: Index = Index { table: "orders", name: "PRIMARY" };
const BY_HOLD: Index = Index { table: "orders", name: "orders_hold" };
const BY_DUE: Index = Index { table: "orders", name: "orders_due" };
pub(super) const BY_PRODUCT_AND_DUE: Index = Index { table: "orders", name: "orders_product_due" };

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(Mysql))]
struct OrderRow {
    id: OrderId,
    hold_id: HoldId,
    product_id: ProductId,
    qty: Quantity,
    amount_cents: i64,
    status: OrderStatus,
    payment_due_at: Option<NaiveDateTime>,
    created_at: NaiveDateTime,
    request_id: RequestId,
}

/// Describes an order as it was read, with the request that made it.
#[derive(Debug, Clone)]
pub struct StoredOrder {
    /// The order as it is stored.
    pub order: Order,
    /// The request that made it.
    pub request_id: RequestId,
}

impl From<OrderRow> for StoredOrder {
    fn from(row: OrderRow) -> Self {
        let order = Order {
            id: row.id,
            hold_id: row.hold_id,
            product_id: row.product_id,
            qty: row.qty,
            amount_cents: row.amount_cents,
            status: row.status,
            payment_due_at: row.payment_due_at.map(system_time),
            created_at: system_time(row.created_at),
        };
        Self { order, request_id: row.request_id }
    }
}

async fn load(conn: &mut Connection, read: Read<AsSelect<OrderRow, Mysql>>) -> Result<Vec<StoredOrder>, Failure> {
    let rows: Vec<OrderRow> = read.rows(conn).await?;
    Ok(rows.into_iter().map(StoredOrder::from).collect())
}

fn by_id(orders: Vec<StoredOrder>) -> BTreeMap<OrderId, Order> {
    orders.into_iter().map(|stored| (stored.order.id, stored.order)).collect()
}

fn integers(ids: impl IntoIterator<Item = OrderId>) -> Vec<i64> {
    padded(ids.into_iter().map(OrderId::get).collect())
}

/// Locks and reads those of these orders that nobody else has locked, in the order of their ids.
///
/// It waits for no lock. The primary key is forced, because the optimizer would rather lock every row of a small table.
/// Also returns which orders somebody else has locked.
pub async fn lock_or_busy(
    conn: &mut Connection,
    ids: BTreeSet<OrderId>,
) -> Result<(BTreeMap<OrderId, Order>, BTreeSet<OrderId>), Failure> {
    let query = orders::table
        .filter(orders::id.eq_any(integers(ids.iter().copied())))
        .order(orders::id)
        .select(OrderRow::as_select())
        .for_update()
        .skip_locked();
    let locked = by_id(load(&mut *conn, select(query).force_index(PRIMARY)).await?);
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
    let query = orders::table.filter(orders::id.eq_any(integers(ids))).select(OrderRow::as_select());
    Ok(by_id(load(conn, select(query).force_index(PRIMARY)).await?))
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
    let query = orders::table.filter(orders::hold_id.eq_any(padded(holds))).select(OrderRow::as_select());
    let orders = load(conn, select(query).force_index(BY_HOLD)).await?;
    Ok(orders.into_iter().map(|stored| (stored.order.hold_id, stored)).collect())
}

/// Locks up to `limit` overdue orders after `since` that nobody else has locked, the oldest first. Orders that are
/// skipped are left to the next sweep.
pub async fn lock_overdue(
    conn: &mut Connection,
    scope: SweepScope,
    since: SweepPosition,
    limit: usize,
) -> Result<Vec<Order>, Failure> {
    let since_at = datetime(since.at);
    let query = orders::table
        .filter(orders::status.eq(OrderStatus::Pending))
        .filter(orders::payment_due_at.ge(since_at))
        .filter(orders::payment_due_at.gt(since_at).or(orders::id.gt(since.id)))
        .filter(orders::payment_due_at.lt(statement_time().nullable()))
        .order((orders::payment_due_at, orders::id))
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select(OrderRow::as_select())
        .for_update()
        .skip_locked();
    let read = match scope {
        SweepScope::AllProducts => select(query).force_index(BY_DUE),
        SweepScope::Product(id) => {
            select(query.filter(orders::product_id.eq(id.get()))).force_index(BY_PRODUCT_AND_DUE)
        }
    };
    Ok(load(conn, read).await?.into_iter().map(|stored| stored.order).collect())
}

/// Returns the place of an order in a sweep, where its payment can be overdue.
pub fn place(order: &Order) -> Option<SweepPosition> {
    order.payment_due_at.map(|at| SweepPosition { at, id: order.id.get() })
}

/// Locks up to `limit` overdue orders of one product that nobody else has locked, the oldest first. The caller has
/// locked the product.
pub async fn lock_overdue_of(
    conn: &mut Connection,
    product_id: ProductId,
    limit: usize,
) -> Result<Vec<Order>, Failure> {
    let query = orders::table
        .filter(orders::product_id.eq(product_id.get()))
        .filter(orders::status.eq(OrderStatus::Pending))
        .filter(orders::payment_due_at.lt(statement_time().nullable()))
        .order(orders::payment_due_at)
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select(OrderRow::as_select())
        .for_update()
        .skip_locked();
    let orders = load(conn, select(query).force_index(BY_PRODUCT_AND_DUE)).await?;
    Ok(orders.into_iter().map(|stored| stored.order).collect())
}

/// Describes an order to be made.
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
    let row = |new: &NewOrder| {
        (
            orders::hold_id.eq(new.hold.id.get()),
            orders::product_id.eq(new.hold.product_id.get()),
            orders::qty.eq(new.hold.qty.get()),
            orders::amount_cents.eq(new.hold.amount_cents()),
            orders::payment_due_at.eq(new.payment_due_at.map(datetime)),
            orders::created_at.eq(datetime(new.created_at)),
            orders::request_id.eq(new.request_id.as_bytes().to_vec()),
        )
    };
    let rows: Vec<_> = orders.iter().map(row).collect();
    script.insert_for_ids(diesel::insert_into(orders::table).values(rows));
}

/// Settles locked orders, all of which are pending.
pub fn settle(script: &mut Script, ids: &[OrderId], to: OrderStatus) {
    if ids.is_empty() {
        return;
    }
    let rows = orders::table
        .filter(orders::id.eq_any(ids.iter().map(|id| id.get())))
        .filter(orders::status.eq(OrderStatus::Pending));
    script.update_by(PRIMARY, ids.len(), diesel::update(rows).set(orders::status.eq(to)));
}
