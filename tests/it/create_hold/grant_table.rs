//! What may be granted is said twice: in Rust by the domain, and in SQL by the optimistic script. One table of cases
//! runs through both, so that neither can change alone.

use std::time::{Duration, SystemTime};

use flashsale::domain::{Product, ProductId, Quantity};

use crate::support::{counted::CountedCheckout, proxy::Counts, sale::hold_of, server::Sale};

/// Describes a product, what the buyer has of it and asks for, and whether that is granted.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    available_stock: i64,
    max_per_buyer: Option<i32>,
    /// Units that the buyer has.
    has: i64,
    paused: bool,
    /// When the sale starts, in minutes from now.
    starts: Option<i64>,
    /// When the sale ends, in minutes from now.
    ends: Option<i64>,
    qty: i32,
    /// `Ok`, or the reason of the refusal.
    verdict: Result<(), &'static str>,
}

const PLAIN: Case = Case {
    what: "nothing stands in the way",
    available_stock: 10,
    max_per_buyer: None,
    has: 0,
    paused: false,
    starts: None,
    ends: None,
    qty: 2,
    verdict: Ok(()),
};
const LIMITED: Case = Case { max_per_buyer: Some(3), ..PLAIN };

const CASES: [Case; 20] = [
    PLAIN,
    Case { what: "all units are asked for", qty: 10, ..PLAIN },
    Case { what: "one unit is short", qty: 11, verdict: Err("OUT_OF_STOCK"), ..PLAIN },
    Case { what: "it is sold out", available_stock: 0, qty: 1, verdict: Err("OUT_OF_STOCK"), ..PLAIN },
    Case { what: "it is paused", paused: true, verdict: Err("SALE_PAUSED"), ..PLAIN },
    Case { what: "the sale has started", starts: Some(-60), ..PLAIN },
    Case { what: "the sale has not started", starts: Some(60), verdict: Err("SALE_NOT_STARTED"), ..PLAIN },
    Case { what: "the sale has not ended", ends: Some(60), ..PLAIN },
    Case { what: "the sale has ended", ends: Some(-60), verdict: Err("SALE_ENDED"), ..PLAIN },
    Case { what: "it is in the sale's window", starts: Some(-60), ends: Some(60), ..PLAIN },
    Case {
        what: "it is before the window",
        starts: Some(60),
        ends: Some(120),
        verdict: Err("SALE_NOT_STARTED"),
        ..PLAIN
    },
    Case { what: "it is after the window", starts: Some(-120), ends: Some(-60), verdict: Err("SALE_ENDED"), ..PLAIN },
    Case { what: "it is paused in the window", paused: true, starts: Some(-60), verdict: Err("SALE_PAUSED"), ..PLAIN },
    Case { what: "a first hold is within the limit", ..LIMITED },
    Case { what: "one hold reaches the limit", qty: 3, ..LIMITED },
    Case { what: "a second hold reaches the limit", has: 1, ..LIMITED },
    Case { what: "a second hold is over the limit", has: 2, verdict: Err("BUYER_LIMIT"), ..LIMITED },
    Case { what: "the limit was reached before", has: 3, qty: 1, verdict: Err("BUYER_LIMIT"), ..LIMITED },
    Case { what: "the limit was lowered since", has: 5, qty: 1, verdict: Err("BUYER_LIMIT"), ..LIMITED },
    Case {
        what: "it is within the limit, and one unit is short",
        available_stock: 1,
        verdict: Err("OUT_OF_STOCK"),
        ..LIMITED
    },
];

/// Queries and executes of a grant by one script: the script, and the read of its ids and its moment.
const ONE_SCRIPT: (u64, u64) = (1, 1);

