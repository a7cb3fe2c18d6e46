//! Wishes on their way: decided, sent, arrived, answered, and lost at each of these steps.

use stateright::{Model, Property};

use super::{
    plan::{Decision, Told, Want, decide},
    rows::{Guard, Row, Rows, Script, Wish},
};
use flashsale::domain::{HoldStatus, OrderStatus, PaymentResult, PaymentStatus};

pub(crate) const IN_BOUNDS: &str = "stock is between 0 and all there is";
pub(crate) const CONSERVED: &str = "stock is conserved";
pub(crate) const ONE_ORDER: &str = "a hold makes one order at most";
pub(crate) const ONE_HOLD: &str = "a request makes one hold at most";
pub(crate) const NEVER_BACK: &str = "a status never goes back";
pub(crate) const IN_TIME: &str = "a hold past its time makes no order";
pub(crate) const MONEY: &str = "money pays an order once, or is an exception";
pub(crate) const TRUE: &str = "what a caller was told is in the rows";
pub(crate) const FIRST: &str = "one call at most is told that it was the first";
// What some state reaches: a sale in which nothing happens would break no rule.
pub(crate) const ORDERED: &str = "an order is made";
pub(crate) const PAID: &str = "an order is paid";
pub(crate) const REFUSED: &str = "somebody is refused";

/// Describes a sale: what there is, and who wants what.
#[derive(Debug, Clone)]
pub(crate) struct Sale {
    pub(crate) total: i8,
    pub(crate) wants: Vec<Want>,
    pub(crate) ticks_max: u8,
    /// Limits how often a wish is decided.
    pub(crate) runs_max: u8,
    /// Limits how many answers are lost in all.
    pub(crate) losses_max: u8,
    pub(crate) left_out: &'static [Guard],
}

/// Says how far a wish has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It is to be decided, for the first time or again.
    Waiting,
    /// Its script is on the way to the database.
    Sent(Script),
    /// The database's answer is on the way back: whether the script was committed.
    Answering {
        committed: bool,
        last_row: Row,
    },
    Told(Told),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) phase: Phase,
    runs: u8,
    /// A script whose sender has given it up, and which may still arrive.
    stray: Option<Script>,
    /// Whether the outcome of an earlier run is unknown.
    is_unknown: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) rows: Rows,
    pub(crate) calls: Vec<Call>,
    losses: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A server reads the rows and decides.
    Decide(Wish),
    /// The script runs.
    Arrive(Wish),
    /// The server hears what became of the script.
    Hear(Wish),
    /// The connection breaks, before the script has run or after it.
    Lose(Wish),
    /// A script runs that its sender has given up.
    ArriveLate(Wish),
    /// The clock goes on.
    Tick,
}

impl Sale {
    /// Returns the row that a wish is about. `None`: nobody has been told of it yet.
    fn known(&self, wish: Wish, world: &World) -> Option<Row> {
        let told = |of: Wish| match world.calls[of].phase {
            Phase::Told(told) => Some(told),
            Phase::Waiting | Phase::Sent(_) | Phase::Answering { .. } => None,
        };
        match self.wants[wish] {
            Want::Hold { .. } | Want::Sweep => Some(0),
            Want::Release { of } | Want::Order { of } => match told(of)? {
                Told::Hold { row, .. } => Some(row),
                Told::Order { .. } | Told::Event { .. } | Told::Done | Told::Refused | Told::Unknown => None,
            },
            Want::Cancel { of } | Want::Pay { of, .. } => match told(of)? {
                Told::Order { row, .. } => Some(row),
                Told::Hold { .. } | Told::Event { .. } | Told::Done | Told::Refused | Told::Unknown => None,
            },
        }
    }

    fn guards(&self, guard: Guard) -> bool {
        !self.left_out.contains(&guard)
    }

    fn decide(&self, wish: Wish, world: &mut World) {
        let known = self.known(wish, world);
        let call = &mut world.calls[wish];
        if self.guards(Guard::KillBefore) {
            call.stray = None;
        }
        call.runs += 1;
        call.phase = match decide(self.wants[wish], known, &world.rows) {
            Decision::Write(script) => Phase::Sent(script),
            Decision::Answer(told) if call.is_unknown && !self.guards(Guard::FoundIsARepeat) => {
                Phase::Told(as_first(told))
            }
            Decision::Answer(told) => Phase::Told(told),
        };
    }

