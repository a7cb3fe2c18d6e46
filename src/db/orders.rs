//! Table `orders`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, QueryDsl, Queryable, Selectable,
    SelectableHelper,
    dsl::{AsSelect, sql},
    expression::SqlLiteral,
    mysql::Mysql,
    sql_types::{Binary, Datetime, Nullable},
};

use diesel_async::SimpleAsyncConnection;

use super::{
    Connection, Failure, Script,
    due::{SweepPosition, SweepScope},
    read::{Read, padded, read as select, row_time, statement_time},
    render::{Index, write_hex_literal},
    schema::orders,
    script::{SCRIPT_TIME, script_time},
    statement::{datetime, system_time},
};
use crate::domain::{
    BuyerId, Hold, HoldId, Order, OrderId, OrderStatus, PaymentId, ProductId, Quantity, RequestId, SettledBy,
};

const PRIMARY: Index = Index { table: "orders", name: "PRIMARY" };
const BY_HOLD: Index = Index { table: "orders", name: "orders_hold" };
const BY_BUYER: Index = Index { table: "orders", name: "orders_buyer" };
const BY_SETTLED: Index = Index { table: "orders", name: "orders_settled" };
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
    buyer_id: Option<BuyerId>,
    settled_at: Option<NaiveDateTime>,
    payment_id: Option<PaymentId>,
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
            buyer_id: row.buyer_id,
            // Any change of a row sets settled_at, also one that somebody makes by hand.
            settled_at: row.settled_at.filter(|_| row.status != OrderStatus::Pending).map(system_time),
            payment_id: row.payment_id,
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

/// Locks an order, by its primary key, and waits for whoever has it.
pub async fn lock(conn: &mut Connection, id: OrderId) -> Result<Option<Order>, Failure> {
    let query = orders::table.find(id.get()).select(OrderRow::as_select()).for_update();
    Ok(load(conn, select(query)).await?.into_iter().next().map(|stored| stored.order))
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

/// Says which orders of a product to list, and in which order.
#[derive(Debug, Clone, Copy)]
pub enum OrdersBy<'a> {
    /// Those in this state, or in any, from the latest payment_due_at backwards.
    Status(Option<OrderStatus>),
    /// The pending ones whose payment is overdue, from the latest payment_due_at backwards.
    Overdue,
    /// Those of this buyer, newest first.
    Buyer(&'a BuyerId),
}

impl OrdersBy<'_> {
    fn time_of(self, order: &Order) -> Option<SystemTime> {
        match self {
            Self::Status(_) | Self::Overdue => order.payment_due_at,
            Self::Buyer(_) => None,
        }
    }
}

/// Describes an order for a list.
#[derive(Debug, Clone)]
pub struct ListedOrder {
    /// The order as it is stored.
    pub order: Order,
    /// When it was read.
    pub now: SystemTime,
    /// The time that the list is ordered by, where it has one.
    pub at: Option<SystemTime>,
}

/// Reads up to `limit` orders of a product that follow the time and the id of `after` in the list.
pub async fn list(
    conn: &mut Connection,
    product_id: ProductId,
    by: OrdersBy<'_>,
    after: Option<(Option<SystemTime>, i64)>,
    limit: usize,
) -> Result<Vec<ListedOrder>, Failure> {
    let read = match by {
        OrdersBy::Status(None) => {
            let states = [OrderStatus::Pending, OrderStatus::Paid, OrderStatus::Cancelled];
            Read::union_all(states.map(|status| in_state(product_id, status, false, after, limit)))
        }
        OrdersBy::Status(Some(status)) => in_state(product_id, status, false, after, limit),
        OrdersBy::Overdue => in_state(product_id, OrderStatus::Pending, true, after, limit),
        OrdersBy::Buyer(buyer_id) => of_buyer(product_id, buyer_id, after.map(|(_, id)| id), limit),
    };
    let rows: Vec<(OrderRow, NaiveDateTime)> = read.rows(conn).await?;
    let listed = |(row, now)| {
        let order = StoredOrder::from(row).order;
        ListedOrder { at: by.time_of(&order), order, now: system_time(now) }
    };
    let mut listed: Vec<ListedOrder> = rows.into_iter().map(listed).collect();
    if let OrdersBy::Status(None) = by {
        listed.sort_by_key(|listed| Reverse((listed.order.payment_due_at, listed.order.id)));
        listed.truncate(limit);
    }
    Ok(listed)
}

