//! What happens to each command of a batch: pure, on what the transaction has locked and read.

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

/// What happens to one command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decision {
    /// The hold to be made at this place of the list.
    Make(usize),
    /// The hold to be made at this place, for an earlier command with the same request_id.
    Share(usize),
    /// The hold that an earlier transaction made, as it is now.
    Replay(Hold),
    /// Nothing.
    Refuse(Error),
}

impl Decision {
    /// Whether it takes nothing but a new hold.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::Make(_) | Self::Share(_))
    }

    /// The answer, where it takes no new hold.
    pub(super) fn known(self) -> Option<Result<CreatedHold, Error>> {
        match self {
            Self::Make(_) | Self::Share(_) => None,
            Self::Replay(hold) => Some(Ok(CreatedHold { hold, replayed: true })),
            Self::Refuse(error) => Some(Err(error)),
        }
    }
}

/// What a batch knows when it decides.
pub(super) struct Facts {
    pub(super) product: Product,
    pub(super) now: SystemTime,
    pub(super) earlier: HashMap<RequestId, StoredHold>,
    pub(super) taken: BTreeMap<BuyerId, i64>,
}

/// A batch as decided: one decision per command, the holds to be made, and the units that are short for the rest.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) decisions: Vec<Decision>,
    pub(super) new: Vec<NewHold>,
    pub(super) units_taken: i64,
    pub(super) units_short: i64,
}

/// Decides the commands one after the other, each on what those before it left.
pub(super) fn decide(facts: &Facts, commands: &[CreateHold]) -> Decided {
    let mut product = facts.product.clone();
    let mut taken = facts.taken.clone();
    let mut made: HashMap<&RequestId, usize> = HashMap::new();
    let mut decided = Decided::default();
    for command in commands {
        let decision = if let Some(stored) = facts.earlier.get(&command.request_id) {
            let Hold { qty, buyer_id, .. } = &stored.hold;
            let as_it_is = Hold { status: stored.hold.status_at(stored.now), ..stored.hold.clone() };
            command.replay(*qty, buyer_id).map(|()| Decision::Replay(as_it_is)).map_err(Error::from)
        } else if let Some(&index) = made.get(&command.request_id) {
            let NewHold { qty, buyer_id, .. } = &decided.new[index];
            command.replay(*qty, buyer_id).map(|()| Decision::Share(index)).map_err(Error::from)
        } else {
            grant(&mut product, &mut taken, facts.now, command).map(|()| {
                made.insert(&command.request_id, decided.new.len());
                decided.units_taken += command.qty.units();
                decided.new.push(NewHold {
                    qty: command.qty,
                    request_id: command.request_id.clone(),
                    buyer_id: command.buyer_id.clone(),
                });
                Decision::Make(decided.new.len() - 1)
            })
        };
        if let Err(Error::Refused(Refusal::OutOfStock { requested, .. })) = decision {
            decided.units_short += requested;
        }
        decided.decisions.push(decision.unwrap_or_else(Decision::Refuse));
    }
    if decided.units_short > 0 {
        decided.units_short -= product.available_stock;
    }
    decided
}

/// Grants a new hold or says why not: the sale, then the buyer, then the stock.
fn grant(
    product: &mut Product,
    taken: &mut BTreeMap<BuyerId, i64>,
    now: SystemTime,
    command: &CreateHold,
) -> Result<(), Error> {
    product.on_sale(now)?;
    if product.amount_cents(command.qty).is_none() {
        return Err(Invalid::new("qty", "is too large: qty times the price must fit an int64").into());
    }
    let already_taken = match &command.buyer_id {
        Some(buyer) => taken.get(buyer).copied().unwrap_or(0),
        None if product.max_per_buyer.is_some() => {
            return Err(Invalid::new("buyer_id", "is required: this product has a limit for each buyer").into());
        }
        None => 0,
    };
    product.within_limit(command.qty, already_taken)?;
    product.take(command.qty)?;
    if let Some(buyer) = &command.buyer_id {
        taken.insert(buyer.clone(), already_taken + command.qty.units());
    }
    Ok(())
}
