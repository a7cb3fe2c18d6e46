//! The keys of the tables. The unique keys are the last guard of "once", and the audit reads by all keys listed here.

use std::collections::BTreeMap;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Text},
};

use super::Finding;
use crate::db::{Connection, Failure, statement::Statement};

/// Describes a key that has to be there.
struct Key {
    table: &'static str,
    name: &'static str,
    unique: bool,
    columns: &'static str,
}

const fn unique(table: &'static str, name: &'static str, columns: &'static str) -> Key {
    Key { table, name, unique: true, columns }
}

const fn key(table: &'static str, name: &'static str, columns: &'static str) -> Key {
    Key { table, name, unique: false, columns }
}

const KEYS: [Key; 21] = [
    unique("products", "PRIMARY", "id"),
    unique("products", "products_request", "request_id"),
    unique("holds", "PRIMARY", "id"),
    unique("holds", "holds_request", "product_id,request_id"),
    key("holds", "holds_expiry", "status,expires_at"),
    key("holds", "holds_product_expiry", "product_id,status,expires_at"),
    unique("orders", "PRIMARY", "id"),
    unique("orders", "orders_hold", "hold_id"),
    key("orders", "orders_due", "status,payment_due_at"),
    key("orders", "orders_product_due", "product_id,status,payment_due_at"),
    key("orders", "orders_settled", "product_id,settled_at"),
    key("orders", "orders_buyer", "product_id,buyer_id"),
    unique("operator_actions", "PRIMARY", "id"),
    unique("payment_webhooks", "PRIMARY", "id"),
    unique("payment_webhooks", "payment_webhooks_key", "idempotency_key"),
    key("payment_webhooks", "payment_webhooks_order", "order_id"),
    unique("payment_exceptions", "PRIMARY", "id"),
    unique("payment_exceptions", "payment_exceptions_key", "idempotency_key"),
    unique("stock_adjustments", "PRIMARY", "id"),
    unique("stock_adjustments", "stock_adjustments_request", "product_id,request_id"),
    key("holds", "holds_buyer", "product_id,buyer_id,status,id,qty,expires_at"),
];

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Text)]
    columns: String,
    #[diesel(sql_type = BigInt)]
    repeats: i64,
}

/// Returns what is wrong with the keys, and whether the audit can read the tables.
///
/// The audit can't read them where a key is missing.
///
/// # Errors
/// The errors of the statement.
pub async fn faults(conn: &mut Connection) -> Result<(Vec<Finding>, bool), Failure> {
    // A key and its columns are written as they are compared below.
    let text = "SELECT CONCAT(table_name, ' ', index_name) AS `key`, \
        GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ',') AS `columns`, \
        CAST(MAX(non_unique) AS SIGNED) AS repeats FROM information_schema.statistics \
        WHERE table_schema = DATABASE() GROUP BY table_name, index_name";
    let rows: Vec<KeyRow> = Statement::new(text).rows(conn).await?;
    let there: BTreeMap<String, (String, bool)> =
        rows.into_iter().map(|row| (row.key, (row.columns, row.repeats == 0))).collect();
    let mut findings = Vec::new();
    let mut readable = true;
    for Key { table, name, unique, columns } in KEYS {
        let found = there.get(&format!("{table} {name}"));
        let (kind, what_to_do) = match found {
            Some((there, is_unique)) if there == columns && (*is_unique || !unique) => continue,
            Some((there, _)) if there == columns => {
                ("key_not_unique", "drop what is there twice as the other findings say, then make the key unique again")
            }
            Some(_) | None => {
                readable = false;
                ("key_missing", "add the key as in the migrations, then audit again: no row was looked at")
            }
        };
        let describe = |unique: bool, columns: &str| {
            format!("{} {name} ({columns}) of {table}", if unique { "unique key" } else { "key" })
        };
        findings.push(Finding {
            expected: describe(unique, columns),
            found: found.map_or_else(|| "none".to_owned(), |(columns, unique)| describe(*unique, columns)),
            ..Finding::of_kind(kind, what_to_do)
        });
    }
    Ok((findings, readable))
}
