//! What buyers have of a product with a limit, counted from table `holds`.
//!
//! Only the index on product, buyer and status is read. So holds that are over are never read, however many there are.
//!
//! A buyer may still have very many holds: somebody who buys for many people has as many holds as units. A [`Bound`]
//! spares the database from adding them up for each new hold.
//!
//! A bound stays true for this reason. Holds of one product are made by one transaction after the other. Each
//! transaction has the product's row locked from before its INSERT until it has committed, and the lock is let go only
//! once the commit can be seen. The INSERT gives out the ids, and the ids of a table ascend. So a statement that sees
//! one hold of a product sees all its holds with smaller ids, and no hold with a smaller id can come later. From then
//! on these holds can only lose units: no hold gets more units, and no hold comes back to life. So the sum that the
//! statement saw is an upper bound for ever. That is so on every server, and whether a lock was taken or not.
//!
//! Several primaries that write at the same moment don't give out ids in such an order. So the service asks for one
//! primary. A database that was set back to an earlier moment gives out ids again. So whoever keeps bounds forgets them
//! when ids go back.

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
use crate::domain::{BuyerId, HoldId, ProductId, ids::CALLER_ID_LENGTH_MAX};

/// Counts what a buyer has of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuyerUnits {
    /// Units in active holds, and in `used` holds, whose orders aren't cancelled.
    pub units: i64,
    /// The part of `units` that is in active holds whose time is over.
    pub past_units: i64,
    /// The number of these holds, active and used.
    pub holds: i64,
    /// The highest id of these holds.
    pub last_id: HoldId,
}

impl BuyerUnits {
    /// Returns the bound that stays true at all later moments.
    pub fn bound(&self) -> Bound {
        Bound { units: self.units, last_id: self.last_id }
    }
}

/// Limits what a buyer can have of a product, apart from later holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Units in holds up to `last_id`, including those past their time.
    pub units: i64,
    /// The highest id of the holds that are counted.
    pub last_id: HoldId,
}

/// Limits the ids in one statement. A prepared statement may have 65,535 values.
const IDS_MAX: usize = 4096;

/// Writes the SQL of what buyers have of a product, from FROM up to its further conditions.
///
/// `list` is SQL of a text in JSON, and `product` is SQL of an integer.
///
/// Each buyer is looked up with each status that counts. With a list such as `buyer_id IN (…)` the optimizer would
/// decide how to read. It judges a long list by the average number of rows that a buyer has in the index. One buyer
/// with very many rows is enough, and it reads all rows of that buyer, or of all buyers. ELT is there because a text
/// from a derived table might have another collation than the column.
fn lookups(list: &str, product: &str) -> String {
    format!(
        "FROM JSON_TABLE({list}, '$[*]' COLUMNS (buyer VARCHAR({HEX_LENGTH_MAX}) PATH '$')) AS asked_for \
        STRAIGHT_JOIN (SELECT 1 AS number UNION ALL SELECT 2) AS counts \
        STRAIGHT_JOIN {} ON product_id = {product} AND buyer_id = UNHEX(buyer) \
        AND status = ELT(number, 'active', 'used')",
        holds::BY_BUYER
    )
}

/// Limits the length of a buyer's id in hex: two digits for each byte.
const HEX_LENGTH_MAX: usize = 2 * CALLER_ID_LENGTH_MAX;

/// Stands for the list where the SQL has it as a value.
const LIST: &str = "CONVERT(? USING utf8mb4)";

/// Writes buyers in JSON, each once.
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

/// Writes the text of a statement that reads what buyers have of a product.
///
/// Buyers who have nothing are left out. [`add_values`] adds its values.
pub(super) fn select_units() -> String {
    format!(
        "SELECT UNHEX(buyer) AS buyer_id, CAST(SUM(qty) AS SIGNED) AS units, \
        CAST(SUM(IF(status = 'active' AND expires_at < UTC_TIMESTAMP(6), qty, 0)) AS SIGNED) AS past_units, \
        COUNT(*) AS holds, MAX(id) AS last_id {} GROUP BY buyer ORDER BY NULL",
        lookups(LIST, "?")
    )
}

/// Adds the values for the text of [`select_units`].
pub(super) fn add_values<'b>(
    statement: Statement,
    product_id: ProductId,
    buyers: impl IntoIterator<Item = &'b BuyerId>,
) -> Statement {
    statement.bytes(json(buyers).as_bytes()).integer(product_id.get())
}

/// Reads what these buyers have of this product, without a lock. Buyers who have nothing are left out.
pub async fn of_buyers(
    conn: &mut Connection,
    product_id: ProductId,
    buyers: &[&BuyerId],
) -> Result<BTreeMap<BuyerId, BuyerUnits>, Failure> {
    #[derive(QueryableByName)]
    struct BuyerUnitsRow {
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
    let statement = add_values(Statement::new(&select_units()), product_id, buyers.iter().copied());
    let rows: Vec<BuyerUnitsRow> = statement.rows(conn).await?;
    let units = |BuyerUnitsRow { buyer_id, units, past_units, holds, last_id }| {
        (buyer_id, BuyerUnits { units, past_units, holds, last_id })
    };
    Ok(rows.into_iter().map(units).collect())
}

/// Adds to a buyer's bound what that buyer has in later holds, read without a lock.
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

/// Locks up to `limit` active holds that these buyers have of this product and whose time is over.
///
/// Holds that somebody else has locked are left out. Each hold is returned with its buyer.
///
/// The holds are looked for without a lock. A buyer may have very many other holds, and a locking read would lock each
/// of them and let it go.
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
    let statement = add_values(Statement::new(&text), product_id, buyers.iter().copied());
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

/// Adds up the units that each buyer wants in a batch of holds.
pub fn wanted(new: &[NewHold]) -> BTreeMap<&BuyerId, i64> {
    let mut wanted = BTreeMap::new();
    for hold in new {
        if let Some(buyer_id) = &hold.buyer_id {
            *wanted.entry(buyer_id).or_default() += hold.qty.units();
        }
    }
    wanted
}

/// Writes the SQL condition that none of the buyers gets over the limit.
///
/// Units that are past their time and not yet taken back count as well. For a buyer with a bound only later holds are
/// read. The condition is part of an UPDATE, and reads without a lock.
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
