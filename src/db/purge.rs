//! What a purge reads, locks and deletes: old holds with their orders, payment events and payment exceptions, and
//! products.
//!
//! Every lock is taken with SKIP LOCKED, and only rows that are locked are deleted. So a purge waits for nobody. What is
//! skipped comes back as busy, and its hold stays with all that belongs to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, QueryDsl, Queryable, Selectable, SelectableHelper,
    dsl::sql,
    expression::SqlLiteral,
    mysql::Mysql,
    sql_types::{BigInt, Datetime},
};

use super::{
    Connection, Failure, FailureKind, Script,
    due::SweepPosition,
    read::{Read, padded, read as select, statement_time},
    render::Index,
    schema::{holds, orders, payment_exceptions, payment_webhooks, products, stock_adjustments},
    statement::{datetime, system_time},
};
use crate::domain::{HoldId, HoldStatus, IdempotencyKey, OrderId, OrderStatus, ProductId, Quantity};

const HOLDS_BY_EXPIRY: Index = Index { table: "holds", name: "holds_expiry" };
const HOLDS_OF_PRODUCT: Index = Index { table: "holds", name: "holds_product_expiry" };
const ORDERS_BY_HOLD: Index = Index { table: "orders", name: "orders_hold" };
const ORDERS_OF_PRODUCT: Index = Index { table: "orders", name: "orders_product_due" };
const ORDERS_SETTLED: Index = Index { table: "orders", name: "orders_settled" };
const EVENTS_BY_ORDER: Index = Index { table: "payment_webhooks", name: "payment_webhooks_order" };
const EXCEPTIONS_BY_KEY: Index = Index { table: "payment_exceptions", name: "payment_exceptions_key" };
const EXCEPTIONS_OF_PRODUCT: Index = Index { table: "payment_exceptions", name: "payment_exceptions_product_open" };
const PRODUCTS: Index = Index { table: "products", name: "PRIMARY" };
const ADJUSTMENTS_OF_PRODUCT: Index = Index { table: "stock_adjustments", name: "stock_adjustments_request" };

/// Names the holds that a batch of a purge takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeScope {
    /// Holds of any product in this state.
    AllProducts(HoldStatus),
    /// Used holds of one product.
    Sold(ProductId),
}

impl PurgeScope {
    /// Returns the product, where it is one.
    pub fn product(self) -> Option<ProductId> {
        match self {
            Self::AllProducts(_) => None,
            Self::Sold(id) => Some(id),
        }
    }
}

/// Describes a hold whose time was over before the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = holds, check_for_backend(Mysql))]
pub struct OldHold {
    /// The hold's id.
    pub id: HoldId,
    /// The product's id.
    pub product_id: ProductId,
    /// The number of units.
    pub qty: Quantity,
    /// The hold's status.
    pub status: HoldStatus,
    expires_at: NaiveDateTime,
}

impl OldHold {
    /// Returns when the hold's time was over.
    pub fn expires_at(&self) -> SystemTime {
        system_time(self.expires_at)
    }

    /// Returns the hold's place in a purge.
    pub fn place(&self) -> SweepPosition {
        SweepPosition { at: self.expires_at(), id: self.id.get() }
    }
}

/// Describes the order of such a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(Mysql))]
pub struct OldOrder {
    /// The order's id.
    pub id: OrderId,
    /// The hold that it was made of.
    pub hold_id: HoldId,
    /// The order's status.
    pub status: OrderStatus,
    // An order that a version of long ago settled doesn't say when.
    #[diesel(select_expression = sql("COALESCE(settled_at, payment_due_at, created_at)"),
        select_expression_type = SqlLiteral<Datetime>)]
    settled_at: NaiveDateTime,
}

impl OldOrder {
    /// Returns when the order was settled, or by when it should have been where nobody wrote that down.
    pub fn settled_at(&self) -> SystemTime {
        system_time(self.settled_at)
    }
}

/// Describes a payment event of such an order.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = payment_webhooks, check_for_backend(Mysql))]
pub struct OldEvent {
    id: i64,
    /// The order.
    pub order_id: OrderId,
    idempotency_key: IdempotencyKey,
    created_at: NaiveDateTime,
}

impl OldEvent {
    /// Returns when the event was taken.
    pub fn taken_at(&self) -> SystemTime {
        system_time(self.created_at)
    }
}