#[tokio::test(flavor = "multi_thread")]
async fn the_domain_and_the_optimistic_script_grant_the_same() {
    let sale = Sale::start("a_table_of_grants").await;
    let locked = CountedCheckout::open(&sale.database).await;
    let optimistic = CountedCheckout::open(&sale.database).await;
    for case in CASES {
        assert_eq!(case.by_domain(SystemTime::now()), case.verdict, "by the domain, where {}", case.what);

        // A checkout that hasn't seen the product locks it, and decides by the domain.
        let product_id = case.product(&sale, None).await;
        let (verdict, sent) = case.hold(&locked, product_id).await;
        assert_eq!(verdict, case.verdict, "by the locked way, where {}", case.what);
        assert!(statements(sent) > ONE_SCRIPT, "not the locked way: {sent:?}");

        // A checkout that has just sold the product sends a script, which decides by its SQL.
        let product_id = case.product(&sale, Some(&optimistic)).await;
        let (verdict, sent) = case.hold(&optimistic, product_id).await;
        assert_eq!(verdict, case.verdict, "by the optimistic way, where {}", case.what);
        assert_eq!(statements(sent) == ONE_SCRIPT, verdict.is_ok(), "by the script, where {}: {sent:?}", case.what);
    }
    locked.close().await;
    optimistic.close().await;
    sale.finish().await;
}

fn statements(sent: Counts) -> (u64, u64) {
    (sent.queries, sent.executes)
}

impl Case {
    fn by_domain(self, now: SystemTime) -> Result<(), &'static str> {
        let at = |minutes: i64| {
            let span = Duration::from_secs(60 * minutes.unsigned_abs());
            if minutes < 0 { now - span } else { now + span }
        };
        let mut product = Product {
            id: ProductId::stored(1),
            price_cents: 1000,
            total_stock: self.available_stock + self.has,
            available_stock: self.available_stock,
            max_per_buyer: self.max_per_buyer,
            starts_at: self.starts.map(at),
            ends_at: self.ends.map(at),
            paused: self.paused,
        };
        let qty = Quantity::stored(self.qty);
        let granted =
            product.on_sale(now).and_then(|()| product.within_limit(qty, self.has)).and_then(|()| product.take(qty));
        granted.map_err(|refusal| refusal.reason())
    }

    /// Makes a product in the case's state. `seller` has just sold a unit of it, when it was on sale and had 100 units.
    async fn product(self, sale: &Sale, seller: Option<&CountedCheckout>) -> i64 {
        let product_id = sale.product(100).await;
        let limit = self.max_per_buyer.map_or("NULL".to_owned(), |limit| limit.to_string());
        sale.database.execute(&format!("UPDATE products SET max_per_buyer = {limit} WHERE id = {product_id}")).await;
        let mut held = self.has;
        if let Some(seller) = seller {
            seller.hold(hold_of("zoe", product_id, 1)).await.0.unwrap();
            held += 1;
        }
        if self.has > 0 {
            let hold = format!(
                "INSERT INTO holds (product_id, qty, unit_price_cents, expires_at, created_at, request_id, buyer_id)
                 VALUES ({product_id}, {}, 1000, UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, UTC_TIMESTAMP(6), 'before', 'ann')",
                self.has
            );
            sale.database.execute(&hold).await;
        }
        let at = |minutes: Option<i64>| {
            minutes.map_or("NULL".to_owned(), |minutes| format!("UTC_TIMESTAMP(6) + INTERVAL {minutes} MINUTE"))
        };
        let state = format!(
            "UPDATE products SET available_stock = {available}, total_stock = {available} + {held}, paused = {},
             starts_at = {}, ends_at = {} WHERE id = {product_id}",
            self.paused,
            at(self.starts),
            at(self.ends),
            available = self.available_stock,
        );
        sale.database.execute(&state).await;
        product_id
    }

    async fn hold(self, checkout: &CountedCheckout, product_id: i64) -> (Result<(), &'static str>, Counts) {
        let (answer, sent) = checkout.hold(hold_of("ann", product_id, self.qty)).await;
        (answer.map(drop).map_err(|error| error.reason()), sent)
    }
}
