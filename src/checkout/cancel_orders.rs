//! What cancels pending orders: a failed payment, a caller, the sweep, and whoever takes overdue orders back.

use std::collections::BTreeMap;

use crate::{
    db::{Script, holds, orders, products},
    domain::{HoldId, HoldStatus, Order, OrderId, PaymentId, ProductId, SettledBy},
};

/// Cancels locked, pending orders and their holds, and gives their units back.
pub(super) fn cancel_orders<'o>(script: &mut Script, orders: impl Iterator<Item = &'o Order>, by: SettledBy) {
    for (product_id, units) in cancel_orders_but_for_stock(script, orders, by) {
        products::give_back(script, product_id, units);
    }
}

/// Cancels locked, pending orders and their holds. Returns the units of each product, which the caller gives back.
pub(super) fn cancel_orders_but_for_stock<'o>(
    script: &mut Script,
    orders: impl Iterator<Item = &'o Order>,
    by: SettledBy,
) -> BTreeMap<ProductId, i64> {
    let (mut settled, mut hold_ids): (Vec<(OrderId, Option<PaymentId>)>, Vec<HoldId>) = (Vec::new(), Vec::new());
    let mut units: BTreeMap<ProductId, i64> = BTreeMap::new();
    for order in orders {
        settled.push((order.id, None));
        hold_ids.push(order.hold_id);
        *units.entry(order.product_id).or_default() += order.qty.units();
    }
    orders::settle(script, &settled, by);
    holds::set_status(script, &hold_ids, HoldStatus::Used, HoldStatus::Cancelled);
    units
}
