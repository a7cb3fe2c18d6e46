//! The rows of one product, and the statements that change them with the guards that the real ones have.

use std::time::{Duration, SystemTime};

use flashsale::domain::{
    Hold, HoldId, HoldStatus, Order, OrderId, OrderStatus, PaymentResult, PaymentStatus, Product, ProductId, Quantity,
};

/// Lists the guards that a run may leave out, to show that the checker finds what they prevent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A write that met fewer rows than it names rolls back.
    RowCount,
    /// A write of a status names the status before.
    Status,
    /// Stock is taken only where there is enough.
    Stock,
    /// A hold's time is compared again when its order is written.
    InTime,
    /// A request_id makes one hold.
    UniqueRequest,
    /// A hold makes one order.
    UniqueOrder,
    /// An idempotency key is stored once.
    UniqueKey,
    /// A run first ends the session of the run before.
    KillBefore,
    /// What is found under a caller's own id counts as a repeat, also after a lost answer.
    FoundIsARepeat,
}

/// Counts the ticks of the database's clock.
pub(crate) type Tick = u8;
/// Names a row by its place in its table.
pub(crate) type Row = usize;
/// Names a wish by its place among the wishes.
pub(crate) type Wish = usize;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HoldRow {
    pub(crate) request: u8,
    pub(crate) qty: i8,
    pub(crate) status: HoldStatus,
    pub(crate) expires_at: Tick,
    pub(crate) made_by: Wish,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OrderRow {
    pub(crate) hold: Row,
    pub(crate) qty: i8,
    pub(crate) status: OrderStatus,
    pub(crate) due_at: Tick,
    pub(crate) made_by: Wish,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EventRow {
    pub(crate) key: u8,
    pub(crate) order: Row,
    pub(crate) status: PaymentStatus,
    pub(crate) result: PaymentResult,
    pub(crate) made_by: Wish,
}

/// Holds what is committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rows {
    pub(crate) now: Tick,
    pub(crate) total: i8,
    pub(crate) available: i8,
    pub(crate) holds: Vec<HoldRow>,
    pub(crate) orders: Vec<OrderRow>,
    pub(crate) events: Vec<EventRow>,
    /// Whether a paid or cancelled order, or a hold that was over, has changed its status.
    pub(crate) went_back: bool,
    /// Whether an order was made of a hold past its time.
    pub(crate) was_late: bool,
}

/// Is one statement of a script. `now` is the time at which it runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Statement {
    TakeStock(i8),
    GiveBack(i8),
    InsertHold {
        request: u8,
        qty: i8,
    },
    /// With `in_time`, only holds that aren't past their time.
    SetHolds {
        holds: Vec<Row>,
        from: HoldStatus,
        to: HoldStatus,
        in_time: bool,
    },
    InsertOrder {
        hold: Row,
    },
    SetOrders {
        orders: Vec<Row>,
        to: OrderStatus,
    },
    /// Stands for the lock on an order that a payment event reads and doesn't change.
    OrderIs {
        order: Row,
        status: OrderStatus,
    },
    InsertEvent {
        key: u8,
        order: Row,
        status: PaymentStatus,
        result: PaymentResult,
    },
}

/// Is one text from BEGIN to COMMIT.
pub(crate) type Script = Vec<Statement>;

/// Says that a statement met other rows than its script was planned on. Nothing of the script stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RolledBack;

fn at(tick: Tick) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(tick.into())
}

fn id(row: Row) -> i64 {
    i64::try_from(row).expect("a sale has few rows") + 1
}

impl Rows {
    pub(crate) fn new(total: i8) -> Self {
        Self {
            now: 0,
            total,
            available: total,
            holds: Vec::new(),
            orders: Vec::new(),
            events: Vec::new(),
            went_back: false,
            was_late: false,
        }
    }

    pub(crate) fn time(&self) -> SystemTime {
        at(self.now)
    }

    /// Returns the product as the domain knows it.
    pub(crate) fn product(&self) -> Product {
        Product {
            id: ProductId::stored(1),
            price_cents: 1,
            total_stock: self.total.into(),
            available_stock: self.available.into(),
            max_per_buyer: None,
            starts_at: None,
            ends_at: None,
            paused: false,
        }
    }

    /// Returns a hold as the domain knows it.
    pub(crate) fn hold(&self, row: Row) -> Hold {
        let hold = &self.holds[row];
        Hold {
            id: HoldId::stored(id(row)),
            product_id: ProductId::stored(1),
            qty: Quantity::stored(hold.qty.into()),
            unit_price_cents: 1,
            status: hold.status,
            expires_at: at(hold.expires_at),
            created_at: at(0),
            buyer_id: None,
        }
    }

