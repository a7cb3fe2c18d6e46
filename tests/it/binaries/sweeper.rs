//! Checks `sweeper`: its exit codes, its report, and its end during the work.

use std::time::Duration;

use flashsale::{config::Account, db::named_lock::NamedLock};
use serde_json::{Value, json};

use crate::support::{
    process::{Process, Program},
    programs::{STOP_LIMIT, lines_of, sweep},
    server::{Sale, database_config},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns the report in the last line: five fields at the top level.
fn assert_report(lines: &[Value], batches: i64, holds_expired: i64, orders_cancelled: i64, stock_released: i64) {
    let last = lines.last().unwrap();
    let numbers = [&last["batches"], &last["holds_expired"], &last["orders_cancelled"], &last["stock_released"]];
    assert_eq!(numbers.map(Value::as_i64), [batches, holds_expired, orders_cancelled, stock_released].map(Some));
    assert!(last["seconds"].as_f64().unwrap() >= 0.0, "{last}");
    assert_eq!((&last["level"], &last["service"]), (&json!("INFO"), &json!("flashsale-sweeper")), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_gives_back_logs_each_and_reports_last() {
    let sale = Sale::start("sweeper").await;
    let url = sale.database.url();
    let product_id = sale.clients().create_product("Shoe", 1000, 100).await.product_id;
    let (code, lines, _) = sweep(&url, &[]).await;
    assert_eq!(code, 0);
    assert_report(&lines, 0, 0, 0, 0);

    let mut expired = Vec::new();
    for qty in [1, 2, 3, 4, 5] {
        expired.push((sale.clients().hold(product_id, qty).await.unwrap().hold_id, qty));
    }
    sale.expire_all_holds().await;
    let hold_id = sale.clients().hold(product_id, 7).await.unwrap().hold_id;
    let order_id = sale.clients().order(hold_id).await.unwrap().order_id;
    sale.database.move_times("UPDATE orders SET payment_due_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND").await;
    sale.clients().hold(product_id, 9).await.unwrap();

    let (code, lines, stderr) = sweep(&url, &[("FLASHSALE_SWEEP_BATCH", "2")]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_report(&lines, 4, 5, 1, 22);
    let released = lines_of(&lines, "Hold expired and stock released");
    assert_eq!(released.len(), 5);
    for (hold_id, qty) in expired {
        let line = released.iter().find(|line| line["hold_id"] == hold_id).unwrap();
        assert_eq!(
            (&line["product_id"], &line["qty"], &line["level"]),
            (&json!(product_id), &json!(qty), &json!("INFO"))
        );
    }
    let cancelled = lines_of(&lines, "Order cancelled: payment overdue");
    assert_eq!(cancelled.len(), 1);
    let line = cancelled[0];
    assert_eq!(
        (&line["order_id"], &line["product_id"], &line["qty"]),
        (&json!(order_id), &json!(product_id), &json!(7))
    );
    assert_eq!(sale.clients().available_stock(product_id).await, 91);
    let (_, lines, _) = sweep(&url, &[]).await;
    assert_report(&lines, 0, 0, 0, 0);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_while_another_runs_says_so_and_ends_well() {
    let sale = Sale::start("another_sweep").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    sale.clients().hold(product_id, 4).await.unwrap();
    sale.expire_all_holds().await;
    let config = database_config(&sale.database.url_for(Account::Sweeper), 1);
    let running = NamedLock::take(&config, "sweep", 0).await.unwrap().unwrap();
    let (code, lines, _) = sweep(&sale.database.url(), &[]).await;
    assert_eq!((code, &lines.last().unwrap()["message"]), (0, &json!("Another sweep is running")));
    assert_eq!(sale.stored_stock(product_id).await, 6);

    drop(running);
    wait::eventually(LIMIT, "the lock", async || {
        let (code, lines, _) = sweep(&sale.database.url(), &[]).await;
        assert_eq!(code, 0);
        lines.last().unwrap()["message"] != "Another sweep is running"
    })
    .await;
    assert_eq!(sale.clients().available_stock(product_id).await, 10);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sweepers_at_the_same_moment_give_back_once() {
    let sale = Sale::start("sweepers").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 500).await.product_id;
    let holds = (0..250).map(|_| sale.clients().hold(product_id, 2));
    for hold in futures_util::future::join_all(holds).await {
        hold.unwrap();
    }
    sale.expire_all_holds().await;
    let url = sale.database.url();
    let batch = [("FLASHSALE_SWEEP_BATCH", "10")];
    let sweeps = tokio::join!(sweep(&url, &batch), sweep(&url, &batch), sweep(&url, &batch));
    let mut expired = 0;
    for (code, lines, _) in [sweeps.0, sweeps.1, sweeps.2] {
        assert_eq!(code, 0);
        expired += lines.last().unwrap()["holds_expired"].as_i64().unwrap_or(0);
    }
    assert_eq!(expired, 250);
    assert_eq!(sale.clients().available_stock(product_id).await, 500);
    sale.finish().await;
}

#[tokio::test]
async fn a_sweep_without_a_database_fails_and_says_so_twice() {
    let (code, lines, stderr) = sweep("mysql://flashsale:pa55word@127.0.0.1:1/it_nowhere", &[]).await;
    assert_eq!(code, 1);
    let last = lines.last().unwrap();
    assert_eq!((&last["message"], &last["level"]), (&json!("Sweep failed"), &json!("ERROR")));
    assert_eq!((&last["batches"], &last["holds_expired"], &last["stock_released"]), (&json!(0), &json!(0), &json!(0)));
    // cron mails what is on standard error.
    assert!(stderr.starts_with("the sweeper failed: unavailable: "), "{stderr}");
    assert!(!stderr.contains("pa55word") && !last.to_string().contains("pa55word"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_told_to_stop_ends_after_its_batch_and_the_next_one_does_the_rest() {
    let sale = Sale::start("stopped_sweep").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 3000).await.product_id;
    let holds = (0..3000).map(|_| sale.clients().hold(product_id, 1));
    for hold in futures_util::future::join_all(holds).await {
        hold.unwrap();
    }
    sale.expire_all_holds().await;
    let url = sale.database.url_for(Account::Sweeper);
    let settings = [("DATABASE_URL", &*url), ("FLASHSALE_SWEEP_BATCH", "1")];
    let mut sweeper = Process::spawn(Program::Sweeper, &[], &settings);
    sweeper.wait_for_line("Hold expired and stock released", LIMIT).await;
    sweeper.terminate();
    sweeper.terminate();
    assert_eq!(sweeper.wait_exit(STOP_LIMIT).await, 0);
    let lines = sweeper.lines();
    let expired = i64::try_from(lines_of(&lines, "Hold expired and stock released").len()).unwrap();
    assert!(expired < 3000, "the signal came too late to show anything");
    assert_report(&lines, expired, expired, 0, expired);
    assert_eq!(sale.stored_stock(product_id).await, expired);

    let (code, lines, _) = sweep(&url, &[("FLASHSALE_SWEEP_BATCH", "10000")]).await;
    assert_eq!(code, 0);
    assert_report(&lines, 1, 3000 - expired, 0, 3000 - expired);
    sale.finish().await;
}
