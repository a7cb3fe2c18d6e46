//! What buyers have of a product with a limit: table `holds`, by its index on product, buyer and status, which alone is
//! read. What is over and done with, however much, is nowhere near what is read.
//!
//! What a buyer has can still be much: somebody who sells for many has as many holds as units. A [`Bound`] spares the
//! database from adding them up for each hold. Holds of one product are made one transaction after the other, since each
//! has the product's row locked from before its INSERT until it has committed, and a lock is let go only once what was
//! done under it shows. An id is given out by the INSERT, and the ids of a table ascend. So a statement that sees one hold
//! of a product sees all holds of it with smaller ids, and none with a smaller id can come later. From then on those can
//! only lose units: no hold gets more, and none comes back to life. The sum that such a statement saw is an upper bound for
//! ever, whoever reads it, on whichever server, locked or not.
//!
//! Several primaries that write at the same moment have no such order of ids, and a database that was set back to an earlier
//! moment gives ids out again. The service asks for one primary. Whoever keeps bounds forgets them when ids go back.

use std::collections::{BTreeMap, BTreeSet};

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary},
};

use super::{
    Connection, Failure,
    holds::{self, ExpiredHold, NewHold},
    render::{push_hex, write_hex_literal},
    statement::Statement,
};
use crate::domain::{BuyerId, HoldId, ProductId, ids::TOKEN_LENGTH_MAX};

/// What a buyer has of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Units in active holds, and in orders that aren't cancelled, whose holds are `used`.
    pub units: i64,
    /// Those of them in active holds whose time is over.
    pub past_units: i64,
    /// How many holds that are.
    pub holds: i64,
    /// The last of these holds.
    pub last_id: HoldId,
}

impl Taken {
    /// What this says of all later moments.
    pub fn bound(&self) -> Bound {
        Bound { units: self.units, last_id: self.last_id }
    }
}

/// What a buyer has of a product at the most, but for later holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Units in holds up to `last_id`, those past their time among them.
    pub units: i64,
    /// The last hold that counts here.
    pub last_id: HoldId,
}

/// Ids in one statement. A prepared one may have 65,535 values.
const IDS_MAX: usize = 4096;

/// SQL of what these buyers have of a product, up to its conditions: the list is an SQL text in JSON, and the product an SQL
/// integer.
///
/// Each buyer is looked up with each status that counts. A list as in `buyer_id IN (…)` is left to the optimizer, which takes
/// a long one by what the index has for a buyer on average: one buyer with very many rows, and it reads all of them, or
/// everybody's. ELT, since a text out of a derived table might have another collation than the column.
fn lookups(list: &str, product: &str) -> String {
    format!(
        "FROM JSON_TABLE({list}, '$[*]' COLUMNS (buyer VARCHAR({HEX_LENGTH_MAX}) PATH '$')) AS asked_for \
        STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts \
        STRAIGHT_JOIN {} ON product_id = {product} AND buyer_id = UNHEX(buyer) \
        AND status = ELT(number, 'active', 'used')",
        holds::BY_BUYER
    )
}

/// Two digits for each byte.
const HEX_LENGTH_MAX: usize = 2 * TOKEN_LENGTH_MAX;

/// SQL of such a list that a statement has as a value.
const LIST: &str = "CONVERT(? USING utf8mb4)";

/// Buyers in JSON, each once.
fn json<'b>(buyers: impl IntoIterator<Item = &'b BuyerId>) -> String {
    let buyers: BTreeSet<&BuyerId> = buyers.into_iter().collect();
    let mut text = String::from("[");
    for (index, buyer) in buyers.into_iter().enumerate() {
        text.push_str(if index == 0 { "\"" } else { ",\"" });
        push_hex(&mut text, buyer.as_bytes());
        text.push('"');
    }
    text.push(']');
    text
}

/// A statement's text about what buyers have of a product; those without any are left out. Its values are those of
/// [`add_taken_values`].
pub(super) fn taken() -> String {
    format!(
        "SELECT UNHEX(buyer) AS buyer_id, CAST(SUM(qty) AS SIGNED) AS units, \
        CAST(SUM(IF(status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units, \
        COUNT(*) AS holds, MAX(id) AS last_id {} GROUP BY buyer ORDER BY NULL",
        lookups(LIST, "?")
    )
}

/// Adds the values of [`taken`].
pub(super) fn add_taken_values<'b>(
    statement: Statement,
    product_id: ProductId,
    buyers: impl IntoIterator<Item = &'b BuyerId>,
) -> Statement {
    statement.bytes(json(buyers).as_bytes()).integer(product_id.get())
}