/// Describes a payment exception of such an event.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = payment_exceptions, check_for_backend(Mysql))]
pub struct OldException {
    id: i64,
    /// The order.
    pub order_id: OrderId,
    idempotency_key: IdempotencyKey,
    resolved_at: Option<NaiveDateTime>,
}

impl OldException {
    /// Returns when the exception was resolved. `None`: it is not resolved.
    pub fn resolved_at(&self) -> Option<SystemTime> {
        self.resolved_at.map(system_time)
    }
}

/// Holds the rows that belong to old holds, as far as nobody else has locked them.
#[derive(Debug, Default)]
pub struct Belongings {
    /// The orders, by their holds.
    pub orders: BTreeMap<HoldId, OldOrder>,
    /// The payment events of these orders.
    pub events: Vec<OldEvent>,
    /// The payment exceptions of these orders.
    pub exceptions: Vec<OldException>,
    /// The holds with an order that somebody else has locked.
    pub busy_holds: BTreeSet<HoldId>,
    /// The orders with an event or an exception that somebody else has locked, or with the exception of another order.
    pub busy_orders: BTreeSet<OrderId>,
}

/// Returns the database's time.
pub async fn now(conn: &mut Connection) -> Result<SystemTime, Failure> {
    let now: Option<NaiveDateTime> = select(diesel::select(statement_time())).first(conn).await?;
    now.map(system_time).ok_or_else(|| Failure { kind: FailureKind::Wrong, text: "a time without a row".to_owned() })
}

/// Locks up to `limit` holds after `since` that were over before `before` and that nobody else has locked, the oldest
/// first.
pub async fn lock_holds(
    conn: &mut Connection,
    scope: PurgeScope,
    since: SweepPosition,
    before: SystemTime,
    limit: usize,
) -> Result<Vec<OldHold>, Failure> {
    let (since_at, before) = (datetime(since.at), datetime(before));
    let query = holds::table
        .filter(holds::expires_at.ge(since_at))
        .filter(holds::expires_at.gt(since_at).or(holds::id.gt(since.id)))
        .filter(holds::expires_at.lt(before))
        .order((holds::expires_at, holds::id))
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select(OldHold::as_select())
        .for_update()
        .skip_locked();
    let read = match scope {
        PurgeScope::AllProducts(status) => select(query.filter(holds::status.eq(status))).force_index(HOLDS_BY_EXPIRY),
        PurgeScope::Sold(id) => {
            select(query.filter(holds::product_id.eq(id.get())).filter(holds::status.eq(HoldStatus::Used)))
                .force_index(HOLDS_OF_PRODUCT)
        }
    };
    Ok(read.rows(conn).await?)
}

/// Locks and reads what belongs to these holds, which the caller has locked.
///
/// The locks on the orders come first. Under them no event and no exception comes to an order.
pub async fn lock_belongings(conn: &mut Connection, holds: &[OldHold]) -> Result<Belongings, Failure> {
    let mut found = Belongings::default();
    lock_orders(&mut *conn, holds, &mut found).await?;
    if !found.orders.is_empty() {
        lock_events(&mut *conn, &mut found).await?;
    }
    if !found.events.is_empty() {
        lock_exceptions(conn, &mut found).await?;
    }
    Ok(found)
}

async fn lock_orders(conn: &mut Connection, holds: &[OldHold], found: &mut Belongings) -> Result<(), Failure> {
    let ids = padded(holds.iter().map(|hold| hold.id.get()).collect());
    let query = orders::table.filter(orders::hold_id.eq_any(ids));
    let all: Vec<HoldId> = select(query.clone().select(orders::hold_id)).force_index(ORDERS_BY_HOLD).rows(conn).await?;
    if all.is_empty() {
        return Ok(());
    }
    let locked = select(query.select(OldOrder::as_select()).for_update().skip_locked()).force_index(ORDERS_BY_HOLD);
    let locked: Vec<OldOrder> = locked.rows(conn).await?;
    found.orders = locked.into_iter().map(|order| (order.hold_id, order)).collect();
    found.busy_holds = all.into_iter().filter(|id| !found.orders.contains_key(id)).collect();
    Ok(())
}

