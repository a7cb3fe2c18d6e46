//! Table `holds`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use chrono::NaiveDateTime;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Integer, Nullable, Text, Timestamp},
};

use super::{
    Connection, Failure, FailureKind, Script,
    due::{Due, Of, Place},
    statement::{Statement, bytes, bytes_or_null, list, moment, timestamp},
};
use crate::domain::{BuyerId, Hold, HoldId, HoldStatus, ProductId, Quantity, RequestId};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    product_id: i64,
    #[diesel(sql_type = Integer)]
    qty: i32,
    #[diesel(sql_type = BigInt)]
    unit_price_cents: i64,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Timestamp)]
    expires_at: NaiveDateTime,
    #[diesel(sql_type = Timestamp)]
    created_at: NaiveDateTime,
    #[diesel(sql_type = Nullable<Binary>)]
    buyer_id: Option<Vec<u8>>,
    #[diesel(sql_type = Binary)]
    request_id: Vec<u8>,
    #[diesel(sql_type = Timestamp)]
    now: NaiveDateTime,
}

/// A hold as read, with the moment of reading and the request that made it.
#[derive(Debug, Clone)]
pub struct StoredHold {
    /// The hold.
    pub hold: Hold,
    /// The request that made it.
    pub request_id: RequestId,
    /// When the row was read, and locked where it was.
    pub now: SystemTime,
}

impl TryFrom<Row> for StoredHold {
    type Error = Failure;

    fn try_from(row: Row) -> Result<Self, Failure> {
        let status = match row.status.as_str() {
            "active" => HoldStatus::Active,
            "used" => HoldStatus::Used,
            "expired" => HoldStatus::Expired,
            "cancelled" => HoldStatus::Cancelled,
            other => {
                let text = format!("hold {} has the unknown status {other:?}", row.id);
                return Err(Failure { kind: FailureKind::Wrong, text });
            }
        };
        let hold = Hold {
            id: HoldId::stored(row.id),
            product_id: ProductId::stored(row.product_id),
            qty: Quantity::stored(row.qty),
            unit_price_cents: row.unit_price_cents,
            status,
            expires_at: moment(row.expires_at),
            created_at: moment(row.created_at),
            buyer_id: row.buyer_id.map(BuyerId::stored),
        };
        Ok(Self { hold, request_id: RequestId::stored(row.request_id), now: moment(row.now) })
    }
}

/// SYSDATE, as in [`super::products`], is the time after the wait for a row's lock.
const SELECT: &str = "SELECT id, product_id, qty, unit_price_cents, status, expires_at, created_at, buyer_id, \
    request_id, SYSDATE(6) AS now FROM holds";

async fn load(conn: &mut Connection, statement: Statement) -> Result<Vec<StoredHold>, Failure> {
    let rows: Vec<Row> = statement.rows(conn).await?;
    rows.into_iter().map(StoredHold::try_from).collect()
}

fn by_id(holds: Vec<StoredHold>) -> BTreeMap<HoldId, StoredHold> {
    holds.into_iter().map(|stored| (stored.hold.id, stored)).collect()
}

fn integers(ids: impl IntoIterator<Item = HoldId>) -> Vec<i64> {
    ids.into_iter().map(HoldId::get).collect()
}

/// Locks those of these holds that nobody else has locked, in the order of their ids. Waits for none. The primary key is
/// forced: of a small table the optimizer would rather lock every row.
pub async fn lock_free(
    conn: &mut Connection,
    ids: impl IntoIterator<Item = HoldId>,
) -> Result<BTreeMap<HoldId, StoredHold>, Failure> {
    let text = format!("{SELECT} FORCE INDEX (PRIMARY) WHERE id IN ");
    let statement = Statement::new(&text).integers(&integers(ids), " ORDER BY id FOR UPDATE SKIP LOCKED");
    Ok(by_id(load(conn, statement).await?))
}

/// As [`lock_free`], and which of the others are there: those that somebody else has locked.
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
    let text = format!("{SELECT} FORCE INDEX (PRIMARY) WHERE id IN ");
    Ok(by_id(load(conn, Statement::new(&text).integers(&integers(ids), "")).await?))
}

/// Reads which of these requests made a hold of this product, by the unique key on both.
pub async fn made_by(
    conn: &mut Connection,
    product_id: ProductId,
    request_ids: &[&RequestId],
) -> Result<Vec<StoredHold>, Failure> {
    let request_ids: Vec<&[u8]> = request_ids.iter().map(|id| id.as_bytes()).collect();
    let text = format!("{SELECT} FORCE INDEX (holds_request) WHERE product_id = ? AND request_id IN ");
    load(conn, Statement::new(&text).integer(product_id.get()).byte_strings(&request_ids, "")).await
}

