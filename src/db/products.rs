//! Table `products`.

use std::{collections::BTreeMap, time::SystemTime};

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods, QueryDsl, Queryable, QueryableByName,
    Selectable, SelectableHelper,
    dsl::{not, sql},
    expression::SqlLiteral,
    mysql::Mysql,
    sql_types::{BigInt, Binary, Bool, Datetime, Nullable, Text},
};
use sha2::{Digest, Sha256};

use super::{
    Connection, Failure, Script,
    buyer_units::{self, Bound, BuyerUnits},
    holds::{self, NewHold},
    lapsed, orders,
    read::{padded, read as select, row_time, statement_time},
    render::Index,
    schema::products,
    statement::{Statement, columns_of, datetime, system_time},
};
use crate::domain::{BuyerId, HoldId, LapsedUnits, NewProduct, Product, ProductId, ProductName, RequestId, StockDelta};

const PRIMARY: Index = Index { table: "products", name: "PRIMARY" };

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = products, check_for_backend(Mysql))]
struct ProductRow {
    id: ProductId,
    price_cents: i64,
    total_stock: i64,
    available_stock: i64,
    max_per_buyer: Option<i32>,
    starts_at: Option<NaiveDateTime>,
    ends_at: Option<NaiveDateTime>,
    paused: bool,
    #[diesel(select_expression = named_row_time(), select_expression_type = SqlLiteral<Datetime>, sql_type = Datetime)]
    now: NaiveDateTime,
}

/// Returns SQL of [`row_time`] with a name, for a row that is read by its columns' names.
fn named_row_time() -> SqlLiteral<Datetime> {
    sql("SYSDATE(6) AS now")
}

impl ProductRow {
    fn into_product(self) -> (Product, SystemTime) {
        let product = Product {
            id: self.id,
            price_cents: self.price_cents,
            total_stock: self.total_stock,
            available_stock: self.available_stock,
            max_per_buyer: self.max_per_buyer,
            starts_at: self.starts_at.map(system_time),
            ends_at: self.ends_at.map(system_time),
            paused: self.paused,
        };
        (product, system_time(self.now))
    }
}

/// Locks a product, by its primary key, and reads it and the time.
pub async fn lock(conn: &mut Connection, id: ProductId) -> Result<Option<(Product, SystemTime)>, Failure> {
    let query = products::table.find(id.get()).select(ProductRow::as_select()).for_update();
    let row: Option<ProductRow> = select(query).first(conn).await?;
    Ok(row.map(ProductRow::into_product))
}

/// Reads a product by its primary key, and its lapsed units. Both are of one moment, and nothing is locked.
pub async fn read(conn: &mut Connection, id: ProductId) -> Result<Option<(Product, LapsedUnits)>, Failure> {
    #[derive(QueryableByName)]
    struct Read {
        #[diesel(embed)]
        product: ProductRow,
        #[diesel(embed)]
        lapsed: lapsed::LapsedRow,
    }
    let columns = columns_of::<ProductRow>()?;
    let text = format!("SELECT {columns}, {} FROM products WHERE id = ?", lapsed::columns("?"));
    let statement = Statement::new(&text).integer(id.get()).integer(id.get()).integer(id.get());
    let rows: Vec<Read> = statement.rows(conn).await?;
    Ok(rows.into_iter().next().map(|row| (row.product.into_product().0, row.lapsed.into())))
}

/// Locks and reads those of these products that nobody else has locked, in the order of their ids.
///
/// It waits for no lock. The primary key is forced, because the optimizer would rather lock every row of a small table.
pub async fn lock_free(
    conn: &mut Connection,
    ids: impl IntoIterator<Item = ProductId>,
) -> Result<BTreeMap<ProductId, Product>, Failure> {
    let ids: Vec<i64> = ids.into_iter().map(ProductId::get).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let query = products::table
        .filter(products::id.eq_any(padded(ids)))
        .order(products::id)
        .select(ProductRow::as_select())
        .for_update()
        .skip_locked();
    let rows: Vec<ProductRow> = select(query).force_index(PRIMARY).rows(conn).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.into_product().0)).collect())
}

