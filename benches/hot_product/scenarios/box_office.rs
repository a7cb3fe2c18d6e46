//! One product with a limit for each buyer, one of whom sells for many: each eighth hold is that buyer's. It had nothing
//! before, or thousands of holds that count, or a great many that no longer do.

use super::{BUILDS, many};
use crate::{
    bench::{Bench, PLENTY},
    callers::{self, BOX_OFFICE, Hold},
    results::Design,
};

/// Rows in one INSERT: a join of two lists, since each engine limits how deep a recursion goes, by another setting.
const ROWS_EACH: i64 = 10_000;

pub(crate) async fn box_office(bench: &mut Bench) {
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &BUILDS) {
            beside(bench, "box_office_none", design, 0, 0).await;
            beside(bench, "box_office_live", design, 20_000, 0).await;
            beside(bench, "box_office_dead", design, 0, 300_000).await;
        }
    }
}

async fn beside(bench: &mut Bench, scenario: &str, design: Design, live: i64, dead: i64) {
    let clients = many(bench);
    let address = bench.address(design);
    let product = callers::create_product(&address, PLENTY, Some(10_000_000)).await;
    for (status, rows) in [("active", live), ("cancelled", dead)] {
        insert(bench, product, status, rows).await;
    }
    let sold = format!("UPDATE products SET available_stock = available_stock - {live} WHERE id = {product}");
    bench.shop.database.execute(&sold).await;
    let hold = |channel| Hold::new(channel, &[product]).beside_a_box_office();
    let calls: Vec<Hold> = callers::connect(&address, clients).await.into_iter().map(hold).collect();
    let (_, mut outcome) = bench.round(scenario, design, &calls, clients).await;
    outcome.granted_in_all += u64::try_from(live).unwrap_or(0);
    bench.check_books(design, &[product], PLENTY, &outcome).await;
}

/// Holds of the box office, of one unit each.
async fn insert(bench: &Bench, product: i64, status: &str, rows: i64) {
    for part in 0..rows / ROWS_EACH {
        let sql = format!(
            "INSERT INTO holds
                 (product_id, qty, unit_price_cents, status, expires_at, created_at, request_id, buyer_id)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             SELECT {product}, 1, 1000, '{status}', UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, UTC_TIMESTAMP(6),
                    CONCAT('{status}-{part}-', n.i, '-', m.i), '{BOX_OFFICE}'
             FROM n JOIN n AS m"
        );
        bench.shop.database.execute(&sql).await;
    }
}