    /// Returns an order as the domain knows it.
    pub(crate) fn order(&self, row: Row) -> Order {
        let order = &self.orders[row];
        Order {
            id: OrderId::stored(id(row)),
            hold_id: HoldId::stored(id(order.hold)),
            product_id: ProductId::stored(1),
            qty: Quantity::stored(order.qty.into()),
            amount_cents: order.qty.into(),
            status: order.status,
            payment_due_at: Some(at(order.due_at)),
            created_at: at(0),
            buyer_id: None,
            settled_at: None,
            payment_id: None,
        }
    }

    /// Lists the active holds past their time.
    pub(crate) fn lapsed_holds(&self) -> Vec<Row> {
        let is_lapsed = |row: &Row| {
            self.holds[*row].status == HoldStatus::Active
                && self.hold(*row).status_at(self.time()) == HoldStatus::Expired
        };
        (0..self.holds.len()).filter(is_lapsed).collect()
    }

    /// Lists the pending orders that are overdue.
    pub(crate) fn overdue_orders(&self) -> Vec<Row> {
        let is_overdue = |row: &Row| {
            let order = self.order(*row);
            order.cancel().is_some() && order.payment_due_at.is_some_and(|due| due < self.time())
        };
        (0..self.orders.len()).filter(is_overdue).collect()
    }

    /// Runs a script as a transaction of its own: all of it is committed, or nothing.
    pub(crate) fn run(&mut self, script: &Script, by: Wish, left_out: &[Guard]) -> Result<(), RolledBack> {
        let mut rows = self.clone();
        for statement in script {
            rows.apply(statement, by, left_out)?;
        }
        *self = rows;
        Ok(())
    }

    fn apply(&mut self, statement: &Statement, by: Wish, left_out: &[Guard]) -> Result<(), RolledBack> {
        let guards = |guard: Guard| !left_out.contains(&guard);
        let unless = |is_against: bool| if is_against { Err(RolledBack) } else { Ok(()) };
        match statement {
            Statement::TakeStock(units) => {
                unless(guards(Guard::Stock) && self.available < *units)?;
                self.available -= units;
            }
            Statement::GiveBack(units) => {
                self.available += units;
                unless(guards(Guard::Stock) && self.available > self.total)?;
            }
            Statement::InsertHold { request, qty } => {
                let is_there = self.holds.iter().any(|hold| hold.request == *request);
                unless(guards(Guard::UniqueRequest) && is_there)?;
                let (status, expires_at) = (HoldStatus::Active, self.now);
                self.holds.push(HoldRow { request: *request, qty: *qty, status, expires_at, made_by: by });
            }
            Statement::SetHolds { holds, from, to, in_time } => {
                let mut met = 0;
                for row in holds {
                    let is_past = self.holds[*row].expires_at < self.now;
                    let hold = &mut self.holds[*row];
                    if guards(Guard::Status) && hold.status != *from || guards(Guard::InTime) && *in_time && is_past {
                        continue;
                    }
                    met += 1;
                    self.went_back |= matches!(hold.status, HoldStatus::Expired | HoldStatus::Cancelled);
                    self.was_late |= *to == HoldStatus::Used && is_past;
                    hold.status = *to;
                }
                unless(guards(Guard::RowCount) && met != holds.len())?;
            }
            Statement::InsertOrder { hold } => {
                unless(guards(Guard::UniqueOrder) && self.orders.iter().any(|order| order.hold == *hold))?;
                let (qty, status, due_at) = (self.holds[*hold].qty, OrderStatus::Pending, self.now);
                self.orders.push(OrderRow { hold: *hold, qty, status, due_at, made_by: by });
            }
            Statement::SetOrders { orders, to } => {
                let mut met = 0;
                for row in orders {
                    let order = &mut self.orders[*row];
                    if guards(Guard::Status) && order.status != OrderStatus::Pending {
                        continue;
                    }
                    met += 1;
                    self.went_back |= order.status != OrderStatus::Pending;
                    order.status = *to;
                }
                unless(guards(Guard::RowCount) && met != orders.len())?;
            }
            Statement::OrderIs { order, status } => {
                unless(guards(Guard::Status) && self.orders[*order].status != *status)?;
            }
            Statement::InsertEvent { key, order, status, result } => {
                unless(guards(Guard::UniqueKey) && self.events.iter().any(|event| event.key == *key))?;
                let (key, order, status, result) = (*key, *order, *status, *result);
                self.events.push(EventRow { key, order, status, result, made_by: by });
            }
        }
        Ok(())
    }
}
