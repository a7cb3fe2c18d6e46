//! Makes whole checkouts: hold, order, webhook through the gateway, paid. The same calls also run with nothing behind.

use std::collections::BTreeMap;

use crate::{
    bench::{Bench, PLENTY},
    callers::{self, EmptyPurchase, Purchase},
    load::{Call, Outcome, closed_loop},
    measure::measure,
    results::Design,
    shop::Process,
};

pub(crate) async fn checkouts(bench: &mut Bench) {
    let clients = super::many(bench);
    let designs = [Design::Ceiling, Design::Flashsale, Design::Other, Design::Plain];
    let mut gateways = BTreeMap::new();
    for design in bench.turns(0, &designs) {
        let program = bench.options.other_gateway().filter(|_| design == Design::Other);
        gateways.insert(design, bench.shop.gateway(program.as_deref(), &bench.address(design)).await);
    }
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &designs) {
            let (gateway, address) = (&gateways[&design], bench.address(design));
            let channels = callers::connect(&address, clients).await.into_iter();
            if design == Design::Ceiling {
                bench.empty("checkouts", clients).await;
                let purchase = |channel| EmptyPurchase::new(channel, &gateway.address);
                let calls: Vec<EmptyPurchase> = channels.map(purchase).collect();
                through_a_gateway(bench, "checkouts_empty", design, gateway, &calls).await;
                continue;
            }
            let product = callers::create_product(&address, PLENTY, None).await;
            let purchase = |channel| Purchase::new(channel, product, &gateway.address);
            let calls: Vec<Purchase> = channels.map(purchase).collect();
            let outcome = through_a_gateway(bench, "checkouts", design, gateway, &calls).await;
            bench.check_books(design, &[product], PLENTY, &outcome).await;
            let unpaid = "SELECT COUNT(*) FROM orders WHERE product_id = ";
            let unpaid = bench.shop.database.query_i64(&format!("{unpaid}{product} AND status <> 'paid'")).await;
            if unpaid != 0 && outcome.failed_in_all == 0 {
                bench.fault(format!("checkouts: {unpaid} orders of answered payments are not paid"));
            }
        }
        // The next round has to find the same tables.
        bench.close_books("checkouts").await;
    }
}

/// Measures calls that also go through this gateway.
async fn through_a_gateway<C: Call>(
    bench: &mut Bench,
    scenario: &str,
    design: Design,
    gateway: &Process,
    calls: &[C],
) -> Outcome {
    let (clients, period) = (super::many(bench), bench.options.period());
    let mut processes = bench.processes(design);
    processes.servers.push(gateway.pid());
    let (round, outcome) = measure(&bench.shop, &processes, period, closed_loop(calls, clients, period)).await;
    bench.keep(scenario, design, clients, &round, &outcome);
    outcome
}
