//! Sells products with a limit for each buyer, where each eighth hold is one buyer's, the box office's.
//!
//! It had nothing before, or 20,000 holds that count, or 300,000 that no longer count.

use super::{BUILDS, many};
use crate::{
    bench::{Bench, PLENTY},
    callers::{self, BOX_OFFICE, Hold},
    results::Design,
};

/// The scenarios: how many of the box office's holds count, and how many no longer do.
const SCENARIOS: [(&str, i64, i64); 3] =
    [("box_office_none", 0, 0), ("box_office_live", 20_000, 0), ("box_office_dead", 0, 300_000)];

/// Rows of one INSERT: a join of two lists, since each engine limits recursion by its own setting.
const ROWS_EACH: i64 = 10_000;

/// Holds a product that one design sells in all rounds, with the box office among its buyers.
struct Product {
    scenario: &'static str,
    design: Design,
    id: i64,
    granted: u64,
    failed: u64,
}

pub(crate) async fn box_office(bench: &mut Bench) {
    // All rows are made before any round, so that the database's later writing of them falls on no single design.
    let mut products = Vec::new();
    for design in bench.turns(0, &BUILDS) {
        for (scenario, live, dead) in SCENARIOS {
            products.push(product(bench, scenario, design, live, dead).await);
        }
    }
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &BUILDS) {
            for product in products.iter_mut().filter(|product| product.design == design) {
                sell(bench, product).await;
            }
        }
    }
}

async fn product(bench: &Bench, scenario: &'static str, design: Design, live: i64, dead: i64) -> Product {
    let id = callers::create_product(&bench.address(design), PLENTY, Some(10_000_000)).await;
    for (status, rows) in [("active", live), ("cancelled", dead)] {
        insert(bench, id, status, rows).await;
    }
    let sold = format!("UPDATE products SET available_stock = available_stock - {live} WHERE id = {id}");
    bench.shop.database.execute(&sold).await;
    Product { scenario, design, id, granted: u64::try_from(live).unwrap_or(0), failed: 0 }
}

/// Inserts holds of the box office, of one unit each.
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

async fn sell(bench: &mut Bench, product: &mut Product) {
    let (clients, address) = (many(bench), bench.address(product.design));
    let hold = |channel| Hold::new(channel, &[product.id]).beside_a_box_office();
    let calls: Vec<Hold> = callers::connect(&address, clients).await.into_iter().map(hold).collect();
    let (_, mut outcome) = bench.round(product.scenario, product.design, &calls, clients).await;
    product.granted += outcome.granted_in_all;
    product.failed += outcome.failed_in_all;
    (outcome.granted_in_all, outcome.failed_in_all) = (product.granted, product.failed);
    bench.check_books(product.design, &[product.id], PLENTY, &outcome).await;
}