    fn hear(&self, wish: Wish, committed: bool, last_row: Row, call: &mut Call) {
        call.phase = match self.wants[wish] {
            _ if !committed => return self.again(call),
            Want::Hold { .. } => Phase::Told(Told::Hold { row: last_row, is_first: true }),
            Want::Order { .. } => Phase::Told(Told::Order { row: last_row, is_first: true }),
            Want::Pay { .. } => Phase::Told(Told::Event { row: last_row, is_first: true }),
            Want::Release { .. } | Want::Cancel { .. } | Want::Sweep => Phase::Told(Told::Done),
        };
    }

    fn again(&self, call: &mut Call) {
        call.phase = if call.runs < self.runs_max { Phase::Waiting } else { Phase::Told(Told::Unknown) };
    }

    /// Returns the last row of the table that a wish inserts into.
    fn last_row(&self, wish: Wish, rows: &Rows) -> Row {
        let count = match self.wants[wish] {
            Want::Hold { .. } => rows.holds.len(),
            Want::Order { .. } => rows.orders.len(),
            Want::Pay { .. } => rows.events.len(),
            Want::Release { .. } | Want::Cancel { .. } | Want::Sweep => 0,
        };
        count.saturating_sub(1)
    }
}

/// Says what a server would say that took what it finds for its own work.
fn as_first(told: Told) -> Told {
    match told {
        Told::Hold { row, .. } => Told::Hold { row, is_first: true },
        Told::Order { row, .. } => Told::Order { row, is_first: true },
        Told::Event { row, .. } => Told::Event { row, is_first: true },
        Told::Done | Told::Refused | Told::Unknown => told,
    }
}

impl Model for Sale {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let call = Call { phase: Phase::Waiting, runs: 0, stray: None, is_unknown: false };
        vec![World { rows: Rows::new(self.total), calls: vec![call; self.wants.len()], losses: 0 }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let may_lose = world.losses < self.losses_max;
        for (wish, call) in world.calls.iter().enumerate() {
            match call.phase {
                Phase::Waiting if self.known(wish, world).is_some() => steps.push(Step::Decide(wish)),
                Phase::Waiting | Phase::Told(_) => {}
                Phase::Sent(_) => steps.push(Step::Arrive(wish)),
                Phase::Answering { .. } => steps.push(Step::Hear(wish)),
            }
            if may_lose && matches!(call.phase, Phase::Sent(_) | Phase::Answering { .. }) {
                steps.push(Step::Lose(wish));
            }
            if call.stray.is_some() {
                steps.push(Step::ArriveLate(wish));
            }
        }
        if world.rows.now < self.ticks_max {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Decide(wish) => self.decide(wish, &mut world),
            Step::Arrive(wish) => {
                let Phase::Sent(script) = &before.calls[wish].phase else { return None };
                let committed = world.rows.run(script, wish, self.left_out).is_ok();
                let last_row = self.last_row(wish, &world.rows);
                world.calls[wish].phase = Phase::Answering { committed, last_row };
            }
            Step::Hear(wish) => {
                let Phase::Answering { committed, last_row } = before.calls[wish].phase else { return None };
                self.hear(wish, committed, last_row, &mut world.calls[wish]);
            }
            Step::Lose(wish) => {
                world.losses += 1;
                let call = &mut world.calls[wish];
                call.is_unknown = true;
                if let Phase::Sent(script) = &before.calls[wish].phase {
                    call.stray = Some(script.clone());
                }
                self.again(call);
            }
            Step::ArriveLate(wish) => {
                let script = world.calls[wish].stray.take()?;
                // Nobody hears what became of it.
                let _unheard = world.rows.run(&script, wish, self.left_out);
            }
            Step::Tick => world.rows.now += 1,
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(IN_BOUNDS, |_, world: &World| (0..=world.rows.total).contains(&world.rows.available)),
            Property::always(CONSERVED, |_, world: &World| conserved(&world.rows)),
            Property::always(ONE_ORDER, |_, world: &World| {
                let orders = &world.rows.orders;
                orders.iter().enumerate().all(|(row, order)| orders[..row].iter().all(|other| other.hold != order.hold))
            }),
            Property::always(ONE_HOLD, |_, world: &World| {
                let holds = &world.rows.holds;
                holds
                    .iter()
                    .enumerate()
                    .all(|(row, hold)| holds[..row].iter().all(|other| other.request != hold.request))
            }),
            Property::always(NEVER_BACK, |_, world: &World| !world.rows.went_back),
            Property::always(IN_TIME, |_, world: &World| !world.rows.was_late),
            Property::always(MONEY, |_, world: &World| money(&world.rows)),
            Property::always(TRUE, |sale: &Sale, world: &World| {
                world.calls.iter().enumerate().all(|(wish, call)| is_true(sale.wants[wish], wish, call, &world.rows))
            }),
            Property::always(FIRST, |_, world: &World| firsts(world)),
            Property::sometimes(ORDERED, |_, world: &World| !world.rows.orders.is_empty()),
            Property::sometimes(PAID, |_, world: &World| {
                world.rows.orders.iter().any(|order| order.status == OrderStatus::Paid)
            }),
            Property::sometimes(REFUSED, |_, world: &World| {
                world.calls.iter().any(|call| call.phase == Phase::Told(Told::Refused))
            }),
        ]
    }
}

