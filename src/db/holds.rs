//! Table `holds`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use chrono::NaiveDateTime;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, QueryDsl, Queryable, QueryableByName, Selectable, SelectableHelper,
    dsl::{AsSelect, Eq},
    expression::{AsExpression, SqlLiteral},
    mysql::Mysql,
    sql_types::{BigInt, Datetime},
};

use super::{
    Connection, Failure, Script,
    due::{SweepPosition, SweepScope},
    read::{Read, padded, read as select, row_time, statement_time},
    render::Index,
    schema::holds,
    script::{script_time, script_time_plus_ttl},
    statement::{Statement, datetime, latest, system_time},
};
use crate::domain::{BuyerId, Hold, HoldId, HoldStatus, ProductId, Quantity, RequestId};

const PRIMARY: Index = Index { table: "holds", name: "PRIMARY" };
const BY_REQUEST: Index = Index { table: "holds", name: "holds_request" };
const BY_EXPIRY: Index = Index { table: "holds", name: "holds_expiry" };
pub(super) const BY_PRODUCT_AND_EXPIRY: Index = Index { table: "holds", name: "holds_product_expiry" };
pub(super) const BY_BUYER: Index = Index { table: "holds", name: "holds_buyer" };

#[derive(Queryable, Selectable)]
#[diesel(table_name = holds, check_for_backend(Mysql))]
struct HoldRow {
    id: HoldId,
    product_id: ProductId,
    qty: Quantity,
    unit_price_cents: i64,
    status: HoldStatus,
    expires_at: NaiveDateTime,
    created_at: NaiveDateTime,
    buyer_id: Option<BuyerId>,
    request_id: RequestId,
    #[diesel(select_expression = row_time(), select_expression_type = SqlLiteral<Datetime>)]
    now: NaiveDateTime,
}

/// Describes a hold as it was read, with the time and the request that made it.
#[derive(Debug, Clone)]
pub struct StoredHold {
    /// The hold as it is stored.
    pub hold: Hold,
    /// The request that made it.
    pub request_id: RequestId,
    /// When the row was read. It is after the wait for the lock, where the row was locked.
    pub now: SystemTime,
}

impl From<HoldRow> for StoredHold {
    fn from(row: HoldRow) -> Self {
        let hold = Hold {
            id: row.id,
            product_id: row.product_id,
            qty: row.qty,
            unit_price_cents: row.unit_price_cents,
            status: row.status,
            expires_at: system_time(row.expires_at),
            created_at: system_time(row.created_at),
            buyer_id: row.buyer_id,
        };
        Self { hold, request_id: row.request_id, now: system_time(row.now) }
    }
}

async fn load(conn: &mut Connection, read: Read<AsSelect<HoldRow, Mysql>>) -> Result<Vec<StoredHold>, Failure> {
    let rows: Vec<HoldRow> = read.rows(conn).await?;
    Ok(rows.into_iter().map(StoredHold::from).collect())
}

fn by_id(holds: Vec<StoredHold>) -> BTreeMap<HoldId, StoredHold> {
    holds.into_iter().map(|stored| (stored.hold.id, stored)).collect()
}

fn integers(ids: impl IntoIterator<Item = HoldId>) -> Vec<i64> {
    padded(ids.into_iter().map(HoldId::get).collect())
}

/// Locks and reads those of these holds that nobody else has locked, in the order of their ids.
///
/// It waits for no lock. The primary key is forced, because the optimizer would rather lock every row of a small table.
pub async fn lock_free(
    conn: &mut Connection,
    ids: impl IntoIterator<Item = HoldId>,
) -> Result<BTreeMap<HoldId, StoredHold>, Failure> {
    let query = holds::table
        .filter(holds::id.eq_any(integers(ids)))
        .order(holds::id)
        .select(HoldRow::as_select())
        .for_update()
        .skip_locked();
    Ok(by_id(load(conn, select(query).force_index(PRIMARY)).await?))
}

/// Locks holds as [`lock_free`] does, and also returns which holds somebody else has locked.
pub async fn lock_or_busy(
    conn: &mut Connection,
    ids: BTreeSet<HoldId>,
) -> Result<(BTreeMap<HoldId, StoredHold>, BTreeSet<HoldId>), Failure> {
    let locked = lock_free(&mut *conn, ids.iter().copied()).await?;
    let missing: Vec<HoldId> = ids.into_iter().filter(|id| !locked.contains_key(id)).collect();
    if missing.is_empty() {
        return Ok((locked, BTreeSet::new()));
    }
    let busy = read(conn, missing).await?.into_keys().collect();
    Ok((locked, busy))
}

/// Reads holds by their primary key, without a lock.
pub async fn read(
    conn: &mut Connection,
    ids: impl IntoIterator<Item = HoldId>,
) -> Result<BTreeMap<HoldId, StoredHold>, Failure> {
    let query = holds::table.filter(holds::id.eq_any(integers(ids))).select(HoldRow::as_select());
    Ok(by_id(load(conn, select(query).force_index(PRIMARY)).await?))
}