/// An active hold whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct ExpiredHold {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    product_id: i64,
    #[diesel(sql_type = Integer)]
    qty: i32,
    #[diesel(sql_type = Timestamp)]
    expires_at: NaiveDateTime,
}

impl ExpiredHold {
    /// The hold.
    pub fn id(&self) -> HoldId {
        HoldId::stored(self.id)
    }

    /// Its product.
    pub fn product_id(&self) -> ProductId {
        ProductId::stored(self.product_id)
    }

    /// Its units.
    pub fn qty(&self) -> Quantity {
        Quantity::stored(self.qty)
    }

    /// Its place in a sweep.
    pub fn place(&self) -> Place {
        Place { at: moment(self.expires_at), id: self.id }
    }
}

const EXPIRED: Due = Due {
    select: "SELECT id, product_id, qty, expires_at FROM holds",
    status: "active",
    column: "expires_at",
    index: "holds_expiry",
    index_of_product: "holds_product_expiry",
};

/// Locks up to `limit` expired holds after `since` that nobody else has locked, the oldest first.
pub async fn lock_expired(
    conn: &mut Connection,
    of: Of,
    since: Place,
    limit: usize,
) -> Result<Vec<ExpiredHold>, Failure> {
    Ok(EXPIRED.lock(of, since, limit).rows(conn).await?)
}

/// As [`lock_expired`], of one product and from the oldest on: for whoever has that product locked.
pub async fn lock_expired_of(
    conn: &mut Connection,
    product_id: ProductId,
    limit: usize,
) -> Result<Vec<ExpiredHold>, Failure> {
    let text = "SELECT id, product_id, qty, expires_at FROM holds FORCE INDEX (holds_product_expiry) \
        WHERE product_id = ? AND status = 'active' AND expires_at < UTC_TIMESTAMP(6) \
        ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED";
    let limit = limit.try_into().unwrap_or(i64::MAX);
    Ok(Statement::new(text).integer(product_id.get()).integer(limit).rows(conn).await?)
}

/// Whether one of these products is being sold: one of the last thousand holds, by the primary key, is of it and was made
/// in the last second. A product that is sold less often than that doesn't mind who else has its row.
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

/// A hold to be made.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// Units.
    pub qty: Quantity,
    /// The request that makes it.
    pub request_id: RequestId,
    /// Who holds.
    pub buyer_id: Option<BuyerId>,
}

/// Makes active holds of one product, created at a moment that was read before.
pub fn insert(
    script: &mut Script,
    product_id: ProductId,
    unit_price_cents: i64,
    created_at: SystemTime,
    expires_at: SystemTime,
    holds: &[NewHold],
) {
    script.insert_for_ids(
        INTO,
        rows(product_id, unit_price_cents, &timestamp(created_at), &timestamp(expires_at), holds),
    );
}

/// Makes active holds of one product, created when the script gets there, and lasting `ttl`.
pub fn insert_at_its_moment(
    script: &mut Script,
    product_id: ProductId,
    unit_price_cents: i64,
    ttl: Duration,
    holds: &[NewHold],
) {
    script.insert_at_its_moment(INTO, ttl, rows(product_id, unit_price_cents, "@moment", "@expires_at", holds));
}

const INTO: &str = "holds (product_id,unit_price_cents,created_at,expires_at,qty,request_id,buyer_id)";

fn rows<'h>(
    product_id: ProductId,
    unit_price_cents: i64,
    created_at: &str,
    expires_at: &str,
    holds: &'h [NewHold],
) -> impl Iterator<Item = String> + use<'h> {
    let shared = format!("{product_id},{unit_price_cents},{created_at},{expires_at}");
    holds.iter().map(move |hold| {
        let request_id = bytes(hold.request_id.as_bytes());
        let buyer_id = bytes_or_null(hold.buyer_id.as_ref().map(BuyerId::as_bytes));
        format!("({shared},{},{request_id},{buyer_id})", hold.qty.get())
    })
}

/// Changes the status of locked holds, all of which have the status `from`.
pub fn set_status(script: &mut Script, ids: &[HoldId], from: HoldStatus, to: HoldStatus) {
    if ids.is_empty() {
        return;
    }
    let (from, to) = (as_str(from), as_str(to));
    let id_list = list(ids.iter().map(|id| id.get()));
    script.write(
        ids.len(),
        format_args!(
            "UPDATE holds FORCE INDEX (PRIMARY) SET status = '{to}' WHERE id IN ({id_list}) AND status = '{from}'"
        ),
    );
}

fn as_str(status: HoldStatus) -> &'static str {
    match status {
        HoldStatus::Active => "active",
        HoldStatus::Used => "used",
        HoldStatus::Expired => "expired",
        HoldStatus::Cancelled => "cancelled",
    }
}