fn conserved(rows: &Rows) -> bool {
    let held: i8 = rows.holds.iter().filter(|hold| hold.status == HoldStatus::Active).map(|hold| hold.qty).sum();
    let is_open = |status| matches!(status, OrderStatus::Pending | OrderStatus::Paid);
    let ordered: i8 = rows.orders.iter().filter(|order| is_open(order.status)).map(|order| order.qty).sum();
    rows.total == rows.available + held + ordered
}

fn money(rows: &Rows) -> bool {
    (0..rows.orders.len()).all(|order| {
        let events =
            || rows.events.iter().filter(|event| event.order == order && event.status == PaymentStatus::Success);
        let paying = events().filter(|event| event.result == PaymentResult::Applied).count();
        let is_paid = rows.orders[order].status == OrderStatus::Paid;
        paying == usize::from(is_paid)
            && events().all(|event| event.result == PaymentResult::Applied || event.result.refund_required())
    }) && rows
        .events
        .iter()
        .enumerate()
        .all(|(row, event)| rows.events[..row].iter().all(|other| other.key != event.key))
}

fn is_true(want: Want, wish: Wish, call: &Call, rows: &Rows) -> bool {
    let Phase::Told(told) = call.phase else { return true };
    match (told, want) {
        (Told::Hold { row, .. }, Want::Hold { request, .. }) => {
            rows.holds.get(row).is_some_and(|hold| hold.request == request)
        }
        (Told::Order { row, .. }, _) => rows.orders.get(row).is_some(),
        (Told::Event { row, .. }, Want::Pay { key, .. }) => rows.events.get(row).is_some_and(|event| event.key == key),
        // Nothing that was refused takes effect, also not later.
        (Told::Refused, _) => {
            rows.holds.iter().all(|hold| hold.made_by != wish)
                && rows.orders.iter().all(|order| order.made_by != wish)
                && rows.events.iter().all(|event| event.made_by != wish)
        }
        (Told::Done | Told::Unknown, _) => true,
        (Told::Hold { .. } | Told::Event { .. }, _) => false,
    }
}

fn firsts(world: &World) -> bool {
    let first = |call: &Call| match call.phase {
        Phase::Told(Told::Hold { row, is_first: true }) => Some((0, row)),
        Phase::Told(Told::Order { row, is_first: true }) => Some((1, row)),
        Phase::Told(Told::Event { row, is_first: true }) => Some((2, row)),
        Phase::Waiting | Phase::Sent(_) | Phase::Answering { .. } | Phase::Told(_) => None,
    };
    let firsts: Vec<_> = world.calls.iter().filter_map(first).collect();
    firsts.iter().enumerate().all(|(place, one)| !firsts[..place].contains(one))
}