/// Reads the holds of this product that these requests made, by the unique key on both.
pub async fn made_by(
    conn: &mut Connection,
    product_id: ProductId,
    request_ids: &[&RequestId],
) -> Result<Vec<StoredHold>, Failure> {
    let request_ids = padded(request_ids.iter().map(|id| id.as_bytes()).collect());
    let query = holds::table
        .filter(holds::product_id.eq(product_id.get()))
        .filter(holds::request_id.eq_any(request_ids))
        .select(HoldRow::as_select());
    load(conn, select(query).force_index(BY_REQUEST)).await
}

/// Reads up to `limit` holds of a product in these stored states, from the latest expires_at backwards.
///
/// It goes by the index that the expired holds of a product are found by, because one index more would cost every hold
/// that is made. That index has a range for each state, and each range gives at most `limit` rows.
pub async fn list(
    conn: &mut Connection,
    product_id: ProductId,
    states: &[HoldStatus],
    after: Option<(SystemTime, i64)>,
    limit: usize,
) -> Result<Vec<StoredHold>, Failure> {
    let (at, id) = after.map_or((datetime(latest()), i64::MAX), |(at, id)| (datetime(at), id));
    let in_state = |status: HoldStatus| {
        let query = holds::table
            .filter(holds::product_id.eq(product_id.get()))
            .filter(holds::status.eq(status))
            .filter(holds::expires_at.lt(at).or(holds::expires_at.eq(at).and(holds::id.lt(id))))
            .order((holds::expires_at.desc(), holds::id.desc()))
            .limit(limit.try_into().unwrap_or(i64::MAX))
            .select(HoldRow::as_select());
        select(query).force_index(BY_PRODUCT_AND_EXPIRY)
    };
    let mut stored = load(conn, Read::union_all(states.iter().copied().map(in_state))).await?;
    stored.sort_by_key(|stored| Reverse((stored.hold.expires_at, stored.hold.id)));
    stored.truncate(limit);
    Ok(stored)
}

/// Reads up to `limit` holds of a product that a buyer has in these stored states, newest first.
pub async fn list_of_buyer(
    conn: &mut Connection,
    product_id: ProductId,
    buyer_id: &BuyerId,
    states: &[HoldStatus],
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<StoredHold>, Failure> {
    let in_state = |status: HoldStatus| {
        let query = holds::table
            .filter(holds::product_id.eq(product_id.get()))
            .filter(holds::buyer_id.eq(buyer_id.as_bytes()))
            .filter(holds::status.eq(status))
            .filter(holds::id.lt(before.unwrap_or(i64::MAX)))
            .order(holds::id.desc())
            .limit(limit.try_into().unwrap_or(i64::MAX))
            .select(HoldRow::as_select());
        select(query).force_index(BY_BUYER)
    };
    let mut stored = load(conn, Read::union_all(states.iter().copied().map(in_state))).await?;
    stored.sort_by_key(|stored| Reverse(stored.hold.id));
    stored.truncate(limit);
    Ok(stored)
}

/// Describes an active hold whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = holds, check_for_backend(Mysql))]
pub struct ExpiredHold {
    id: HoldId,
    product_id: ProductId,
    qty: Quantity,
    expires_at: NaiveDateTime,
}

impl ExpiredHold {
    /// Returns the hold's id.
    pub fn id(&self) -> HoldId {
        self.id
    }

    /// Returns the product's id.
    pub fn product_id(&self) -> ProductId {
        self.product_id
    }

    /// Returns the number of units.
    pub fn qty(&self) -> Quantity {
        self.qty
    }

    /// Returns the hold's place in a sweep.
    pub fn place(&self) -> SweepPosition {
        SweepPosition { at: system_time(self.expires_at), id: self.id.get() }
    }
}

/// Locks up to `limit` expired holds after `since` that nobody else has locked, the oldest first. Holds that are
/// skipped are left to the next sweep.
pub async fn lock_expired(
    conn: &mut Connection,
    scope: SweepScope,
    since: SweepPosition,
    limit: usize,
) -> Result<Vec<ExpiredHold>, Failure> {
    let since_at = datetime(since.at);
    let query = holds::table
        .filter(holds::status.eq(HoldStatus::Active))
        .filter(holds::expires_at.ge(since_at))
        .filter(holds::expires_at.gt(since_at).or(holds::id.gt(since.id)))
        .filter(holds::expires_at.lt(statement_time()))
        .order((holds::expires_at, holds::id))
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select(ExpiredHold::as_select())
        .for_update()
        .skip_locked();
    let read = match scope {
        SweepScope::AllProducts => select(query).force_index(BY_EXPIRY),
        SweepScope::Product(id) => {
            select(query.filter(holds::product_id.eq(id.get()))).force_index(BY_PRODUCT_AND_EXPIRY)
        }
    };
    Ok(read.rows(conn).await?)
}

/// Locks up to `limit` expired holds of one product that nobody else has locked, the oldest first. The caller has
/// locked the product.
pub async fn lock_expired_of(
    conn: &mut Connection,
    product_id: ProductId,
    limit: usize,
) -> Result<Vec<ExpiredHold>, Failure> {
    let query = holds::table
        .filter(holds::product_id.eq(product_id.get()))
        .filter(holds::status.eq(HoldStatus::Active))
        .filter(holds::expires_at.lt(statement_time()))
        .order(holds::expires_at)
        .limit(limit.try_into().unwrap_or(i64::MAX))
        .select(ExpiredHold::as_select())
        .for_update()
        .skip_locked();
    Ok(select(query).force_index(BY_PRODUCT_AND_EXPIRY).rows(conn).await?)
}

/// Locks those of these holds that are active and that nobody else has locked. Returns each hold with its buyer.
pub(super) async fn lock_active(
    conn: &mut Connection,
    ids: &[i64],
) -> Result<Vec<(Option<BuyerId>, ExpiredHold)>, Failure> {
    let query = holds::table
        .filter(holds::status.eq(HoldStatus::Active))
        .filter(holds::id.eq_any(padded(ids.to_vec())))
        .order(holds::id)
        .select((holds::buyer_id, ExpiredHold::as_select()))
        .for_update()
        .skip_locked();
    Ok(select(query).force_index(PRIMARY).rows(conn).await?)
}

/// Tells whether one of these products is being sold.
///
/// That is so where one of the last thousand holds, by the primary key, is of it and was made in the last second. For a
/// product that is sold less often it doesn't matter who else has its row locked.
pub async fn any_just_made(conn: &mut Connection, product_ids: &BTreeSet<ProductId>) -> Result<bool, Failure> {
    #[derive(QueryableByName)]
    struct JustMade {
        #[diesel(sql_type = BigInt)]
        just_made: i64,
    }
    let ids: Vec<i64> = product_ids.iter().map(|id| id.get()).collect();
    let text = "SELECT CAST(EXISTS (SELECT 1 FROM holds FORCE INDEX (PRIMARY) \
        WHERE id > (SELECT MAX(id) FROM holds) - 1000 AND created_at > UTC_TIMESTAMP(6) - INTERVAL 1 SECOND \
        AND product_id IN ";
    let rows: Vec<JustMade> = Statement::new(text).integers(&ids, ") AS SIGNED) AS just_made").rows(conn).await?;
    Ok(rows.iter().any(|row| row.just_made != 0))
}

/// Describes a hold to be made.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// The number of units.
    pub qty: Quantity,
    /// The request that makes it.
    pub request_id: RequestId,
    /// Who holds the units, where the caller named a buyer.
    pub buyer_id: Option<BuyerId>,
}