/// Holds an unlocked view of a product, with what its row doesn't show.
#[derive(Debug, Clone)]
pub struct UnlockedView {
    /// The product.
    pub product: Product,
    /// When it was read.
    pub now: SystemTime,
    /// Whether it has an expired hold or an overdue order, whose units could be taken back.
    pub any_to_take_back: bool,
    /// What each of the buyers asked for has of the product. Buyers who have nothing are left out.
    pub units_by_buyer: BTreeMap<BuyerId, BuyerUnits>,
}

/// Reads a product, whether it has anything to take back, and what these buyers have of it.
///
/// It reads by the indexes that begin with the product, and locks nothing.
///
/// It is one statement, because one statement sees one moment. With two statements, units that a sweep moves from a
/// hold to the product in between would be seen by neither. The units of a buyer who releases a hold in between would
/// be seen by both.
pub async fn read_unlocked(
    conn: &mut Connection,
    id: ProductId,
    buyers: impl Iterator<Item = &BuyerId>,
) -> Result<Option<UnlockedView>, Failure> {
    #[derive(QueryableByName)]
    struct UnlockedRow {
        #[diesel(embed)]
        product: ProductRow,
        #[diesel(sql_type = BigInt)]
        any_to_take_back: i64,
        #[diesel(sql_type = Nullable<Binary>)]
        buyer_id: Option<Vec<u8>>,
        #[diesel(sql_type = Nullable<BigInt>)]
        units: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        past_units: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        holds: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        last_id: Option<i64>,
    }
    let buyers: Vec<&BuyerId> = buyers.collect();
    let (units, rest) = if buyers.is_empty() {
        let nobody = "NULL AS buyer_id, NULL AS units, NULL AS past_units, NULL AS holds, NULL AS last_id";
        (nobody, String::new())
    } else {
        ("units_by_buyer.*", format!(" LEFT JOIN ({}) AS units_by_buyer ON TRUE", buyer_units::select_units()))
    };
    let text = format!(
        "SELECT {}, CAST(EXISTS (SELECT 1 FROM {} \
            WHERE product_id = ? AND status = 'active' AND expires_at < UTC_TIMESTAMP(6)) \
        OR EXISTS (SELECT 1 FROM {} \
            WHERE product_id = ? AND status = 'pending' AND payment_due_at < UTC_TIMESTAMP(6)) AS SIGNED) \
        AS any_to_take_back, {units} FROM products{rest} WHERE id = ?",
        columns_of::<ProductRow>()?,
        holds::BY_PRODUCT_AND_EXPIRY,
        orders::BY_PRODUCT_AND_DUE,
    );
    let mut statement = Statement::new(&text).integer(id.get()).integer(id.get());
    if !buyers.is_empty() {
        statement = buyer_units::add_values(statement, id, buyers);
    }
    let rows: Vec<UnlockedRow> = statement.integer(id.get()).rows(conn).await?;
    let mut view = None;
    for UnlockedRow { product, any_to_take_back, buyer_id, units, past_units, holds, last_id } in rows {
        let (product, now) = product.into_product();
        let any_to_take_back = any_to_take_back != 0;
        let view = view.get_or_insert(UnlockedView { product, now, any_to_take_back, units_by_buyer: BTreeMap::new() });
        if let (Some(buyer_id), Some(units), Some(past_units), Some(holds), Some(last_id)) =
            (buyer_id, units, past_units, holds, last_id)
        {
            let units = BuyerUnits { units, past_units, holds, last_id: HoldId::stored(last_id) };
            view.units_by_buyer.insert(BuyerId::stored(buyer_id), units);
        }
    }
    Ok(view)
}

/// Describes a product for a list, as it is stored.
#[derive(Debug, Clone)]
pub struct ListedProduct {
    /// Its name.
    pub name: String,
    /// The product.
    pub product: Product,
    /// What it has past its time, and not yet taken back.
    pub lapsed: LapsedUnits,
    /// When it was read.
    pub now: SystemTime,
}

