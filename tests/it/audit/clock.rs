//! Sets the database's clock back: the audit tells what that makes of correct rows, and counts it as no fault.
//!
//! The service's sessions take the time that `init_connect` sets. Other sessions keep theirs. The clock goes back for
//! the service as it would on the database's machine.

use flashsale::{
    pb::{PaymentStatus, ResolvePaymentExceptionRequest},
    sweeper::{self, Sweep},
};

use crate::support::{
    audit::DEFAULT_PAGE,
    database::TestDatabase,
    mysqld::Mysqld,
    server::{Sale, TestServer},
};

const START: i64 = 1_800_000_000;

/// Sets the clock of the service's sessions to a moment, in seconds after the start.
async fn set_clock(sale: &Sale, seconds: i64) {
    sale.database.execute(&format!("SET GLOBAL init_connect = 'SET timestamp = {}'", START + seconds)).await;
    sale.database.kill_connections().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_clock_that_went_back_makes_of_honest_rows_is_told_and_no_fault() {
    let options = ["--sysdate-is-now", &format!("--init-connect=SET timestamp = {START}")];
    let mysqld = Mysqld::start_private(&options).await;
    let database = TestDatabase::create_on(&mysqld, "clock_went_back").await;
    let server = TestServer::start(&database).await;
    let sale = Sale { database, server };
    let product_id = sale.product(10).await;
    let swept = sale.clients().hold(product_id, 1).await.unwrap();
    let overdue = sale.ordered(product_id, 1).await;

    set_clock(&sale, 2000).await;
    let Sweep::Done(report) = sweeper::run(&sale.sweeper(100), std::future::pending()).await.unwrap() else {
        panic!("no other sweep is running")
    };
    assert_eq!((report.holds_expired, report.orders_cancelled), (1, 1));
    let late = sale.clients().pay("late", overdue.order_id, PaymentStatus::Success).await.unwrap();
    assert!(late.refund_required);
    let hold = sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.database.audit(DEFAULT_PAGE, false).await.names(), Vec::<String>::new());

    set_clock(&sale, 60).await;
    let order = sale.clients().order(hold.hold_id).await.unwrap();
    let resolved = ResolvePaymentExceptionRequest { exception_id: 1, note: "refunded".to_owned() };
    sale.clients().admin.clone().resolve_payment_exception(resolved).await.unwrap();
    let audited = sale.database.audit(1, false).await;
    let (of_order, of_hold) =
        (format!("clock_went_back {}", order.order_id), format!("clock_went_back {}", swept.hold_id));
    let of_overdue = format!("clock_went_back {}", overdue.order_id);
    let mut expected = ["clock_went_back 1", &of_hold, &of_order, &of_overdue];
    expected.sort_unstable();
    assert_eq!(audited.names(), expected, "{:#?}", audited.findings);
    assert_eq!((audited.report.findings, audited.report.clock_went_back, audited.report.verdict()), (0, 4, Ok(())));

    // The clock has caught up: rows that have expired by now are no longer told, and what was written stays.
    set_clock(&sale, 4000).await;
    let audited = sale.database.audit(DEFAULT_PAGE, false).await;
    assert_eq!((audited.report.findings, audited.report.clock_went_back, audited.report.verdict()), (0, 2, Ok(())));

    // This moment is later than the clock has ever been, so no sweep can have written it.
    let later = format!("UPDATE holds SET expires_at = '2030-01-01' WHERE id = {}", swept.hold_id);
    sale.database.execute(&later).await;
    let later = format!("UPDATE orders SET payment_due_at = '2030-01-01' WHERE id = {}", overdue.order_id);
    sale.database.execute(&later).await;
    let mut names = sale.database.audit(DEFAULT_PAGE, false).await.names();
    names.retain(|name| !name.starts_with("clock_went_back"));
    assert_eq!(
        names,
        [
            format!("hold_expired_early {}", swept.hold_id),
            format!("order_cancelled_without_cause {}", overdue.order_id),
        ]
    );
    sale.server.stop().await;
    sale.database.assert_no_open_transactions().await;
    sale.database.assert_conserved().await;
}