async fn lock_events(conn: &mut Connection, found: &mut Belongings) -> Result<(), Failure> {
    let ids = padded(found.orders.values().map(|order| order.id.get()).collect());
    let query = payment_webhooks::table.filter(payment_webhooks::order_id.eq_any(ids));
    let all: Vec<(i64, OrderId)> = select(query.clone().select((payment_webhooks::id, payment_webhooks::order_id)))
        .force_index(EVENTS_BY_ORDER)
        .rows(conn)
        .await?;
    if all.is_empty() {
        return Ok(());
    }
    let locked = select(query.select(OldEvent::as_select()).for_update().skip_locked()).force_index(EVENTS_BY_ORDER);
    found.events = locked.rows(conn).await?;
    let locked: BTreeSet<i64> = found.events.iter().map(|event| event.id).collect();
    found.busy_orders.extend(all.into_iter().filter(|(id, _)| !locked.contains(id)).map(|(_, order_id)| order_id));
    Ok(())
}

async fn lock_exceptions(conn: &mut Connection, found: &mut Belongings) -> Result<(), Failure> {
    let order_of: BTreeMap<&IdempotencyKey, OrderId> =
        found.events.iter().map(|event| (&event.idempotency_key, event.order_id)).collect();
    let keys = padded(order_of.keys().map(|key| key.as_bytes()).collect());
    let query = payment_exceptions::table.filter(payment_exceptions::idempotency_key.eq_any(keys));
    let all: Vec<(i64, IdempotencyKey)> =
        select(query.clone().select((payment_exceptions::id, payment_exceptions::idempotency_key)))
            .force_index(EXCEPTIONS_BY_KEY)
            .rows(conn)
            .await?;
    if all.is_empty() {
        return Ok(());
    }
    let locked =
        select(query.select(OldException::as_select()).for_update().skip_locked()).force_index(EXCEPTIONS_BY_KEY);
    let locked: Vec<OldException> = locked.rows(conn).await?;
    let ids: BTreeSet<i64> = locked.iter().map(|exception| exception.id).collect();
    let busy = all.iter().filter(|(id, _)| !ids.contains(id)).map(|(_, key)| key);
    let of_another = |exception: &&OldException| order_of.get(&exception.idempotency_key) != Some(&exception.order_id);
    let faulty = locked.iter().filter(of_another).map(|exception| &exception.idempotency_key);
    found.busy_orders.extend(busy.chain(faulty).filter_map(|key| order_of.get(key)));
    found.exceptions = locked;
    Ok(())
}

/// Deletes these rows, which are locked: exceptions, then events, orders and holds.
pub fn delete(
    script: &mut Script,
    holds: &[HoldId],
    orders: &[OrderId],
    events: &[&OldEvent],
    exceptions: &[&OldException],
) {
    for exception in exceptions {
        script.delete_one(diesel::delete(payment_exceptions::table.find(exception.id)));
    }
    for event in events {
        script.delete_one(diesel::delete(payment_webhooks::table.find(event.id)));
    }
    for id in orders {
        script.delete_one(diesel::delete(orders::table.find(id.get())));
    }
    for id in holds {
        script.delete_one(diesel::delete(holds::table.find(id.get())));
    }
}

/// Lists products whose sale ended before `before`, of the next `limit` products after the id `after`.
///
/// Also returns the last id that it looked at. `None` means that there are no more products.
pub async fn ended_products(
    conn: &mut Connection,
    after: i64,
    before: SystemTime,
    limit: usize,
) -> Result<(Vec<ProductId>, Option<i64>), Failure> {
    let query = products::table
        .filter(products::id.gt(after))
        .order(products::id)
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select((products::id, products::ends_at));
    let rows: Vec<(ProductId, Option<NaiveDateTime>)> = select(query).force_index(PRODUCTS).rows(conn).await?;
    let last = rows.last().map(|(id, _)| id.get());
    let has_ended = |ends_at: Option<NaiveDateTime>| ends_at.is_some_and(|at| system_time(at) < before);
    Ok((rows.into_iter().filter(|(_, ends_at)| has_ended(*ends_at)).map(|(id, _)| id).collect(), last))
}

/// Locks a product whose sale ended before `before`, unless somebody else has locked it. Returns whether it has.
///
/// Under the lock nobody moves the end of the sale, makes a hold or adjusts the stock.
pub async fn lock_ended_product(conn: &mut Connection, id: ProductId, before: SystemTime) -> Result<bool, Failure> {
    let query = products::table
        .filter(products::id.eq(id.get()))
        .filter(products::ends_at.lt(datetime(before)))
        .select(products::id)
        .for_update()
        .skip_locked();
    let row: Option<ProductId> = select(query).force_index(PRODUCTS).first(conn).await?;
    Ok(row.is_some())
}

