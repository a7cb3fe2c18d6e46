//! Runs deploy/sale_day.py, the operator's program, through a whole sale day.

use std::{fs, process::Command, sync::Arc, time::Duration};

use flashsale::pb::{OrderStatus, PaymentStatus};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    database::TestDatabase,
    programs::{ServerProgram, sweep},
    python,
    sale::{event, hold_of},
    server::Sale,
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Calls the program for a server.
#[derive(Clone)]
struct Program {
    server: Arc<str>,
    /// Further settings, such as a token.
    settings: Vec<(&'static str, String)>,
}

impl Program {
    /// Runs the program, and returns whether it succeeded and what it printed.
    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (server, settings) = (Arc::clone(&self.server), self.settings.clone());
        let running = tokio::task::spawn_blocking(move || {
            Command::new(python::interpreter())
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/sale_day.py"))
                .env("FLASHSALE_SERVER", &*server)
                .envs(settings)
                // Signs of the bar are ASCII, and tables are wide, whatever the machine's settings are.
                .env("PYTHONIOENCODING", "ascii")
                .env("COLUMNS", "200")
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

    /// Expects a table with a row that begins with these cells.
    async fn lists(&self, arguments: &[&str], cells: &[&str]) {
        let (succeeded, text) = self.run(arguments).await;
        let begins_so = |line: &str| {
            let found: Vec<&str> = line.split([' ', '|']).filter(|cell| !cell.is_empty()).take(cells.len()).collect();
            found == cells
        };
        let has_row = text.lines().any(begins_so);
        assert!(succeeded && has_row, "{arguments:?}: {text}");
    }

    async fn fails(&self, arguments: &[&str], expected: &str) {
        let (succeeded, text) = self.run(arguments).await;
        assert!(!succeeded && text.contains(expected) && !text.contains("Traceback"), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_program_goes_through_a_sale_day() {
    let sale = Sale::start("the_operators_program").await;
    let program = Program { server: sale.server.address().into(), settings: Vec::new() };
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

    program.prints(&["refunds"], "nothing is to be refunded\n").await;
    for key in ["first", "second"] {
        let payment = event(key, paid.order_id, PaymentStatus::Success, Some(9900));
        let answer = sale.clients().pay_by(payment).await.unwrap();
        assert_eq!(answer.order_status(), OrderStatus::Paid);
    }
    program.prints(&["stats", "1"], "owed for  1 in 1 orders\npaid      1 in 1 orders").await;
    program.lists(&["refunds", "--product", "1"], &["1", "duplicate_success", "1", "9900", "second"]).await;
    for _ in 0..2 {
        program.prints(&["resolve", "1", "refunded as re_17"], "is resolved: refunded as re_17").await;
    }
    program.fails(&["resolve", "1", "refunded as re_18"], "was resolved before: refunded as re_17").await;
    program.fails(&["resolve", "2", "n"], "[PAYMENT_EXCEPTION_NOT_FOUND exceptionId=2]").await;
    program.prints(&["refunds"], "nothing is to be refunded\n").await;
    program.prints(&["refunds", "--all"], "resolved: refunded as re_17").await;
    sale.finish().await;
}

/// A sale with two paid orders, one that costs a cent more than was paid, and one that nobody pays.
async fn sold_out(sale: &Sale, program: &Program) {
    program.prints(&["put-on-sale", "Boot\u{1b}[31m", "900", "9", "--request-id", "r"], "'Boot\\x1b[31m'").await;
    for (buyer, paid) in [("ann", Some(900)), ("bob", Some(900)), ("cyd", Some(899)), ("dan@example.com", None)] {
        let held = sale.clients().hold_by(hold_of(buyer, 1, 1)).await.unwrap();
        let order = sale.clients().order(held.hold_id).await.unwrap();
        if paid.is_some() {
            sale.clients().pay_by(event(buyer, order.order_id, PaymentStatus::Success, paid)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_program_finds_orders_and_settles_them() {
    let sale = Sale::start("the_operators_lists").await;
    let program = Program { server: sale.server.address().into(), settings: Vec::new() };
    program.prints(&["products"], "no products\n").await;
    sold_out(&sale, &program).await;
    program.lists(&["products", "--on-sale"], &["1", "Boot\\x1b[31m", "900", "5", "9"]).await;
    program.lists(&["orders", "1"], &["4", "1", "pending", "1", "900", "dan@example.com"]).await;
    program.lists(&["orders", "1", "--status", "paid", "--buyer", "bob"], &["2", "1", "paid", "1", "900", "bob"]).await;
    program.prints(&["orders", "1", "--status", "cancelled"], "no orders\n").await;
    program.prints(&["orders", "1", "--settled-after", "2100-01-01T00:00:00Z"], "no orders\n").await;
    program.fails(&["orders", "0"], "[INVALID_ARGUMENT]").await;
    program.prints(&["owed", "1"], "\n2 orders, 1800 cents\n").await;
    program.prints(&["owed", "1", "--overdue"], "nothing is owed\n").await;
    for find in [&["find", "dan@example.com"][..], &["find", "dan@example.com", "--product", "1"]] {
        program.lists(find, &["4", "1", "used", "1", "900"]).await;
        program.lists(find, &["4", "1", "pending", "1", "900", "dan@example.com"]).await;
    }
    program.prints(&["find", "nobody"], "no holds\nno orders\n").await;

    for _ in 0..2 {
        program.prints(&["accept", "1", "a cent off"], "is resolved: a cent off; order 3: paid").await;
        program.prints(&["cancel", "4"], "order 4: cancelled, 1 of product 1, 900 cents, buyer dan@example.com").await;
    }
    program.fails(&["accept", "1", "no"], "was resolved before: a cent off").await;
    program.fails(&["accept", "2", "no"], "[PAYMENT_EXCEPTION_NOT_FOUND exceptionId=2]").await;
    program.fails(&["cancel", "1"], "[ORDER_PAID orderId=1]").await;
    program.prints(&["owed", "1"], "nothing is owed\n").await;
    program.lists(&["actions", "--product", "1"], &["2"]).await;
    program.prints(&["actions"], "order_status: pending -> paid").await;
    program.fails(&["lend", "1"], "invalid choice").await;
    sale.finish().await;
}

/// The first page of what is on sale is empty, because the server has looked at 500 products that aren't.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_after_an_empty_page() {
    let sale = Sale::start("the_operators_pages").await;
    let program = Program { server: sale.server.address().into(), settings: Vec::new() };
    program.prints(&["put-on-sale", "Boot", "900", "9", "--request-id", "r"], "product 1").await;
    let paused = "INSERT INTO products (name, price_cents, total_stock, available_stock, paused, request_id,
                  request_digest, created_at) WITH RECURSIVE numbers (n) AS
                  (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 600)
                  SELECT 'Sock', 1, 0, 0, TRUE, CONCAT('sock', n), REPEAT('d', 32), UTC_TIMESTAMP(6) FROM numbers";
    sale.database.execute(paused).await;
    program.lists(&["products", "--on-sale"], &["1", "Boot", "900"]).await;
    let (succeeded, text) = program.run(&["--json", "products"]).await;
    assert!(succeeded && text.lines().count() == 601, "{text}");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_json_each_command_prints_lines_for_a_script() {
    let sale = Sale::start("the_operators_json").await;
    let program = Program { server: sale.server.address().into(), settings: Vec::new() };
    sold_out(&sale, &program).await;
    for (arguments, expected) in [
        (&["put-on-sale", "Sock", "1", "1", "--request-id", "s"][..], json!([{"product_id": 2, "paused": false}])),
        (&["update", "1", "--max-per-buyer", "3"], json!([{"max_per_buyer": 3, "starts_at": null}])),
        (&["restock", "1", "1", "found"], json!([{"total_stock": 10, "available_stock": 6}])),
        (&["pause", "2"], json!([{"paused": true}])),
        (&["resume", "2"], json!([{"paused": false}])),
        (&["products"], json!([{"product_id": 2}, {"product_id": 1, "name": "Boot\u{1b}[31m"}])),
        (&["stats", "1"], json!([{"product_id": 1, "total_stock": 10, "orders_paid": 2}])),
        (&["orders", "1", "--status", "paid"], json!([{"order_id": 2, "status": "paid"}, {"order_id": 1}])),
        (&["owed", "1"], json!([{"order_id": 4, "settled_at": null}, {"order_id": 3, "buyer_id": "cyd"}])),
        (&["find", "ann"], json!([{"hold_id": 1, "status": "used"}, {"order_id": 1}])),
        (&["cancel", "4"], json!([{"order_id": 4, "status": "cancelled"}])),
        (&["refunds"], json!([{"exception_id": 1, "kind": "amount_mismatch", "amount_cents": 899}])),
        (&["accept", "1", "fine"], json!([{"exception": {"note": "fine"}, "order": {"status": "paid"}}])),
        (&["resolve", "1", "fine"], json!([{"note": "fine"}])),
        (&["refunds"], json!([])),
        (&["actions", "--product", "2"], json!([{"product_id": 2}, {"product_id": 2}, {"principal": "unknown"}])),
    ] {
        for place in [0, arguments.len()] {
            let mut arguments = arguments.to_vec();
            arguments.insert(place, "--json");
            // What was done once is told again; what was counted up is not.
            if place > 0 && ["update", "restock", "products", "owed", "actions", "refunds"].contains(&arguments[0]) {
                continue;
            }
            let (succeeded, text) = program.run(&arguments).await;
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(succeeded && contains(&Value::from(lines), &expected), "{arguments:?}: {text}");
        }
    }
    let (succeeded, text) = program.run(&["--json", "cancel", "1"]).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert!(!succeeded && told["reason"] == "ORDER_PAID" && told["metadata"] == json!({"orderId": "1"}), "{text}");
    sale.finish().await;
}

/// Tells whether JSON has the parts of `expected`. Lists have to be as long.
fn contains(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| found.get(name).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| contains(found, expected))
        }
        (found, expected) => found == expected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_shows_the_sale_and_what_the_metrics_know() {
    let database = TestDatabase::create("the_operators_screen").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let program = Program { server: server.address.as_str().into(), settings: Vec::new() };
    let opens = ["put-on-sale", "Sneaker", "9900", "10", "--starts-at", "2100-01-01T00:00:00Z", "--request-id", "r"];
    program.prints(&opens, "product 1").await;
    program.prints(&["watch", "1", "--once"], "'Sneaker', 9900 cents: opens in ").await;
    program.prints(&["update", "1", "--starts-at", "none", "--ends-at", "2100-01-01T00:00:00Z"], "until").await;
    let held = server.clients.hold(1, 4).await.unwrap();
    server.clients.order(held.hold_id).await.unwrap();
    server.clients.hold(1, 3).await.unwrap();
    for expected in [
        ": open, closes in ",
        "# paid 0   = owed for 4   - held 3   . available 3",
        "holds refused             not known (ask with --metrics URL)",
        "orders waiting for money  1, the oldest for ",
        "refunds due               0",
    ] {
        program.prints(&["watch", "1", "--once"], expected).await;
    }
    let (code, _, _) = sweep(&database.url(), &[]).await;
    assert_eq!(code, 0);
    let metrics = server.metrics_url();
    let looked = async || {
        let (succeeded, text) = program.run(&["watch", "1", "--once", "--json", "--metrics", &metrics]).await;
        let seen: Value = serde_json::from_str(&text).unwrap();
        assert!(succeeded && seen["metrics"] == "read" && seen["orders_waiting"] == 1, "{text}");
        assert!(seen["holds_granted_per_second"] == 0.0 && seen["holds_refused_per_second"] == 0.0, "{text}");
        seen["last_sweep_seconds_ago"].is_number()
    };
    wait::eventually(LIMIT, "the server to tell of the sweep", looked).await;
    program.prints(&["watch", "1", "--once", "--metrics", "http://127.0.0.1:1/"], "can't be read").await;
    program.prints(&["pause", "1"], "paused").await;
    program.prints(&["watch", "1", "--once"], ": paused\n").await;
    program.fails(&["watch", "2", "--once"], "[PRODUCT_NOT_FOUND productId=2]").await;
    program.fails(&["watch", "2"], "[PRODUCT_NOT_FOUND productId=2]").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_program_shows_its_token_and_says_what_it_lacks() {
    let database = TestDatabase::create("sale_day_token").await;
    let folder = tempfile::tempdir().unwrap();
    let (principals, secret) = (folder.path().join("principals"), folder.path().join("token"));
    let token = "0123456789abcdef".repeat(4);
    let hash = base16ct::lower::encode_string(&Sha256::digest(&token));
    fs::write(&principals, format!("anna token:sha256:{hash} viewer\n")).unwrap();
    fs::write(&secret, format!("{token}\n")).unwrap();
    let setting = ("FLASHSALE_PRINCIPALS_FILE", principals.to_str().unwrap());
    let server = ServerProgram::start(&database.url(), &[setting]).await;
    let program = |settings: &[(&'static str, &str)]| Program {
        server: server.address.as_str().into(),
        settings: settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    };
    program(&[]).fails(&["products"], "[UNAUTHENTICATED]").await;
    program(&[("FLASHSALE_SERVER_TOKEN", "wrong")]).fails(&["products"], "[UNAUTHENTICATED]").await;
    for credential in [("FLASHSALE_SERVER_TOKEN", &*token), ("FLASHSALE_SERVER_TOKEN_FILE", secret.to_str().unwrap())] {
        let anna = program(&[credential]);
        assert!(anna.run(&["products"]).await.0, "{}", credential.0);
        anna.fails(&["put-on-sale", "Boot", "1", "1"], "[PERMISSION_DENIED]").await;
    }
    program(&[("FLASHSALE_SERVER_TOKEN_FILE", "/no/such")]).fails(&["products"], "No such file").await;
    program(&[("FLASHSALE_SERVER_CERT", "/dev/null")]).fails(&["products"], "need FLASHSALE_SERVER_CA").await;
    server.stop().await;
    database.assert_conserved().await;
}