/// Reads up to `limit` products that are older than `before`, newest first, each with what it has past its time.
pub async fn list(
    conn: &mut Connection,
    before: Option<ProductId>,
    limit: usize,
) -> Result<Vec<ListedProduct>, Failure> {
    #[derive(QueryableByName)]
    struct ListedRow {
        #[diesel(embed)]
        product: ProductRow,
        #[diesel(embed)]
        lapsed: lapsed::LapsedRow,
        #[diesel(sql_type = Text)]
        name: String,
    }
    let text = format!(
        "SELECT {}, {}, products.name FROM {PRIMARY} WHERE id < ? ORDER BY id DESC LIMIT ?",
        columns_of::<ProductRow>()?,
        lapsed::columns("products.id"),
    );
    let before = before.map_or(i64::MAX, ProductId::get);
    let statement = Statement::new(&text).integer(before).integer(limit.try_into().unwrap_or(i64::MAX));
    let rows: Vec<ListedRow> = statement.rows(conn).await?;
    let listed = |ListedRow { product, lapsed, name }: ListedRow| {
        let (product, now) = product.into_product();
        ListedProduct { name, product, lapsed: lapsed.into(), now }
    };
    Ok(rows.into_iter().map(listed).collect())
}

/// Reads a product's name, by its primary key.
pub async fn name(conn: &mut Connection, id: ProductId) -> Result<Option<String>, Failure> {
    Ok(select(products::table.find(id.get()).select(products::name)).first(conn).await?)
}

/// Makes the digest that tells apart different requests with the same request_id.
///
/// It is stored, because the product's own columns change later, and later versions compare it. So it is made of
/// numbers and the name, and of no text that a library may write in another way one day.
fn digest(product: &NewProduct) -> Vec<u8> {
    let NewProduct { name, price_cents, total_stock, max_per_buyer, starts_at, ends_at } = product;
    let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let micros = |moment: Option<SystemTime>| number(moment.map(|at| DateTime::<Utc>::from(at).timestamp_micros()));
    let limit = number(max_per_buyer.map(i64::from));
    let numbers = format!("{price_cents} {total_stock} {limit} {} {} ", micros(*starts_at), micros(*ends_at));
    Sha256::new().chain_update(numbers).chain_update(name.as_str()).finalize().to_vec()
}

/// Reads the product that was put on sale with this request_id, by the unique key.
///
/// Also tells whether it was the same request.
pub async fn created_by(
    conn: &mut Connection,
    request_id: &RequestId,
    request: &NewProduct,
) -> Result<Option<(ProductId, bool)>, Failure> {
    let query = products::table
        .filter(products::request_id.eq(request_id.as_bytes()))
        .select((products::id, products::request_digest));
    let created: Option<(ProductId, Vec<u8>)> = select(query).first(conn).await?;
    Ok(created.map(|(id, request_digest)| (id, request_digest == digest(request))))
}

/// Puts a product on sale.
pub fn insert(script: &mut Script, request_id: &RequestId, product: &NewProduct) {
    let row = (
        products::name.eq(product.name.as_str()),
        products::price_cents.eq(product.price_cents),
        products::total_stock.eq(product.total_stock),
        products::available_stock.eq(product.total_stock),
        products::max_per_buyer.eq(product.max_per_buyer),
        products::starts_at.eq(product.starts_at.map(datetime)),
        products::ends_at.eq(product.ends_at.map(datetime)),
        products::request_id.eq(request_id.as_bytes()),
        products::request_digest.eq(digest(product)),
        products::created_at.eq(statement_time()),
    );
    script.insert_for_ids(diesel::insert_into(products::table).values(row));
}

/// Takes units from what is available, where enough are available.
pub fn take(script: &mut Script, id: ProductId, units: i64) {
    let row = products::table.find(id.get()).filter(products::available_stock.ge(units));
    script.update(1, diesel::update(row).set(products::available_stock.eq(products::available_stock - units)));
}

