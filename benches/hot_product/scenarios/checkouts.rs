//! Whole checkouts: hold, order, webhook through the gateway, paid.

use std::collections::BTreeMap;

use crate::{
    bench::{Bench, PLENTY},
    callers::{self, Purchase},
    measure::measure,
    results::Design,
};

pub(crate) async fn checkouts(bench: &mut Bench) {
    let clients = super::many(bench);
    let designs = [Design::Ceiling, Design::Flashsale, Design::Other, Design::Plain];
    let mut gateways = BTreeMap::new();
    for design in bench.turns(0, &designs) {
        let program = bench.options.other_gateway().filter(|_| design == Design::Other);
        gateways.insert(design, bench.shop.gateway(program.as_deref(), &bench.address(design)).await);
    }
    let period = bench.options.period();
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &designs) {
            if design == Design::Ceiling {
                bench.empty("checkouts", clients).await;
                continue;
            }
            let gateway = &gateways[&design];
            let address = bench.address(design);
            let product = callers::create_product(&address, PLENTY, None).await;
            let purchase = |channel| Purchase::new(channel, product, &gateway.address);
            let calls: Vec<Purchase> = callers::connect(&address, clients).await.into_iter().map(purchase).collect();
            let mut processes = bench.processes(design);
            processes.servers.push(gateway.pid());
            let load = crate::load::closed_loop(&calls, clients, period);
            let (round, outcome) = measure(&bench.shop, &processes, period, load).await;
            bench.keep("checkouts", design, clients, &round, &outcome);
            bench.check_books(design, &[product], PLENTY, &outcome).await;
            let unpaid = "SELECT COUNT(*) FROM orders WHERE product_id = ";
            let unpaid = bench.shop.database.query_i64(&format!("{unpaid}{product} AND status <> 'paid'")).await;
            if unpaid != 0 && outcome.failed_in_all == 0 {
                bench.fault(format!("checkouts: {unpaid} orders of answered payments are not paid"));
            }
        }
        // The next round shall find the same tables.
        bench.close_books("checkouts").await;
    }
}
