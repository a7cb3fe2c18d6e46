//! Runs deploy/sale_day.py, the operator's program, through a whole sale day.

use std::{process::Command, sync::Arc};

use flashsale::pb::{OrderStatus, PaymentStatus};

use crate::support::{python, sale::event, sale::hold_of, server::Sale};

/// Calls the program for a server.
#[derive(Clone)]
struct Program {
    server: Arc<str>,
}

impl Program {
    /// Runs the program, and returns whether it succeeded and what it printed.
    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let server = Arc::clone(&self.server);
        let running = tokio::task::spawn_blocking(move || {
            Command::new(python::interpreter())
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/sale_day.py"))
                .env("FLASHSALE_SERVER", &*server)
                .args(arguments)
                .output()
        });
        let output = running.await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    async fn prints(&self, arguments: &[&str], expected: &str) {
        let (succeeded, text) = self.run(arguments).await;
        assert!(succeeded && text.contains(expected), "{arguments:?}: {text}");
    }

    async fn fails(&self, arguments: &[&str], expected: &str) {
        let (succeeded, text) = self.run(arguments).await;
        assert!(!succeeded && text.contains(expected) && !text.contains("Traceback"), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_program_goes_through_a_sale_day() {
    let sale = Sale::start("the_operators_program").await;
    let program = Program { server: sale.server.address().into() };
    let create = ["put-on-sale", "Sneaker", "9900", "3", "--max-per-buyer", "2", "--request-id", "r"];
    for _ in 0..2 {
        program.prints(&create, "product 1 'Sneaker': 3 of 3 available, 9900 cents, not paused").await;
    }
    program.fails(&["put-on-sale", "Boot", "1", "1", "--request-id", "r"], "[REQUEST_ID_REUSED]").await;

    let window = ["--starts-at", "2001-09-09T03:46:40+02:00", "--ends-at", "2100-01-01T00:00:00Z"];
    let all =
        [&["update", "1", "--name", "Boot", "--price-cents", "8900", "--max-per-buyer", "3"], &window[..]].concat();
    let changed = "product 1 'Boot': 3 of 3 available, 8900 cents, not paused, 3 for each buyer, \
                   from 2001-09-09T01:46:40Z, until 2100-01-01T00:00:00Z\n";
    for _ in 0..2 {
        program.prints(&all, changed).await;
    }
    let cleared = ["update", "1", "--max-per-buyer", "none", "--starts-at", "none", "--ends-at", "none"];
    program.prints(&cleared, "product 1 'Boot': 3 of 3 available, 8900 cents, not paused\n").await;
    program.prints(&["update", "1", "--price-cents", "9900"], "'Boot': 3 of 3 available, 9900 cents").await;
    program.prints(&["update", "1", "--max-per-buyer", "2"], "not paused, 2 for each buyer\n").await;
    program.fails(&["update", "1"], "nothing to change").await;
    program.fails(&["update", "1", "--price-cents", "none"], "invalid int value").await;
    program.fails(&["update", "1", "--ends-at", "2100-01-01"], "needs a time zone").await;
    program.fails(&["update", "1", "--max-per-buyer", "0"], "[INVALID_ARGUMENT]").await;
    program.fails(&["update", "2", "--name", "x"], "[PRODUCT_NOT_FOUND productId=2]").await;

    let paid = sale.clients().hold_by(hold_of("ann", 1, 1)).await.unwrap();
    let paid = sale.clients().order(paid.hold_id).await.unwrap();
    let owed = sale.clients().hold_by(hold_of("bob", 1, 1)).await.unwrap();
    sale.clients().order(owed.hold_id).await.unwrap();
    for _ in 0..2 {
        program.prints(&["restock", "1", "5", "pallet", "--request-id", "s"], "6 of 8 available").await;
    }
    program.prints(&["restock", "1", "-6", "broken"], "0 of 2 available").await;
    program.fails(&["restock", "1", "-1", "more"], "[OUT_OF_STOCK availableStock=0 productId=1 requested=1]").await;
    program.prints(&["pause", "1"], "cents, paused").await;
    program.prints(&["resume", "1"], "cents, not paused").await;

    program.prints(&["refunds"], "").await;
    for key in ["first", "second"] {
        let payment = event(key, paid.order_id, PaymentStatus::Success, Some(9900));
        let answer = sale.clients().pay_by(payment).await.unwrap();
        assert_eq!(answer.order_status(), OrderStatus::Paid);
    }
    program.prints(&["stats", "1"], "owed for  1 in 1 orders\npaid      1 in 1 orders").await;
    let due = "exception 1: DUPLICATE_SUCCESS, order 1, 9900 cents, event 'second'";
    program.prints(&["refunds", "--product", "1"], due).await;
    for _ in 0..2 {
        program.prints(&["resolve", "1", "refunded as re_17"], "is resolved: refunded as re_17").await;
    }
    program.fails(&["resolve", "1", "refunded as re_18"], "was resolved before: refunded as re_17").await;
    program.fails(&["resolve", "2", "n"], "[PAYMENT_EXCEPTION_NOT_FOUND exceptionId=2]").await;
    let (succeeded, text) = program.run(&["refunds"]).await;
    assert!(succeeded && text.is_empty(), "{text}");
    program.prints(&["refunds", "--all"], "resolved: refunded as re_17").await;
    sale.finish().await;
}