/// What these buyers have of this product, read without a lock. Buyers without any are left out.
pub async fn taken_by(
    conn: &mut Connection,
    product_id: ProductId,
    buyers: &[&BuyerId],
) -> Result<BTreeMap<BuyerId, Taken>, Failure> {
    #[derive(QueryableByName)]
    struct TakenRow {
        #[diesel(sql_type = Binary)]
        buyer_id: BuyerId,
        #[diesel(sql_type = BigInt)]
        units: i64,
        #[diesel(sql_type = BigInt)]
        past_units: i64,
        #[diesel(sql_type = BigInt)]
        holds: i64,
        #[diesel(sql_type = BigInt)]
        last_id: HoldId,
    }
    if buyers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let statement = add_taken_values(Statement::new(&taken()), product_id, buyers.iter().copied());
    let rows: Vec<TakenRow> = statement.rows(conn).await?;
    let taken = |TakenRow { buyer_id, units, past_units, holds, last_id }| {
        (buyer_id, Taken { units, past_units, holds, last_id })
    };
    Ok(rows.into_iter().map(taken).collect())
}

/// Adds to a buyer's bound what that buyer has beyond it, read without a lock.
pub async fn move_on(
    conn: &mut Connection,
    product_id: ProductId,
    buyer: &BuyerId,
    bound: Bound,
) -> Result<Bound, Failure> {
    #[derive(QueryableByName)]
    struct Later {
        #[diesel(sql_type = BigInt)]
        units: i64,
        #[diesel(sql_type = BigInt)]
        last_id: HoldId,
    }
    let text = format!(
        "SELECT CAST(COALESCE(SUM(qty), 0) AS SIGNED) AS units, COALESCE(MAX(id), 0) AS last_id FROM {} \
        WHERE product_id = ? AND buyer_id = ? AND status IN ('active', 'used') AND id > ?",
        holds::BY_BUYER
    );
    let statement =
        Statement::new(&text).integer(product_id.get()).bytes(buyer.as_bytes()).integer(bound.last_id.get());
    let rows: Vec<Later> = statement.rows(conn).await?;
    Ok(rows.into_iter().fold(bound, |bound, later| Bound {
        units: bound.units + later.units,
        last_id: bound.last_id.max(later.last_id),
    }))
}

/// Locks up to `limit` of these buyers' active holds of this product whose time is over and that nobody else has locked.
/// Returns each one with its buyer.
///
/// They are looked for without a lock: a buyer may have very many others, each of which would be locked and let go.
pub async fn lock_past_of(
    conn: &mut Connection,
    product_id: ProductId,
    buyers: &[&BuyerId],
    limit: usize,
) -> Result<Vec<(BuyerId, ExpiredHold)>, Failure> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let text = format!("SELECT id {} AND number = 1 AND expires_at < UTC_TIMESTAMP(6) LIMIT ?", lookups(LIST, "?"));
    let statement = add_taken_values(Statement::new(&text), product_id, buyers.iter().copied());
    let statement = statement.integer(limit.try_into().unwrap_or(i64::MAX));
    let ids: Vec<Id> = statement.rows(&mut *conn).await?;
    let mut ids: Vec<i64> = ids.into_iter().map(|row| row.id).collect();
    ids.sort_unstable();
    let mut locked = Vec::new();
    for ids in ids.chunks(IDS_MAX) {
        let rows = holds::lock_active(&mut *conn, ids).await?;
        locked.extend(rows.into_iter().filter_map(|(buyer_id, hold)| Some((buyer_id?, hold))));
    }
    Ok(locked)
}

/// What each buyer wants of a batch of holds.
pub fn wanted(new: &[NewHold]) -> BTreeMap<&BuyerId, i64> {
    let mut wanted = BTreeMap::new();
    for hold in new {
        if let Some(buyer_id) = &hold.buyer_id {
            *wanted.entry(buyer_id).or_default() += hold.qty.units();
        }
    }
    wanted
}

/// SQL of a condition: none of the buyers gets over the limit, what is past its time and not yet taken back counted too.
/// Of a buyer with a bound only later holds are looked at. Part of an UPDATE, it reads without a lock.
pub(super) fn within_limit(
    product_id: ProductId,
    limit: i64,
    new: &[NewHold],
    bounds: &BTreeMap<BuyerId, Bound>,
) -> String {
    let mut condition = String::from("TRUE");
    let (mut others, mut wanted_max) = (Vec::new(), 0);
    for (buyer, units) in wanted(new) {
        match bounds.get(buyer) {
            Some(bound) => {
                let mut buyer_id = String::new();
                write_hex_literal(&mut buyer_id, buyer.as_bytes());
                condition.push_str(&format!(
                    " AND {} >= COALESCE((SELECT SUM(qty) FROM {} \
                    WHERE product_id = {product_id} AND buyer_id = {buyer_id} \
                    AND status IN ('active', 'used') AND id > {}), 0)",
                    limit - bound.units - units,
                    holds::BY_BUYER,
                    bound.last_id,
                ));
            }
            None => {
                others.push(buyer);
                wanted_max = wanted_max.max(units);
            }
        }
    }
    if !others.is_empty() {
        condition.push_str(&format!(
            " AND NOT EXISTS (SELECT 1 {} GROUP BY buyer HAVING SUM(qty) > {} ORDER BY NULL)",
            lookups(&format!("'{}'", json(others)), &product_id.to_string()),
            limit - wanted_max,
        ));
    }
    condition
}
