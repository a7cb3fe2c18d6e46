//! Tries every order of events in small sales, by a model of the protocol.
//!
//! Servers and sweepers read the rows, decide by the functions of the domain, and send one script that is committed as a
//! whole or not at all. Between any two of these steps all others may act, the clock may go on, an answer may be lost, and
//! a script may arrive after its sender has given it up. The checker visits every state that can be reached, within the
//! limits of each sale, and holds the rules against it. Then each guard is left out once, and it has to find the fault.
//!
//! The model has no locks: every decision may be on rows that have changed since. So it allows more than the service does,
//! and what holds here doesn't depend on a lock.

mod plan;
mod rows;
mod world;

use std::{collections::BTreeSet, env, time::Instant};

use flashsale::domain::PaymentStatus::{AttemptFailed, Failure, Success};
use stateright::{Checker, HasDiscoveries, Model};

use plan::Want;
use rows::Guard;
use world::{
    CONSERVED, FIRST, IN_BOUNDS, IN_TIME, MONEY, NEVER_BACK, ONE_HOLD, ONE_ORDER, ORDERED, PAID, REFUSED, Sale, TRUE,
};

/// Returns how many answers are lost in one sale: 1, or what FLASHSALE_MODEL_LOSSES says.
fn losses_max() -> u8 {
    env::var("FLASHSALE_MODEL_LOSSES").map_or(1, |losses| losses.parse().expect("FLASHSALE_MODEL_LOSSES is a number"))
}

fn sale(total: i8, wants: &[Want]) -> Sale {
    let losses_max = losses_max();
    Sale { total, wants: wants.to_vec(), ticks_max: 1, runs_max: losses_max + 1, losses_max, left_out: &[] }
}

/// Two callers and a repeat race for the only unit, while holds run out and are swept.
fn holds() -> Sale {
    let hold = |request| Want::Hold { request, qty: 1 };
    sale(1, &[hold(1), hold(1), hold(2), Want::Order { of: 0 }, Want::Release { of: 0 }, Want::Sweep])
}

/// Two callers order one hold.
fn orders() -> Sale {
    let order = Want::Order { of: 0 };
    sale(1, &[Want::Hold { request: 1, qty: 1 }, order, order])
}

/// One order is paid and declined at once, by events that come twice, while it runs out and is swept.
fn payments() -> Sale {
    let pay = |key, status| Want::Pay { of: 1, key, status };
    let order = [Want::Hold { request: 1, qty: 1 }, Want::Order { of: 0 }];
    sale(1, &[&order[..], &[pay(1, Success), pay(1, Success), pay(2, Failure), Want::Sweep]].concat())
}

/// One order is paid twice and cancelled at once, and its unit is wanted by another.
fn cancellations() -> Sale {
    let hold = |request| Want::Hold { request, qty: 1 };
    let pay = |key, status| Want::Pay { of: 1, key, status };
    let order = [hold(1), Want::Order { of: 0 }];
    sale(1, &[&order[..], &[Want::Cancel { of: 1 }, hold(2), pay(1, Success), pay(2, Success)]].concat())
}

/// An attempt fails while the order is paid, cancelled and swept.
fn attempts() -> Sale {
    let pay = |key, status| Want::Pay { of: 1, key, status };
    let order = [Want::Hold { request: 1, qty: 1 }, Want::Order { of: 0 }];
    sale(1, &[&order[..], &[pay(1, AttemptFailed), pay(2, Success), Want::Cancel { of: 1 }, Want::Sweep]].concat())
}

/// Visits all states of a sale, and asserts that none breaks a rule and that some reach what the sale is about.
fn assert_sound(name: &str, sale: Sale, reached: &[&'static str]) {
    let begun = Instant::now();
    let checker = sale.checker().threads(2).spawn_dfs().join();
    println!("{name}: {} states in {:.1} s", checker.unique_state_count(), begun.elapsed().as_secs_f64());
    let found: BTreeSet<&str> = checker.discoveries().into_keys().collect();
    assert_eq!(found, reached.iter().copied().collect(), "{name}");
}

/// Returns the shortest way to break a rule in a sale without some of the guards.
fn way_to_break(rule: &'static str, left_out: &'static [Guard], sale: Sale) -> Option<String> {
    let goal = HasDiscoveries::AnyOf(BTreeSet::from([rule]));
    let checker = Sale { left_out, ..sale }.checker().threads(2).finish_when(goal).spawn_bfs().join();
    Some(format!("{:?}", checker.discovery(rule)?.into_actions()))
}

#[test]
fn no_order_of_events_breaks_a_rule() {
    assert_sound("holds", holds(), &[ORDERED, REFUSED]);
    assert_sound("payments", payments(), &[ORDERED, PAID, REFUSED]);
    assert_sound("cancellations", cancellations(), &[ORDERED, PAID, REFUSED]);
    assert_sound("attempts", attempts(), &[ORDERED, PAID, REFUSED]);
}

/// Names what is left out, the sale in which it is missed, and the rule that the sale then breaks.
type Case = (&'static [Guard], fn() -> Sale, &'static str);

#[test]
fn each_guard_is_missed_where_it_is_left_out() {
    let cases: [Case; 9] = [
        (&[Guard::RowCount], holds, CONSERVED),
        (&[Guard::Status], holds, NEVER_BACK),
        (&[Guard::Stock], holds, IN_BOUNDS),
        (&[Guard::InTime], holds, IN_TIME),
        (&[Guard::UniqueRequest], holds, ONE_HOLD),
        // Where the status is compared, the unique key is the second guard of the same rule.
        (&[Guard::Status, Guard::UniqueOrder], orders, ONE_ORDER),
        (&[Guard::UniqueKey], payments, MONEY),
        (&[Guard::KillBefore], holds, TRUE),
        (&[Guard::FoundIsARepeat], holds, FIRST),
    ];
    for (left_out, sale, rule) in cases {
        let way = way_to_break(rule, left_out, sale());
        println!("without {left_out:?}: not \"{rule}\" after {}", way.as_deref().unwrap_or("anything"));
        assert!(way.is_some(), "nothing shows that {left_out:?} is left out");
    }
}

/// A unique key alone keeps a hold from being ordered twice, where no status is compared.
#[test]
fn the_unique_key_of_orders_is_enough_for_one_order_a_hold() {
    assert_eq!(way_to_break(ONE_ORDER, &[Guard::Status], orders()), None);
}
