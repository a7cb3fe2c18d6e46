//! Checks what happens exactly at a moment, on a database server whose clock stands still for the service.
//!
//! `sysdate_is_now` makes SYSDATE follow a session's `timestamp`, as UTC_TIMESTAMP does. `init_connect` sets that for
//! every session of the service. Root's sessions are exempt, and write the moments to compare.

use std::time::UNIX_EPOCH;

use flashsale::{
    checkout::{cancel_overdue_orders::cancel_overdue_orders, expire_holds::expire_holds},
    pb::{CreateProductRequest, HoldStatus, OrderStatus},
};
use prost_types::Timestamp;
use tonic::Code;

use crate::support::{
    client::assert_refused,
    database::TestDatabase,
    mysqld::Mysqld,
    sale::{hold_of, product},
    server::{Sale, TestServer},
};

/// The moment at which the clock stands, as text and in seconds.
const NOW: &str = "2027-01-15 08:00:00.000000";
const A_MICROSECOND_AGO: &str = "2027-01-15 07:59:59.999999";
const NOW_SECONDS: i64 = 1_800_000_000;
const SERVER_OPTIONS: [&str; 2] = ["--sysdate-is-now", "--init-connect=SET timestamp = 1800000000"];

async fn start(mysqld: &Mysqld, name: &str) -> Sale {
    let database = TestDatabase::create_on(mysqld, name).await;
    let server = TestServer::start(&database).await;
    Sale { database, server }
}

async fn set_ends(sale: &Sale, moment: &str) {
    sale.database.move_times(&format!("UPDATE holds SET expires_at = '{moment}' WHERE status = 'active'")).await;
}

/// Exactly at `expires_at` a hold can still become an order; the sweeper takes only `expires_at < now`.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_at_expires_at_a_hold_still_holds_and_a_microsecond_later_it_does_not() {
    let mysqld = Mysqld::start_private(&SERVER_OPTIONS).await;
    let sale = start(&mysqld, "exactly_at_expires_at").await;
    let service = sale.sweeper_database();
    let product_id = sale.product(1).await;
    let hold = sale.clients().hold(product_id, 1).await.unwrap();
    let created = Timestamp { seconds: NOW_SECONDS, nanos: 0 };
    assert_eq!(hold.created_at, Some(created), "the clock stands");
    assert_eq!(hold.expires_at, Some(Timestamp { seconds: NOW_SECONDS + 120, nanos: 0 }));

    set_ends(&sale, NOW).await;
    assert_eq!(sale.clients().get_hold(hold.hold_id).await.unwrap().status(), HoldStatus::Active);
    assert_eq!(expire_holds(&service, UNIX_EPOCH, 10).await.unwrap().rows, 0);
    for _ in 0..3 {
        assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    }
    let order = sale.clients().order(hold.hold_id).await.unwrap();
    assert_eq!(order.status(), OrderStatus::Pending);

    let product_id = sale.product(1).await;
    let hold = sale.clients().hold(product_id, 1).await.unwrap();
    assert_refused(sale.clients().hold(product_id, 1).await, Code::FailedPrecondition, "OUT_OF_STOCK");
    set_ends(&sale, A_MICROSECOND_AGO).await;
    assert_eq!(sale.clients().get_hold(hold.hold_id).await.unwrap().status(), HoldStatus::Expired);
    assert_refused(sale.clients().order(hold.hold_id).await, Code::FailedPrecondition, "HOLD_EXPIRED");
    let next = sale.clients().hold(product_id, 1).await.unwrap();
    assert_eq!(sale.hold_status(hold.hold_id).await, "expired", "taken back");
    set_ends(&sale, A_MICROSECOND_AGO).await;
    assert_eq!(expire_holds(&service, UNIX_EPOCH, 10).await.unwrap().rows, 1);
    assert_eq!(sale.hold_status(next.hold_id).await, "expired", "swept");

    for (moment, status) in [(NOW, HoldStatus::Cancelled), (A_MICROSECOND_AGO, HoldStatus::Expired)] {
        let hold = sale.clients().hold(product_id, 1).await.unwrap();
        set_ends(&sale, moment).await;
        assert_eq!(sale.clients().release(hold.hold_id).await.unwrap().status(), status);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_windows_and_due_times_change_exactly_at_their_moment() {
    let mysqld = Mysqld::start_private(&SERVER_OPTIONS).await;
    let sale = start(&mysqld, "exactly_at_other_moments").await;
    let at = |seconds| Some(Timestamp { seconds: NOW_SECONDS + seconds, nanos: 0 });
    let create = async |request| sale.clients().try_create_product(request).await.unwrap().product_id;

    let limited = create(CreateProductRequest { max_per_buyer: Some(1), ..product(9) }).await;
    sale.clients().hold_by(hold_of("ann", limited, 1)).await.unwrap();
    set_ends(&sale, NOW).await;
    let refused = sale.clients().hold_by(hold_of("ann", limited, 1)).await;
    assert_refused(refused, Code::FailedPrecondition, "BUYER_LIMIT");
    set_ends(&sale, A_MICROSECOND_AGO).await;
    sale.clients().hold_by(hold_of("ann", limited, 1)).await.unwrap();

    let starting = create(CreateProductRequest { starts_at: at(0), ..product(9) }).await;
    sale.clients().hold(starting, 1).await.unwrap();
    let ending = create(CreateProductRequest { ends_at: at(0), ..product(9) }).await;
    assert_refused(sale.clients().hold(ending, 1).await, Code::FailedPrecondition, "SALE_ENDED");
    let last = create(CreateProductRequest { starts_at: at(-1), ends_at: at(1), ..product(9) }).await;

    let order = sale.ordered(last, 1).await;
    assert_eq!(order.payment_due_at, at(30 * 60));
    for (moment, cancelled) in [(NOW, 0), (A_MICROSECOND_AGO, 1)] {
        sale.database.move_times(&format!("UPDATE orders SET payment_due_at = '{moment}'")).await;
        assert_eq!(cancel_overdue_orders(&sale.sweeper_database(), UNIX_EPOCH, 10).await.unwrap().rows, cancelled);
    }
    sale.finish().await;
}