/// Takes units for new holds as [`take`] does, where the sale is still as `product` says.
///
/// `product` may have been read long ago. So the statement checks that the price and the limit for a buyer are as in
/// `product`, and that the sale is on at this moment. It also checks that none of the buyers gets over the limit. For
/// some buyers `bounds` has a number of units that they can't exceed. After `last_moment`, by the database's clock,
/// nothing is taken: nobody waits any more for a text that comes so late.
pub fn take_optimistically(
    script: &mut Script,
    product: &Product,
    units: i64,
    new: &[NewHold],
    bounds: &BTreeMap<BuyerId, Bound>,
    last_moment: SystemTime,
) {
    let row = products::table.find(product.id.get());
    let mut update = diesel::update(row)
        .into_boxed()
        .filter(products::available_stock.ge(units))
        .filter(products::price_cents.eq(product.price_cents))
        .filter(not(products::paused))
        .filter(products::starts_at.is_null().or(products::starts_at.le(row_time().nullable())))
        .filter(products::ends_at.is_null().or(products::ends_at.gt(row_time().nullable())))
        .filter(row_time().le(datetime(last_moment)));
    update = match product.max_per_buyer {
        None => update.filter(products::max_per_buyer.is_null()),
        Some(limit) => {
            // An UPDATE sees what was committed when it began, not when it got the row's lock. So the row is locked
            // before. Then the UPDATE sees every other hold of these buyers, because each was made under the same lock.
            script.lock(row.select(products::id).for_update());
            let within_limit = buyer_units::within_limit(product.id, i64::from(limit), new, bounds);
            update.filter(products::max_per_buyer.eq(limit)).filter(sql::<Bool>(&within_limit))
        }
    };
    script.update(1, update.set(products::available_stock.eq(products::available_stock - units)));
}

/// Gives units back to what is available, where that doesn't exceed the total.
pub fn give_back(script: &mut Script, id: ProductId, units: i64) {
    let row = products::table.find(id.get()).filter((products::available_stock + units).le(products::total_stock));
    script.update(1, diesel::update(row).set(products::available_stock.eq(products::available_stock + units)));
}

/// Stores what an operator may change of a locked product, and its name where that is to change.
pub fn update(script: &mut Script, product: &Product, name: Option<&ProductName>) {
    let changes = (
        name.map(|name| products::name.eq(name.as_str())),
        products::price_cents.eq(product.price_cents),
        products::max_per_buyer.eq(product.max_per_buyer),
        products::starts_at.eq(product.starts_at.map(datetime)),
        products::ends_at.eq(product.ends_at.map(datetime)),
        products::paused.eq(product.paused),
    );
    script.update(1, diesel::update(products::table.find(product.id.get())).set(changes));
}

/// Adds units to the total and to what is available, or takes them from both where enough are available.
pub fn adjust(script: &mut Script, id: ProductId, delta: StockDelta) {
    let delta = delta.get();
    let row = products::table.find(id.get()).filter((products::available_stock + delta).ge(0));
    let changes = (
        products::total_stock.eq(products::total_stock + delta),
        products::available_stock.eq(products::available_stock + delta),
    );
    script.update(1, diesel::update(row).set(changes));
}

/// Corrects what is available of a locked product.
pub fn correct_available(script: &mut Script, id: ProductId, from: i64, to: i64) {
    let row = products::table.find(id.get()).filter(products::available_stock.eq(from));
    script.update(1, diesel::update(row).set(products::available_stock.eq(to)));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hex_digest(product: &NewProduct) -> String {
        digest(product).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Compares with digests that sha256sum made, because a stored digest must mean the same to every later version.
    #[test]
    fn a_digest_is_of_numbers_and_microseconds_and_the_name() {
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_micros(1);
        let full = NewProduct {
            name: ProductName::parse("Shoe").unwrap(),
            price_cents: 1000,
            total_stock: 5,
            max_per_buyer: Some(2),
            starts_at: Some(before_1970),
            ends_at: Some(SystemTime::UNIX_EPOCH + Duration::from_micros(1_737_981_120_000_001)),
        };
        let bare = NewProduct { max_per_buyer: None, starts_at: None, ends_at: None, ..full.clone() };
        assert_eq!(hex_digest(&full), "036093d6554e17f230f772ed9174079bdf50694122d89e627a708d082c49fa7e");
        assert_eq!(hex_digest(&bare), "2f6c792358fc963fa15dd0ec728ab6731e61fd6117960bdc0fd074eb0a6e07cb");
    }
}