/// What diesel knows of the columns of [`list`].
type ListColumns = (AsSelect<OrderRow, Mysql>, Datetime);

/// One range of the index on product, state and payment_due_at, read backwards. An order that never becomes overdue has
/// no payment_due_at, and comes last.
fn in_state(
    product_id: ProductId,
    status: OrderStatus,
    is_overdue: bool,
    after: Option<(Option<SystemTime>, i64)>,
    limit: usize,
) -> Read<ListColumns> {
    let query = orders::table
        .filter(orders::product_id.eq(product_id.get()))
        .filter(orders::status.eq(status))
        .order((orders::payment_due_at.desc(), orders::id.desc()))
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select((OrderRow::as_select(), row_time()));
    let is_past = orders::payment_due_at.lt(statement_time().nullable());
    let read = match (after, is_overdue) {
        (None, false) => select(query),
        (None, true) => select(query.filter(is_past)),
        (Some((None, id)), _) => select(query.filter(orders::payment_due_at.is_null()).filter(orders::id.lt(id))),
        (Some((Some(at), id)), is_overdue) => {
            let at = datetime(at);
            let before = orders::payment_due_at.eq(at).and(orders::id.lt(id)).or(orders::payment_due_at.lt(at));
            if is_overdue {
                select(query.filter(is_past).filter(before))
            } else {
                select(query.filter(before.or(orders::payment_due_at.is_null())))
            }
        }
    };
    read.force_index(BY_PRODUCT_AND_DUE)
}

fn of_buyer(product_id: ProductId, buyer_id: &BuyerId, before: Option<i64>, limit: usize) -> Read<ListColumns> {
    let query = orders::table
        .filter(orders::product_id.eq(product_id.get()))
        .filter(orders::buyer_id.eq(buyer_id.as_bytes()))
        .filter(orders::id.lt(before.unwrap_or(i64::MAX)))
        .order(orders::id.desc())
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select((OrderRow::as_select(), row_time()));
    select(query).force_index(BY_BUYER)
}

