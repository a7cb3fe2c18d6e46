//! Covers a purge beside others: a second purge, a sale, locked rows, and its own end in the middle.

use std::{future, time::Duration};

use flashsale::{checkout::purge::PurgedRows, config::Account, sweeper::purge};
use serde_json::json;

use super::{AFTER, age, end_sale, failed, limited_sale, paid, purge_until, rows};
use crate::support::{
    at_once::at_once,
    process::{Process, Program},
    programs::sweep,
    server::Sale,
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Makes a finished sale with `sold` paid orders, and `expired` expired holds of an endless sale, all of them old.
async fn old_rows(sale: &Sale, sold: usize, expired: i64) -> i64 {
    let product_id = limited_sale(sale, 1000).await;
    for number in 0..sold {
        paid(sale, product_id, &format!("paid {number}")).await;
    }
    let endless = sale.with_expired_holds(expired).await;
    let (code, _, stderr) = sweep(&sale.database.url(), &[("FLASHSALE_SWEEP_BATCH", "10000")]).await;
    assert_eq!(code, 0, "{stderr}");
    end_sale(sale, product_id).await;
    age(sale).await;
    endless
}

#[tokio::test(flavor = "multi_thread")]
async fn two_purges_at_once_share_the_work() {
    let sale = Sale::start("two_purges").await;
    old_rows(&sale, 20, 100).await;
    let (one, other) =
        tokio::join!(purge_until(&sale, false, future::pending()), purge_until(&sale, false, future::pending()));
    assert_eq!(one.rows.holds + other.rows.holds + usize::try_from(sale.count("holds").await).unwrap(), 120);
    sale.database.assert_audit_clean().await;
    // Each leaves a product that the other has locked.
    purge_until(&sale, false, future::pending()).await;
    assert_eq!((sale.count("holds").await, sale.count("products").await), (0, 1));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_for_no_lock_and_leaves_what_is_locked() {
    for (number, locked) in [
        "holds WHERE id = 1",
        "orders WHERE id = 1",
        "payment_webhooks WHERE id = 1",
        "payment_exceptions WHERE id = 1",
    ]
    .into_iter()
    .enumerate()
    {
        let sale = Sale::start(&format!("purge_locked_{number}")).await;
        let product_id = sale.product(10).await;
        for key in ["locked", "free"] {
            let order = failed(&sale, product_id, key).await;
            sale.clients()
                .pay(&format!("{key}, late"), order.order_id, flashsale::pb::PaymentStatus::Success)
                .await
                .unwrap();
        }
        for exception_id in [1, 2] {
            sale.clients().resolve(exception_id, "refunded").await.unwrap();
        }
        age(&sale).await;
        let holder = sale.database.lock_rows(locked).await;
        let report = purge_until(&sale, false, future::pending()).await;
        assert_eq!(report.rows, rows(1, 1, 2, 1), "{locked}");
        holder.close().await;
        sale.database.assert_audit_clean().await;
        assert_eq!(purge_until(&sale, false, future::pending()).await.rows, rows(1, 1, 2, 1), "{locked}");
        sale.finish().await;
    }
    let sale = Sale::start("purge_locked_product").await;
    old_rows(&sale, 3, 0).await;
    let holder = sale.database.lock_rows("products WHERE id = 1").await;
    assert_eq!(purge_until(&sale, false, future::pending()).await.rows, PurgedRows::default());
    holder.close().await;
    assert_eq!(purge_until(&sale, false, future::pending()).await.rows.products, 1);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_is_killed_leaves_right_books_and_the_next_one_goes_on() {
    let sale = Sale::start("killed_purge").await;
    old_rows(&sale, 60, 20).await;
    let url = sale.database.url_for(Account::Purger);
    let settings = [("DATABASE_URL", &*url), ("FLASHSALE_PURGE_AFTER", "90d"), ("FLASHSALE_SWEEP_BATCH", "1")];
    let mut purge = Process::spawn(Program::Sweeper, &["purge"], &settings);
    wait::eventually(LIMIT, "the first paid order to go", async || sale.count("orders").await < 60).await;
    purge.kill();
    wait::eventually(LIMIT, "the end of its transaction", async || sale.database.open_transactions().await == 0).await;
    assert!(sale.count("orders").await > 0, "it was killed too late to show anything");
    sale.database.assert_conserved().await;
    sale.database.assert_audit_clean().await;

    let mut purge = Process::spawn(Program::Sweeper, &["purge", "--after=90d"], &[("DATABASE_URL", &*url)]);
    assert_eq!(purge.wait_exit(LIMIT).await, 0);
    let lines = purge.lines();
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["message"], &last["products"], &last["dry_run"]),
        (&json!("Purge done"), &json!(1), &json!(false))
    );
    assert_eq!((sale.count("holds").await, sale.count("orders").await, sale.count("products").await), (0, 0, 1));
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_told_to_stop_ends_after_its_batch() {
    let sale = Sale::start("stopped_purge").await;
    old_rows(&sale, 4, 10).await;
    let report = purge_until(&sale, false, future::ready(())).await;
    assert_eq!((report.rows, report.complete), (rows(2, 0, 0, 0), false));
    sale.database.assert_audit_clean().await;
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_goes_on_beside_a_purge_of_its_own_old_holds() {
    const CALLS: usize = 400;
    let sale = Sale::start("purge_beside_a_sale").await;
    let endless = old_rows(&sale, 10, 500).await;
    let config = sale.purger(20);
    let purged = tokio::spawn(async move { purge::run(&config, AFTER, false, future::pending()).await });
    sale.clients().adjust(endless, 1000, "more").await.unwrap();
    let clients = sale.clients().clone();
    let held = at_once(CALLS, |_| {
        let clients = clients.clone();
        async move {
            let hold = clients.hold(endless, 1).await?;
            clients.order(hold.hold_id).await
        }
    });
    assert!(held.await.iter().all(Result::is_ok));
    assert_eq!(purged.await.unwrap().unwrap().rows.holds, 510);
    assert_eq!(sale.count("holds").await, 400);
    sale.finish().await;
}

#[tokio::test]
async fn a_purge_without_a_database_fails_and_says_so() {
    let url = [("DATABASE_URL", "mysql://flashsale:pa55word@127.0.0.1:1/it_nowhere")];
    let mut purge = Process::spawn(Program::Sweeper, &["purge", "--after=90d", "--dry-run"], &url);
    assert_eq!(purge.wait_exit(LIMIT).await, 1);
    let lines = purge.lines();
    let last = lines.last().unwrap();
    assert_eq!((&last["message"], &last["dry_run"], &last["holds"]), (&json!("Purge failed"), &json!(true), &json!(0)));
}
