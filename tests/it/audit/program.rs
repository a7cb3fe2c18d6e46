//! Runs `sweeper audit` as an operator does: its lines, its exit code, its end.

use std::time::Duration;

use flashsale::config::Account;

use super::shop::Shop;
use crate::support::{
    database::TestDatabase,
    process::{Process, Program},
};

const LIMIT: Duration = Duration::from_secs(60);

fn start(database: &TestDatabase, arguments: &[&str], settings: &[(&str, &str)]) -> Process {
    let account = if arguments.contains(&"--repair") { Account::Repairer } else { Account::Auditor };
    let url = database.url_for(account);
    Process::spawn(Program::Sweeper, arguments, &[&[("DATABASE_URL", &*url)], settings].concat())
}

#[tokio::test]
async fn findings_and_repairs_are_lines_and_the_exit_code_tells() {
    let shop = Shop::open("audit_program").await;
    let database = &shop.sale.database;
    let mut clean = start(database, &["audit"], &[]);
    assert_eq!(clean.wait_exit(LIMIT).await, 0);
    let last = clean.lines().pop().unwrap();
    assert_eq!(last["message"], "Audit done");
    for (field, value) in [
        ("findings", 0),
        ("clock_went_back", 0),
        ("repaired", 0),
        ("products", 3),
        ("holds", 8),
        ("orders", 4),
        ("webhooks", 7),
        ("exceptions", 3),
        ("adjustments", 3),
        ("holds_unswept", 0),
        ("orders_overdue", 0),
    ] {
        assert_eq!(last[field], value, "{field}: {last}");
    }
    assert!(last["seconds"].as_f64().unwrap() > 0.0 && clean.stderr().is_empty());

    database.execute("UPDATE products SET available_stock = available_stock - 1 WHERE id = 2").await;
    database.execute("DELETE FROM payment_exceptions WHERE id = 2").await;
    for (arguments, exit, findings, repaired) in
        [(&["audit"][..], 1, 2, 0), (&["audit", "--repair", "--page", "1"], 1, 2, 1), (&["audit", "--repair"], 1, 1, 0)]
    {
        let mut audit = start(database, arguments, &[]);
        assert_eq!(audit.wait_exit(LIMIT).await, exit, "{arguments:?}");
        let found = audit.lines_of("Audit finding");
        assert_eq!(found.len(), findings, "{arguments:?}");
        let missing = found.iter().find(|line| line["kind"] == "exception_missing").unwrap();
        assert_eq!((&missing["level"], &missing["webhook_id"]), (&"WARN".into(), &3.into()));
        assert_eq!((&missing["order_id"], &missing["product_id"]), (&3.into(), &1.into()));
        assert_eq!(missing["expected"], "a payment exception duplicate_success, amount_cents none");
        assert_eq!(missing["found"], "none");
        assert!(missing["what_to_do"].as_str().unwrap().contains("refund") && missing.get("hold_id").is_none());
        if findings == 2 {
            let stock = found.iter().find(|line| line["kind"] == "stock_not_conserved").unwrap();
            let expected = "available_stock 48: total_stock 56 less held 8, pending 0, paid 0";
            assert_eq!((&stock["expected"], &stock["found"]), (&expected.into(), &"available_stock 47".into()));
        }
        let repairs = audit.lines_of("Available stock repaired");
        assert_eq!(repairs.len(), repaired, "{arguments:?}");
        for line in repairs {
            assert_eq!((&line["product_id"], &line["available_stock"]), (&2.into(), &48.into()));
            assert_eq!(line["available_stock_before"], 47);
        }
        let last = audit.lines().pop().unwrap();
        assert_eq!((&last["message"], &last["findings"]), (&"Audit done".into(), &findings.into()));
        assert_eq!(last["repaired"], repaired);
        let told = format!("the sweeper failed: the audit found {findings} ");
        assert!(audit.stderr().starts_with(&told), "{}", audit.stderr());
    }
    database
        .execute(
            "INSERT INTO payment_exceptions (kind, order_id, product_id, idempotency_key, created_at) \
        SELECT result, order_id, product_id, idempotency_key, created_at FROM payment_webhooks WHERE id = 3",
        )
        .await;
    shop.sale.finish().await;
}

#[tokio::test]
async fn text_lines_read_well() {
    let shop = Shop::open("audit_text").await;
    shop.sale.database.execute("UPDATE holds SET status = 'used' WHERE id = 2").await;
    let mut audit = start(&shop.sale.database, &["audit"], &[("FLASHSALE_LOG_FORMAT", "text")]);
    assert_eq!(audit.wait_exit(LIMIT).await, 1);
    let lines = audit.stdout();
    let finding = lines.iter().find(|line| line.contains("Audit finding")).unwrap();
    let expected = "Audit finding kind=\"hold_used_without_order\" product_id=1 hold_id=2 expected=\"an order\" \
        found=\"none\" what_to_do=\"restore the order";
    assert!(finding.contains(expected), "{finding}");
    shop.sale.database.execute("UPDATE holds SET status = 'cancelled' WHERE id = 2").await;
    shop.sale.finish().await;
}

#[tokio::test]
async fn sigterm_ends_an_audit_that_waits() {
    let shop = Shop::open("audit_sigterm").await;
    let database = &shop.sale.database;
    database.execute("UPDATE holds SET status = 'used' WHERE id = 2").await;
    let mut blocking = database.connect().await;
    blocking.execute("LOCK TABLES orders WRITE").await;
    let mut audit = start(database, &["audit"], &[]);
    database.wait_for_table_waiter().await;
    audit.terminate();
    assert_eq!(audit.wait_exit(LIMIT).await, 1);
    let last = audit.lines().pop().unwrap();
    assert_eq!(last["message"], "Audit interrupted");
    assert!(audit.stderr().contains("interrupted"), "{}", audit.stderr());
    blocking.execute("UNLOCK TABLES").await;
    blocking.close().await;
    database.execute("UPDATE holds SET status = 'cancelled' WHERE id = 2").await;
    shop.sale.finish().await;
}

#[tokio::test]
async fn a_bad_setting_is_code_2_and_a_database_away_code_1() {
    let away = [("DATABASE_URL", "mysql://root@127.0.0.1:1/sale")];
    for (arguments, settings, named) in [
        (&["audit", "--page", "0"][..], &[][..], "FLASHSALE_AUDIT_PAGE (--page)"),
        (&["audit"], &[("FLASHSALE_AUDIT_PAGE", "100001")], "FLASHSALE_AUDIT_PAGE (--page)"),
        (&["audit", "--repair=1"], &[], "--repair"),
        (&["adit"], &[], "the command is not known"),
    ] {
        let mut audit = Process::spawn(Program::Sweeper, arguments, &[&away[..], settings].concat());
        assert_eq!(audit.wait_exit(LIMIT).await, 2, "{arguments:?}");
        assert!(audit.stderr().contains(named) && audit.stdout().is_empty(), "{}", audit.stderr());
    }
    let mut audit = Process::spawn(Program::Sweeper, &["audit"], &away);
    assert_eq!(audit.wait_exit(LIMIT).await, 1);
    assert_eq!(audit.lines().pop().unwrap()["message"], "Audit failed");

    let mut help = Process::spawn(Program::Sweeper, &["audit", "--help"], &[]);
    assert_eq!(help.wait_exit(LIMIT).await, 0);
    let help = help.stdout().join("\n");
    for text in ["--repair", "--page <ROWS>", "FLASHSALE_AUDIT_PAGE", "[default: 10000]", "DATABASE_URL]"] {
        assert!(help.contains(text), "{text}: {help}");
    }
}
