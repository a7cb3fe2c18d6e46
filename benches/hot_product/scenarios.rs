//! Runs the scenarios, a function each.
//!
//! The designs take turns in each round, so that a machine that is slower for a while is slower for all. Their order
//! changes, so that what a design leaves behind meets each of the others.

mod box_office;
pub(crate) mod checkouts;
pub(crate) mod faults;
pub(crate) mod sweeping;

use crate::{
    bench::{Bench, PLENTY},
    callers::{self, Hold, Read},
    load::open_loop,
    measure::{Processes, measure},
    results::Design,
};

/// The names of the scenarios, as the option `--only` takes them.
pub(crate) const NAMES: [&str; 12] = [
    "hot_product",
    "buyer_limit",
    "box_office",
    "open_loop",
    "sold_out",
    "fresh_reads",
    "checkouts",
    "sixteen_products",
    "two_servers",
    "sweeping_while_selling",
    "timeline",
    "restart",
];

/// This build, and another one where it was given.
const BUILDS: [Design; 2] = [Design::Flashsale, Design::Other];
/// The designs that are measured beside the empty RPC.
const WITH_A_CEILING: [Design; 5] =
    [Design::Ceiling, Design::Flashsale, Design::Other, Design::Plain, Design::RedisEverysec];

/// Runs the scenarios that are asked for.
pub(crate) async fn run(bench: &mut Bench) {
    for name in NAMES {
        if !bench.options.wants(name) {
            continue;
        }
        match name {
            "hot_product" => hot_product(bench).await,
            "buyer_limit" => buyer_limit(bench).await,
            "box_office" => box_office::box_office(bench).await,
            "open_loop" => half_the_peak(bench).await,
            "sold_out" => sold_out(bench).await,
            "fresh_reads" => fresh_reads(bench).await,
            "checkouts" => checkouts::checkouts(bench).await,
            "sixteen_products" => sixteen_products(bench).await,
            "two_servers" => two_servers(bench).await,
            "sweeping_while_selling" => sweeping::sweeping(bench).await,
            "timeline" => faults::timeline(bench).await,
            _ => faults::restart(bench).await,
        }
        bench.close_books(name).await;
    }
}

/// The number of callers in scenarios that don't compare numbers of callers.
fn many(bench: &Bench) -> usize {
    if bench.options.quick { 128 } else { 256 }
}

/// Sells one product by every design, with few callers to many, all in each round.
async fn hot_product(bench: &mut Bench) {
    let designs =
        [Design::Ceiling, Design::Flashsale, Design::Other, Design::Plain, Design::RedisEverysec, Design::RedisAlways];
    for round in 0..bench.options.rounds() {
        for clients in bench.options.clients() {
            for design in bench.turns(round, &designs) {
                match design {
                    Design::Ceiling => bench.empty("hot_product", clients).await,
                    _ => bench.holds("hot_product", design, clients, 1, None).await,
                }
            }
        }
    }
}

/// Sells one product without a limit and with a limit for each buyer, where each call has another buyer.
async fn buyer_limit(bench: &mut Bench) {
    let clients = many(bench);
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &BUILDS) {
            bench.holds("buyer_limit_none", design, clients, 1, None).await;
            bench.holds("buyer_limit", design, clients, 1, Some(2)).await;
        }
    }
}

/// Calls at a fixed rate: half of what callers in a closed loop got.
async fn half_the_peak(bench: &mut Bench) {
    let peak = bench.run().cells.iter().filter(|cell| cell.design == Design::Flashsale);
    let peak = peak.flat_map(|cell| &cell.rounds).map(|round| round.granted_per_second).fold(0.0, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate")]
    let rate = if peak > 0.0 { (peak / 2.0 / 1000.0) as u64 * 1000 } else { 10_000 };
    let period = bench.options.period();
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &[Design::Flashsale, Design::Other, Design::RedisEverysec]) {
            let address = bench.address(design);
            let product = callers::create_product(&address, PLENTY, None).await;
            let hold = |channel| Hold::new(channel, &[product]);
            let calls: Vec<Hold> = callers::connect(&address, many(bench)).await.into_iter().map(hold).collect();
            let load = open_loop(&calls, rate.max(1000), period);
            let (round, outcome) = measure(&bench.shop, &bench.processes(design), period, load).await;
            bench.keep("open_loop", design, usize::try_from(rate).unwrap_or(0), &round, &outcome);
            bench.check_books(design, &[product], PLENTY, &outcome).await;
        }
    }
}