/// Makes active holds of one product, created at a time that was read before.
pub fn insert(
    script: &mut Script,
    product_id: ProductId,
    unit_price_cents: i64,
    created_at: SystemTime,
    expires_at: SystemTime,
    holds: &[NewHold],
) {
    let rows = rows(product_id, unit_price_cents, datetime(created_at), datetime(expires_at), holds);
    script.insert_for_ids(diesel::insert_into(holds::table).values(rows));
}

/// Makes active holds of one product, created when the script gets to their INSERT. They last for `ttl`.
pub fn insert_at_script_time(
    script: &mut Script,
    product_id: ProductId,
    unit_price_cents: i64,
    ttl: Duration,
    holds: &[NewHold],
) {
    let rows = rows(product_id, unit_price_cents, script_time(), script_time_plus_ttl(), holds);
    script.insert_at_script_time(ttl, diesel::insert_into(holds::table).values(rows));
}

/// Makes the rows to insert. `T` is a time that was read, or SQL of a time.
fn rows<'h, T>(
    product_id: ProductId,
    unit_price_cents: i64,
    created_at: T,
    expires_at: T,
    holds: &'h [NewHold],
) -> Vec<NewHoldRow<'h, T>>
where
    T: AsExpression<Datetime> + Clone,
{
    // One line for each column, in the order of [`NewHoldRow`].
    let row = |NewHold { qty, request_id, buyer_id }: &'h NewHold| {
        (
            holds::product_id.eq(product_id.get()),
            holds::unit_price_cents.eq(unit_price_cents),
            holds::created_at.eq(created_at.clone()),
            holds::expires_at.eq(expires_at.clone()),
            holds::qty.eq(qty.get()),
            holds::request_id.eq(request_id.as_bytes()),
            holds::buyer_id.eq(buyer_id.as_ref().map(BuyerId::as_bytes)),
        )
    };
    holds.iter().map(row).collect()
}

type NewHoldRow<'h, T> = (
    Eq<holds::product_id, i64>,
    Eq<holds::unit_price_cents, i64>,
    Eq<holds::created_at, T>,
    Eq<holds::expires_at, T>,
    Eq<holds::qty, i32>,
    Eq<holds::request_id, &'h [u8]>,
    Eq<holds::buyer_id, Option<&'h [u8]>>,
);

/// Changes the status of locked holds, all of which have the status `from`.
pub fn set_status(script: &mut Script, ids: &[HoldId], from: HoldStatus, to: HoldStatus) {
    if ids.is_empty() {
        return;
    }
    let rows = holds::table.filter(holds::id.eq_any(ids.iter().map(|id| id.get()))).filter(holds::status.eq(from));
    script.update_by(PRIMARY, ids.len(), diesel::update(rows).set(holds::status.eq(to)));
}
