//! Runs audits in the middle of a sale where everything happens at once.

use std::{
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use flashsale::{
    checkout::Settings,
    pb::{AdjustStockRequest, PaymentStatus},
    sweeper,
};
use futures_util::future::join_all;

use crate::support::{
    audit::DEFAULT_PAGE,
    client::Clients,
    sale::{event, hold_of},
    server::{Sale, default_settings},
};

const BUYERS: usize = 24;
const PURCHASES: usize = 40;
const AUDITS_MIN: usize = 5;

/// Returns short times, so that holds expire and orders become overdue during the sale.
pub(super) fn short_settings() -> Settings {
    Settings {
        hold_ttl: Duration::from_millis(300),
        payment_due: Some(Duration::from_millis(400)),
        ..default_settings()
    }
}

/// Does what one buyer does: some purchases of each kind. Refusals are part of it.
pub(super) async fn buy(clients: Clients, buyer: usize, purchases: usize) {
    for number in 0..purchases {
        let product_id = i64::try_from(1 + (buyer + number) % 2).unwrap();
        let qty = i32::try_from(1 + number % 3).unwrap();
        let Ok(hold) = clients.hold_by(hold_of(&format!("buyer-{buyer}"), product_id, qty)).await else { continue };
        let way = (buyer + number) % 8;
        if way == 0 {
            continue;
        }
        if way == 1 {
            let _ = clients.release(hold.hold_id).await;
            continue;
        }
        let Ok(order) = clients.order(hold.hold_id).await else { continue };
        let (success, failure) = (PaymentStatus::Success, PaymentStatus::Failure);
        let events: &[(PaymentStatus, Option<i64>)] = match way {
            2 => &[],
            3 => &[(failure, None), (success, Some(1))],
            4 => &[(success, Some(1)), (success, None)],
            5 => &[(success, None), (failure, None), (success, None)],
            _ => &[(success, None)],
        };
        for (event_number, (status, amount_cents)) in events.iter().enumerate() {
            let key = format!("{}-{event_number}", order.order_id);
            let _ = clients.pay_by(event(&key, order.order_id, *status, *amount_cents)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_gives_no_false_alarm() {
    let sale = Sale::start_with("audit_storm", short_settings()).await;
    sale.product(60).await;
    sale.product(1_000_000).await;
    let buying = Arc::new(AtomicUsize::new(BUYERS));
    let buyers = Clients::connect_several(&sale.server.address(), BUYERS).await;
    let buyers = join_all(buyers.into_iter().enumerate().map(|(buyer, clients)| {
        let buying = Arc::clone(&buying);
        tokio::spawn(async move {
            buy(clients, buyer, PURCHASES).await;
            buying.fetch_sub(1, Ordering::Relaxed);
        })
    }));
    let is_on = || buying.load(Ordering::Relaxed) > 0;

    let sweeps = async {
        while is_on() {
            sweeper::run(&sale.sweeper(20), std::future::pending()).await.unwrap();
        }
    };
    let adjustments = async {
        for number in 0.. {
            if !is_on() {
                break;
            }
            let delta = if number % 2 == 0 { 5 } else { -3 };
            let request_id = format!("adjust-{number}");
            let adjust = AdjustStockRequest { product_id: 1, delta, reason: "count".to_owned(), request_id };
            let _ = sale.clients().admin.clone().adjust_stock(adjust).await;
        }
    };
    let audits = async {
        let mut audits = 0;
        while is_on() {
            let page = if audits % 2 == 0 { DEFAULT_PAGE } else { 16 };
            let audited = sale.database.audit(page, false).await;
            assert!(audited.findings.is_empty(), "{:#?}", audited.findings);
            audits += 1;
        }
        audits
    };
    let (bought, (), (), audits) = tokio::join!(buyers, sweeps, adjustments, audits);
    bought.into_iter().for_each(|buyer| buyer.unwrap());

    assert!(audits >= AUDITS_MIN, "only {audits} audits");
    for from in [
        "holds WHERE status = 'expired'",
        "holds WHERE status = 'cancelled'",
        "orders WHERE status = 'paid'",
        "orders WHERE status = 'cancelled' AND payment_due_at < UTC_TIMESTAMP(6)",
        "payment_exceptions",
        "stock_adjustments",
    ] {
        assert!(sale.count(from).await > 0, "no {from}");
    }
    sale.finish().await;
}