/// Tells whether anything of a product is open or younger than `before`. Payment events are not looked at.
pub async fn has_open_rows(conn: &mut Connection, id: ProductId, before: SystemTime) -> Result<bool, Failure> {
    let (id, before) = (id.get(), datetime(before));
    let hold = |status: HoldStatus, since: NaiveDateTime| {
        let rows = holds::table
            .filter(holds::product_id.eq(id))
            .filter(holds::status.eq(status))
            .filter(holds::expires_at.ge(since));
        select(rows.select(sql::<BigInt>("1")).limit(1)).force_index(HOLDS_OF_PRODUCT)
    };
    let order = orders::table.filter(orders::product_id.eq(id));
    let exception = payment_exceptions::table.filter(payment_exceptions::product_id.eq(id));
    let adjustment = stock_adjustments::table.filter(stock_adjustments::product_id.eq(id));
    let open = Read::union_all([
        hold(HoldStatus::Active, datetime(SystemTime::UNIX_EPOCH)),
        hold(HoldStatus::Used, before),
        hold(HoldStatus::Expired, before),
        hold(HoldStatus::Cancelled, before),
        select(order.filter(orders::status.eq(OrderStatus::Pending)).select(sql::<BigInt>("1")).limit(1))
            .force_index(ORDERS_OF_PRODUCT),
        select(order.filter(orders::settled_at.ge(before)).select(sql::<BigInt>("1")).limit(1))
            .force_index(ORDERS_SETTLED),
        select(exception.filter(payment_exceptions::resolved_at.is_null()).select(sql::<BigInt>("1")).limit(1))
            .force_index(EXCEPTIONS_OF_PRODUCT),
        select(exception.filter(payment_exceptions::resolved_at.ge(before)).select(sql::<BigInt>("1")).limit(1))
            .force_index(EXCEPTIONS_OF_PRODUCT),
        select(adjustment.filter(stock_adjustments::created_at.ge(before)).select(sql::<BigInt>("1")).limit(1))
            .force_index(ADJUSTMENTS_OF_PRODUCT),
    ]);
    let open: Option<i64> = open.first(conn).await?;
    Ok(open.is_some())
}

/// Tells whether a product has any hold or order, or any payment exception.
pub async fn has_rows(conn: &mut Connection, id: ProductId) -> Result<bool, Failure> {
    let id = id.get();
    let rows = Read::union_all([
        select(holds::table.filter(holds::product_id.eq(id)).select(sql::<BigInt>("1")).limit(1))
            .force_index(HOLDS_OF_PRODUCT),
        select(orders::table.filter(orders::product_id.eq(id)).select(sql::<BigInt>("1")).limit(1))
            .force_index(ORDERS_OF_PRODUCT),
        select(
            payment_exceptions::table.filter(payment_exceptions::product_id.eq(id)).select(sql::<BigInt>("1")).limit(1),
        )
        .force_index(EXCEPTIONS_OF_PRODUCT),
    ]);
    let row: Option<i64> = rows.first(conn).await?;
    Ok(row.is_some())
}

/// Lists a product's stock adjustments. The caller has locked the product.
pub async fn adjustments(conn: &mut Connection, id: ProductId) -> Result<Vec<i64>, Failure> {
    let query = stock_adjustments::table.filter(stock_adjustments::product_id.eq(id.get()));
    Ok(select(query.select(stock_adjustments::id)).force_index(ADJUSTMENTS_OF_PRODUCT).rows(conn).await?)
}

/// Deletes all stock adjustments of a locked product.
pub fn delete_adjustments(script: &mut Script, ids: &[i64]) {
    for id in ids {
        script.delete_one(diesel::delete(stock_adjustments::table.find(*id)));
    }
}

/// Takes the units of deleted paid orders out of a locked product's total.
pub fn take_out_sold(script: &mut Script, id: ProductId, units: i64) {
    let product = products::table.find(id.get());
    script.update(1, diesel::update(product).set(products::total_stock.eq(products::total_stock - units)));
}

/// Deletes a locked product.
pub fn delete_product(script: &mut Script, id: ProductId) {
    script.delete_one(diesel::delete(products::table.find(id.get())));
}
