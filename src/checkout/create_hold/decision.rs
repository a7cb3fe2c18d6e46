//! What happens to each command of a batch. Pure: it decides on what the batch has read.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use super::{CreateHold, CreatedHold};
use crate::{
    db::holds::{NewHold, StoredHold},
    domain::{BuyerId, Hold, Invalid, Product, Refusal, RequestId},
    error::Error,
};

/// Says what happens to one command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum HoldDecision {
    /// It makes the hold at this place of the list.
    Make(usize),
    /// It gets the hold at this place, which an earlier command with the same request_id makes.
    Share(usize),
    /// It gets the hold that an earlier transaction made, as it is now.
    Replay(Hold),
    /// It gets this error, and nothing is done.
    Refuse(Error),
}

impl HoldDecision {
    /// Tells whether the command gets a new hold.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::Make(_) | Self::Share(_))
    }

    /// Returns the command's result, unless it gets a new hold.
    pub(super) fn without_new_hold(self) -> Option<Result<CreatedHold, Error>> {
        match self {
            Self::Make(_) | Self::Share(_) => None,
            Self::Replay(hold) => Some(Ok(CreatedHold { hold, replayed: true })),
            Self::Refuse(error) => Some(Err(error)),
        }
    }
}

/// Collects what a batch has read when it decides.
pub(super) struct Facts {
    pub(super) product: Product,
    pub(super) now: SystemTime,
    /// The holds that earlier transactions made for these requests.
    pub(super) earlier: HashMap<RequestId, StoredHold>,
    /// The units that count for each buyer's limit.
    pub(super) units_by_buyer: BTreeMap<BuyerId, i64>,
}

/// Lists one decision per command, the holds to be made, and the units that are short for the rest.
#[derive(Debug, Default)]
pub(super) struct DecidedBatch {
    pub(super) decisions: Vec<HoldDecision>,
    pub(super) new: Vec<NewHold>,
    pub(super) units_granted: i64,
    pub(super) units_short: i64,
}

/// Decides the commands one after the other, each on what the commands before it left.
pub(super) fn decide(facts: &Facts, commands: &[CreateHold]) -> DecidedBatch {
    let mut product = facts.product.clone();
    let mut units_by_buyer = facts.units_by_buyer.clone();
    let mut made: HashMap<&RequestId, usize> = HashMap::new();
    let mut decided = DecidedBatch::default();
    for command in commands {
        let decision = if let Some(stored) = facts.earlier.get(&command.request_id) {
            let Hold { qty, buyer_id, unit_price_cents, .. } = &stored.hold;
            let as_it_is = Hold { status: stored.hold.status_at(stored.now), ..stored.hold.clone() };
            let repeats = command.repeats(*qty, buyer_id, *unit_price_cents);
            repeats.map(|()| HoldDecision::Replay(as_it_is)).map_err(Error::from)
        } else if let Some(&index) = made.get(&command.request_id) {
            let NewHold { qty, buyer_id, .. } = &decided.new[index];
            let repeats = command.repeats(*qty, buyer_id, product.price_cents);
            repeats.map(|()| HoldDecision::Share(index)).map_err(Error::from)
        } else {
            grant(&mut product, &mut units_by_buyer, facts.now, command).map(|()| {
                made.insert(&command.request_id, decided.new.len());
                decided.units_granted += command.qty.units();
                decided.new.push(NewHold {
                    qty: command.qty,
                    request_id: command.request_id.clone(),
                    buyer_id: command.buyer_id.clone(),
                });
                HoldDecision::Make(decided.new.len() - 1)
            })
        };
        if let Err(Error::Refused(Refusal::OutOfStock { requested, .. })) = decision {
            decided.units_short += requested;
        }
        decided.decisions.push(decision.unwrap_or_else(HoldDecision::Refuse));
    }
    if decided.units_short > 0 {
        decided.units_short -= product.available_stock;
    }
    decided
}

/// Grants a new hold, or says why not: the sale comes first, then the price, then the buyer, then the stock.
fn grant(
    product: &mut Product,
    units_by_buyer: &mut BTreeMap<BuyerId, i64>,
    now: SystemTime,
    command: &CreateHold,
) -> Result<(), Error> {
    product.on_sale(now)?;
    product.at_expected_price(command.expected_unit_price_cents)?;
    if product.amount_cents(command.qty).is_none() {
        return Err(Invalid::new("qty", "is too large: qty times the price must fit an int64").into());
    }
    let already_taken = match &command.buyer_id {
        Some(buyer) => units_by_buyer.get(buyer).copied().unwrap_or(0),
        None if product.max_per_buyer.is_some() => {
            return Err(Invalid::new("buyer_id", "is required: this product has a limit for each buyer").into());
        }
        None => 0,
    };
    product.within_limit(command.qty, already_taken)?;
    product.take(command.qty)?;
    if let Some(buyer) = &command.buyer_id {
        units_by_buyer.insert(buyer.clone(), already_taken + command.qty.units());
    }
    Ok(())
}
