//! What a server or a sweeper decides on the rows that it has read, by the functions of the domain.

use flashsale::domain::{
    HoldStatus, OrderStatus, PaymentEvent, PaymentStatus, Quantity,
    hold::{NotOrderable, Release},
    order::Cancellation,
    payment::settle,
};

use super::rows::{Row, Rows, Script, Statement, Wish};

/// Is what somebody wants. Wishes for the same hold, order or key are repeats of one caller, or races of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Want {
    /// CreateHold.
    Hold { request: u8, qty: i8 },
    /// ReleaseHold, of the hold that a wish was told of.
    Release { of: Wish },
    /// CreateOrder.
    Order { of: Wish },
    /// CancelOrder.
    Cancel { of: Wish },
    /// HandlePaymentWebhook, for the order that a wish was told of.
    Pay { of: Wish, key: u8, status: PaymentStatus },
    /// One batch of the sweeper.
    Sweep,
}

/// Is what a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    /// The row, and whether this call made it.
    Hold {
        row: Row,
        is_first: bool,
    },
    Order {
        row: Row,
        is_first: bool,
    },
    Event {
        row: Row,
        is_first: bool,
    },
    /// There is nothing left to do.
    Done,
    Refused,
    /// UNAVAILABLE: it may have been done, or may still be.
    Unknown,
}

/// Is what was decided: an answer by reads alone, or a script that has to be committed first.
pub(crate) enum Decision {
    Answer(Told),
    Write(Script),
}

/// Decides a wish. `known` is the row that the wish is about, which an earlier answer has told.
pub(crate) fn decide(want: Want, known: Option<Row>, rows: &Rows) -> Decision {
    match (want, known) {
        (Want::Hold { request, qty }, _) => hold(request, qty, rows),
        (Want::Release { .. }, Some(row)) => release(row, rows),
        (Want::Order { .. }, Some(row)) => order(row, rows),
        (Want::Cancel { .. }, Some(row)) => cancel(row, rows),
        (Want::Pay { key, status, .. }, Some(row)) => pay(row, key, status, rows),
        (Want::Sweep, _) => match take_back(rows) {
            (script, 0) if script.is_empty() => Decision::Answer(Told::Done),
            (script, _) => Decision::Write(script),
        },
        (Want::Release { .. } | Want::Order { .. } | Want::Cancel { .. } | Want::Pay { .. }, None) => {
            unreachable!("a wish waits until it knows its row")
        }
    }
}

fn hold(request: u8, qty: i8, rows: &Rows) -> Decision {
    if let Some(row) = rows.holds.iter().position(|hold| hold.request == request) {
        return Decision::Answer(Told::Hold { row, is_first: false });
    }
    let wanted = Quantity::stored(qty.into());
    let make = [Statement::TakeStock(qty), Statement::InsertHold { request, qty }];
    let mut product = rows.product();
    if product.take(wanted).is_ok() {
        return Decision::Write(make.into());
    }
    let (mut script, lapsed) = take_back(rows);
    product.give_back(lapsed.into());
    if product.take(wanted).is_err() {
        return Decision::Answer(Told::Refused);
    }
    script.extend(make);
    Decision::Write(script)
}

/// Returns the script that gives back all units past their time, and how many these are.
fn take_back(rows: &Rows) -> (Script, i8) {
    let (holds, orders) = (rows.lapsed_holds(), rows.overdue_orders());
    let held: i8 = holds.iter().map(|row| rows.holds[*row].qty).sum();
    let ordered: i8 = orders.iter().map(|row| rows.orders[*row].qty).sum();
    let mut script = Script::new();
    if !holds.is_empty() {
        let (from, to) = (HoldStatus::Active, HoldStatus::Expired);
        script.extend([Statement::SetHolds { holds, from, to, in_time: false }, Statement::GiveBack(held)]);
    }
    if !orders.is_empty() {
        script.extend(cancelled(&orders, rows));
    }
    (script, held + ordered)
}

fn cancelled(orders: &[Row], rows: &Rows) -> Script {
    let holds = orders.iter().map(|row| rows.orders[*row].hold).collect();
    let units = orders.iter().map(|row| rows.orders[*row].qty).sum();
    vec![
        Statement::SetOrders { orders: orders.to_vec(), to: OrderStatus::Cancelled },
        Statement::SetHolds { holds, from: HoldStatus::Used, to: HoldStatus::Cancelled, in_time: false },
        Statement::GiveBack(units),
    ]
}

fn release(row: Row, rows: &Rows) -> Decision {
    let to = match rows.hold(row).release(rows.time()) {
        Some(Release::Cancel) => HoldStatus::Cancelled,
        Some(Release::Expire) => HoldStatus::Expired,
        Some(Release::AlreadyOver) => return Decision::Answer(Told::Done),
        None => return Decision::Answer(Told::Refused),
    };
    let set = Statement::SetHolds { holds: vec![row], from: HoldStatus::Active, to, in_time: false };
    Decision::Write(vec![set, Statement::GiveBack(rows.holds[row].qty)])
}

fn order(hold: Row, rows: &Rows) -> Decision {
    if let Some(row) = rows.orders.iter().position(|order| order.hold == hold) {
        return Decision::Answer(Told::Order { row, is_first: false });
    }
    match rows.hold(hold).order(rows.time()) {
        Ok(()) => {
            let (from, to) = (HoldStatus::Active, HoldStatus::Used);
            let set = Statement::SetHolds { holds: vec![hold], from, to, in_time: true };
            Decision::Write(vec![set, Statement::InsertOrder { hold }])
        }
        Err(NotOrderable::Expired | NotOrderable::Cancelled | NotOrderable::Used) => Decision::Answer(Told::Refused),
    }
}

fn cancel(row: Row, rows: &Rows) -> Decision {
    match rows.order(row).cancellation() {
        Ok(Cancellation::Cancel) => Decision::Write(cancelled(&[row], rows)),
        Ok(Cancellation::AlreadyCancelled) => Decision::Answer(Told::Done),
        Err(_paid) => Decision::Answer(Told::Refused),
    }
}

fn pay(order: Row, key: u8, status: PaymentStatus, rows: &Rows) -> Decision {
    if let Some(row) = rows.events.iter().position(|event| event.key == key) {
        return Decision::Answer(Told::Event { row, is_first: false });
    }
    let event = PaymentEvent { status, amount_cents: None, payment_id: None };
    let settlement = settle(&rows.order(order), &event);
    let mut script = match settlement.settled_by().map(|by| by.order_status()) {
        Some(OrderStatus::Paid) => vec![Statement::SetOrders { orders: vec![order], to: OrderStatus::Paid }],
        Some(OrderStatus::Cancelled) => cancelled(&[order], rows),
        Some(OrderStatus::Pending) | None => vec![Statement::OrderIs { order, status: settlement.order_status }],
    };
    script.push(Statement::InsertEvent { key, order, status, result: settlement.result });
    Decision::Write(script)
}