/// Reads up to `limit` orders of a product that were settled after a time, the oldest first. It locks nothing.
///
/// `after` is the last order read, or the time to begin at. A reader who goes on from the last order misses none:
///
/// - A row is in the index within half a second of its settled_at, or never (`Script::check_time`). The last second is
///   left to a later call.
/// - An order becomes visible when its transaction commits, which may be later than the commit of an order with a later
///   settled_at. So the index is read with the rows of open transactions, and the list ends before the first of these.
pub async fn list_settled(
    conn: &mut Connection,
    product_id: ProductId,
    after: (SystemTime, i64),
    limit: usize,
) -> Result<Vec<ListedOrder>, Failure> {
    let (at, id) = (datetime(after.0), after.1);
    let query = orders::table
        .filter(orders::product_id.eq(product_id.get()))
        .filter(orders::settled_at.gt(at).or(orders::settled_at.eq(at).and(orders::id.gt(id))))
        .filter(orders::settled_at.lt(sql::<Nullable<Datetime>>("UTC_TIMESTAMP(6) - INTERVAL 1 SECOND")))
        .order((orders::settled_at, orders::id))
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select((orders::id, orders::settled_at));
    conn.batch_execute("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED").await?;
    let in_index: Vec<(OrderId, Option<NaiveDateTime>)> =
        select(query).force_index(BY_SETTLED).rows(&mut *conn).await?;
    if in_index.is_empty() {
        return Ok(Vec::new());
    }
    let ids = integers(in_index.iter().map(|(id, _)| *id));
    let query = orders::table.filter(orders::id.eq_any(ids)).select((OrderRow::as_select(), row_time()));
    let rows: Vec<(OrderRow, NaiveDateTime)> = select(query).force_index(PRIMARY).rows(conn).await?;
    let mut committed: BTreeMap<OrderId, _> = rows.into_iter().map(|(row, now)| (row.id, (row, now))).collect();
    let as_committed = in_index
        .into_iter()
        .map_while(|(id, settled_at)| committed.remove(&id).filter(|(row, _)| row.settled_at == settled_at));
    let listed = |(row, now): (OrderRow, NaiveDateTime)| {
        // A row that somebody changed by hand has the time too, also where the order is pending.
        let at = row.settled_at.map(system_time);
        ListedOrder { at, order: StoredOrder::from(row).order, now: system_time(now) }
    };
    Ok(as_committed.map(listed).collect())
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

impl NewOrder {
    /// Returns what settles the order at once: an order that costs nothing is paid from the beginning.
    pub fn settled_by(&self) -> Option<SettledBy> {
        (self.hold.amount_cents() == 0).then_some(SettledBy::NoCharge)
    }
}

/// Makes orders: pending, or paid where they cost nothing.
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
            orders::buyer_id.eq(new.hold.buyer_id.as_ref().map(|buyer_id| buyer_id.as_bytes().to_vec())),
            orders::status.eq(new.settled_by().map_or(OrderStatus::Pending, SettledBy::order_status)),
            orders::settled_by.eq(new.settled_by()),
            orders::settled_at.eq(sql::<Nullable<Datetime>>(match new.settled_by() {
                Some(_) => SCRIPT_TIME,
                None => "NULL",
            })),
        )
    };
    let rows: Vec<_> = orders.iter().map(row).collect();
    let any_is_settled = orders.iter().any(|new| new.settled_by().is_some());
    if any_is_settled {
        script.take_time();
    }
    script.insert_for_ids(diesel::insert_into(orders::table).values(rows));
    if any_is_settled {
        script.check_time();
        script.ask_for_time();
    }
}

/// Settles locked orders, all of which are pending. Where a payment is known that paid an order, it is stored.
///
/// settled_at is the time of the script, and the row is there soon after it or not at all: see [`list_settled`].
pub fn settle(script: &mut Script, orders: &[(OrderId, Option<PaymentId>)], by: SettledBy) {
    if orders.is_empty() {
        return;
    }
    let rows = orders::table
        .filter(orders::id.eq_any(orders.iter().map(|(id, _)| id.get())))
        .filter(orders::status.eq(OrderStatus::Pending));
    let changes = (
        orders::status.eq(by.order_status()),
        orders::settled_by.eq(by),
        orders::settled_at.eq(script_time().nullable()),
        payment_ids(orders).map(|payment_ids| orders::payment_id.eq(payment_ids)),
    );
    script.take_time();
    script.update_by(PRIMARY, orders.len(), diesel::update(rows).set(changes));
    script.check_time();
}

/// Returns SQL of each order's payment_id, or `None` where no order has one.
///
/// It is text, because diesel's CASE has a number of branches that the compiler has to know.
fn payment_ids(orders: &[(OrderId, Option<PaymentId>)]) -> Option<SqlLiteral<Nullable<Binary>>> {
    let mut text = String::from("CASE `orders`.`id`");
    let length = text.len();
    for (id, payment_id) in orders {
        if let Some(payment_id) = payment_id {
            text.push_str(&format!(" WHEN {id} THEN "));
            write_hex_literal(&mut text, payment_id.as_bytes());
        }
    }
    (text.len() > length).then(|| sql(&format!("{text} END")))
}