/// Asks for holds where nothing is left, without and with a limit for each buyer and a request_id.
async fn sold_out(bench: &mut Bench) {
    let clients = many(bench);
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &WITH_A_CEILING) {
            if design == Design::Ceiling {
                bench.empty("sold_out", clients).await;
                continue;
            }
            refusals(bench, "sold_out", design, None).await;
            if BUILDS.contains(&design) {
                refusals(bench, "sold_out_limited", design, Some(2)).await;
            }
        }
    }
}

async fn refusals(bench: &mut Bench, scenario: &str, design: Design, limit: Option<i32>) {
    let clients = many(bench);
    let address = bench.address(design);
    let product = callers::create_product(&address, 0, limit).await;
    let hold = |channel| Hold::new(channel, &[product]);
    let calls = callers::connect(&address, clients).await.into_iter().map(hold);
    let calls: Vec<Hold> =
        if limit.is_some() { calls.map(Hold::repeatable_by_buyers).collect() } else { calls.collect() };
    let (_, outcome) = bench.round(scenario, design, &calls, clients).await;
    if outcome.granted_in_all > 0 {
        bench.fault(format!("{scenario}: {} holds of nothing", outcome.granted_in_all));
    }
}

/// Calls GetProduct for one product.
async fn fresh_reads(bench: &mut Bench) {
    let clients = many(bench);
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &WITH_A_CEILING) {
            if design == Design::Ceiling {
                bench.empty("fresh_reads", clients).await;
                continue;
            }
            let address = bench.address(design);
            let product = callers::create_product(&address, PLENTY, None).await;
            let read = |channel| Read::new(channel, product);
            let calls: Vec<Read> = callers::connect(&address, clients).await.into_iter().map(read).collect();
            bench.round("fresh_reads", design, &calls, clients).await;
        }
    }
}

/// Runs the same callers on one product, and on sixteen in turn.
async fn sixteen_products(bench: &mut Bench) {
    let clients = many(bench);
    for round in 0..bench.options.rounds() {
        for design in bench.turns(round, &BUILDS) {
            bench.holds("sixteen_products_one", design, clients, 1, None).await;
            bench.holds("sixteen_products", design, clients, 16, None).await;
        }
    }
}

/// Runs the same callers on one server, and on two with one database.
async fn two_servers(bench: &mut Bench) {
    let clients = many(bench);
    let second = bench.shop.server().await;
    let first = bench.address(Design::Flashsale);
    let period = bench.options.period();
    for _ in 0..bench.options.rounds() {
        bench.holds("two_servers_one", Design::Flashsale, clients, 1, None).await;

        let product = callers::create_product(&first, PLENTY, None).await;
        let mut channels = callers::connect(&first, clients / 2).await;
        channels.extend(callers::connect(&second.address, clients / 2).await);
        // The callers take the connections in turn.
        let half = channels.len() / 2;
        let calls: Vec<Hold> = (0..channels.len())
            .map(|place| Hold::new(channels[place / 2 + place % 2 * half].clone(), &[product]))
            .collect();
        let mut processes = bench.processes(Design::Flashsale);
        processes.servers.push(second.pid());
        let processes = Processes { ..processes };
        let load = crate::load::closed_loop(&calls, clients, period);
        let (round, outcome) = measure(&bench.shop, &processes, period, load).await;
        bench.keep("two_servers", Design::Flashsale, clients, &round, &outcome);
        bench.check_books(Design::Flashsale, &[product], PLENTY, &outcome).await;
    }
}
