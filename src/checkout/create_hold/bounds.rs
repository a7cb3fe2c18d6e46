//! What a batch knows of its buyers, of a product with a limit for each.
//!
//! Most buyers have a few holds, and these are counted where they are wanted. Somebody who sells for many, such as a box
//! office, has thousands; to count them all for each hold, while the product is locked, would slow down everybody. So of
//! such a buyer a server remembers a [`Bound`], and only later holds are counted: the grant is made where even the bound
//! and those leave room. The bound may be too high, where units have come back since, and is never too low. Where it stands
//! in the way, the transaction that has the product locked counts exactly, so a refusal is decided on what is so, and the
//! next batch knows better.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use moka::sync::Cache;

use super::{CreateHold, PAST_MAX};
use crate::{
    db::{
        Connection, Database, Failure,
        holds::ExpiredHold,
        taken::{self, Bound, Taken},
    },
    domain::{BuyerId, HoldId, Product, ProductId},
    error::Error,
};

/// From how many holds on a buyer is remembered. Fewer are counted faster than asked for on their own.
const HOLDS_MIN: i64 = 200;
/// How many buyers of a product are remembered, and of how many products, for how long. Others are counted each time.
const BUYERS_MAX: usize = 16;
const PRODUCTS_MAX: u64 = 10_000;
const TTL: Duration = Duration::from_secs(60);

/// Before one in so many batches, those buyers are counted of whom nothing is remembered; and before the 4th, 8th and 16th.
const BATCHES_A_LOOK: u32 = 32;
const FIRST_LOOK: u32 = 4;

/// A bound takes in later holds, by a read of its own, once this server was asked for so many, or after such a time: other
/// servers make holds, too.
const LATER_HOLDS_MAX: usize = 256;
const LATER_HOLDS_TIME: Duration = Duration::from_millis(100);

/// The buyers that a server remembers.
pub(super) struct Bounds {
    products: Cache<ProductId, Arc<Mutex<Buyers>>>,
}

/// Of one product.
#[derive(Default)]
struct Buyers {
    known: HashMap<BuyerId, Known>,
    batches: u32,
}

struct Known {
    bound: Bound,
    moved_at: Instant,
    asked_for: usize,
}

/// What is to be read before a batch.
#[derive(Default)]
struct Due {
    to_count: Vec<BuyerId>,
    to_move: Vec<(BuyerId, Bound)>,
}

impl Bounds {
    pub(super) fn new() -> Self {
        Self { products: Cache::builder().max_capacity(PRODUCTS_MAX).time_to_live(TTL).build() }
    }

    fn of_product(&self, id: ProductId) -> Arc<Mutex<Buyers>> {
        self.products.get_with(id, Arc::default)
    }

    /// Returns the bounds of those of a batch's buyers who have one, after a read of what is due.
    pub(super) async fn before_script(
        &self,
        database: &Database,
        product: &Product,
        commands: &[CreateHold],
    ) -> Result<BTreeMap<BuyerId, Bound>, Error> {
        if product.max_per_buyer.is_none() {
            return Ok(BTreeMap::new());
        }
        let buyers = self.of_product(product.id);
        let Due { to_count, to_move } = locked(&buyers).due(commands);
        if !to_count.is_empty() || !to_move.is_empty() {
            let (counted, moved) = database
                .read("create_hold_buyers", async |conn: &mut Connection, _attempt| {
                    let to_count: Vec<&BuyerId> = to_count.iter().collect();
                    let counted = taken::taken_by(&mut *conn, product.id, &to_count).await?;
                    Ok((counted, move_on(conn, product.id, &to_move).await?))
                })
                .await?;
            let mut buyers = locked(&buyers);
            buyers.learn(&to_count, &counted);
            buyers.remember(moved);
        }
        Ok(locked(&buyers).bounds_of(commands))
    }

    /// Returns what a batch's buyers have that counts for the limit: all but holds past their time. The product is locked.
    /// Returns also those past holds that were in the way, locked, to be taken back: else each batch would find them again.
    ///
    /// Where a bound leaves room for the batch it is taken for what the buyer has: nobody is told. An order in the making
    /// has decided in time and may commit later, so a past hold that is locked still counts; one that this transaction has
    /// locked can't be ordered any more.
    pub(super) async fn taken_by_buyers(
        &self,
        conn: &mut Connection,
        product: &Product,
        commands: &[CreateHold],
    ) -> Result<(BTreeMap<BuyerId, i64>, Vec<ExpiredHold>), Failure> {
        let Some(limit) = product.max_per_buyer.map(i64::from) else { return Ok(Default::default()) };
        let buyers = self.of_product(product.id);
        let mut wanted: BTreeMap<&BuyerId, i64> = BTreeMap::new();
        for (buyer, command) in commands.iter().filter_map(|command| Some((command.buyer_id.as_ref()?, command))) {
            *wanted.entry(buyer).or_default() += command.qty.units();
        }
        let bounds: Vec<_> = locked(&buyers).bounds_of(commands).into_iter().collect();
        let mut units = BTreeMap::new();
        for (buyer, bound) in move_on(&mut *conn, product.id, &bounds).await? {
            if bound.units.saturating_add(wanted.get(&buyer).copied().unwrap_or(0)) <= limit {
                wanted.remove(&buyer);
                units.insert(buyer, bound.units);
            }
        }

        let to_count: Vec<&BuyerId> = wanted.into_keys().collect();
        let counted = taken::taken_by(&mut *conn, product.id, &to_count).await?;
        locked(&buyers).learn(to_count, &counted);
        units.extend(counted.iter().map(|(buyer, taken)| (buyer.clone(), taken.units)));
        let with_past = counted.iter().filter(|(_, taken)| taken.past_units > 0);
        let with_past: Vec<&BuyerId> = with_past.map(|(buyer, _)| buyer).collect();
        let mut past = Vec::new();
        if !with_past.is_empty() {
            for (buyer, hold) in taken::lock_past_of(conn, product.id, &with_past, PAST_MAX).await? {
                *units.entry(buyer).or_default() -= hold.qty().units();
                past.push(hold);
            }
        }
        Ok((units, past))
    }

    /// Forgets what it knows of a product whose new holds have smaller ids than earlier ones. That is not the order of ids
    /// that bounds rely on.
    pub(super) fn hear_of_id(&self, product_id: ProductId, id: HoldId) {
        let Some(buyers) = self.products.get(&product_id) else { return };
        if locked(&buyers).known.values().any(|known| known.bound.last_id >= id) {
            self.products.invalidate(&product_id);
        }
    }
}

impl Buyers {
    /// Says what to read before a batch, which is about to be asked for.
    fn due(&mut self, commands: &[CreateHold]) -> Due {
        self.batches = self.batches.wrapping_add(1);
        let is_early = self.batches >= FIRST_LOOK && self.batches.is_power_of_two();
        let looks = is_early || self.batches.is_multiple_of(BATCHES_A_LOOK);
        let mut due = Due::default();
        if !looks && self.known.is_empty() {
            return due;
        }
        for buyer in commands.iter().filter_map(|command| command.buyer_id.as_ref()) {
            match self.known.get_mut(buyer) {
                Some(known) => known.asked_for += 1,
                None if looks && !due.to_count.contains(buyer) => due.to_count.push(buyer.clone()),
                None => {}
            }
        }
        let is_due = |known: &Known| {
            known.asked_for > LATER_HOLDS_MAX || known.asked_for > 0 && known.moved_at.elapsed() > LATER_HOLDS_TIME
        };
        let to_move = self.known.iter().filter(|(_, known)| is_due(known));
        due.to_move = to_move.map(|(buyer, known)| (buyer.clone(), known.bound)).collect();
        due
    }

    fn bounds_of(&self, commands: &[CreateHold]) -> BTreeMap<BuyerId, Bound> {
        if self.known.is_empty() {
            return BTreeMap::new();
        }
        let buyers = commands.iter().filter_map(|command| command.buyer_id.as_ref());
        buyers.filter_map(|buyer| Some((buyer.clone(), self.known.get(buyer)?.bound))).collect()
    }

    /// Remembers those who have many holds, as far as there is room, and forgets those who have few or none now.
    fn learn<'b>(&mut self, asked_for: impl IntoIterator<Item = &'b BuyerId>, counted: &BTreeMap<BuyerId, Taken>) {
        for buyer in asked_for {
            match counted.get(buyer) {
                Some(taken) if taken.holds >= HOLDS_MIN => self.remember([(buyer.clone(), taken.bound())]),
                Some(_) | None => _ = self.known.remove(buyer),
            }
        }
    }

    fn remember(&mut self, bounds: impl IntoIterator<Item = (BuyerId, Bound)>) {
        for (buyer, bound) in bounds {
            if self.known.len() < BUYERS_MAX || self.known.contains_key(&buyer) {
                self.known.insert(buyer, Known { bound, moved_at: Instant::now(), asked_for: 0 });
            }
        }
    }
}

async fn move_on(
    conn: &mut Connection,
    product_id: ProductId,
    bounds: &[(BuyerId, Bound)],
) -> Result<Vec<(BuyerId, Bound)>, Failure> {
    let mut moved = Vec::new();
    for (buyer, bound) in bounds {
        moved.push((buyer.clone(), taken::move_on(&mut *conn, product_id, buyer, *bound).await?));
    }
    Ok(moved)
}

fn locked(buyers: &Mutex<Buyers>) -> MutexGuard<'_, Buyers> {
    buyers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkout::request_id_or_made_up, domain::Quantity};

    fn buyer(name: &str) -> BuyerId {
        BuyerId::parse(name).unwrap()
    }

    fn hold_of(name: &str) -> CreateHold {
        CreateHold {
            product_id: ProductId::stored(1),
            qty: Quantity::stored(1),
            request_id: request_id_or_made_up(None),
            buyer_id: Some(buyer(name)),
        }
    }

    fn counted(name: &str, holds: i64) -> BTreeMap<BuyerId, Taken> {
        BTreeMap::from([(buyer(name), Taken { units: holds, past_units: 0, holds, last_id: HoldId::stored(holds) })])
    }

    #[test]
    fn who_has_many_holds_is_remembered_until_they_are_few() {
        let mut buyers = Buyers::default();
        let bounds = |buyers: &Buyers| buyers.bounds_of(&[hold_of("box"), hold_of("ann")]).len();
        buyers.learn([&buyer("box"), &buyer("ann")], &counted("box", HOLDS_MIN));
        assert_eq!(bounds(&buyers), 1);
        buyers.learn([&buyer("box")], &counted("box", HOLDS_MIN - 1));
        assert_eq!(bounds(&buyers), 0);
        buyers.learn([&buyer("box")], &counted("box", HOLDS_MIN));
        buyers.learn([&buyer("box")], &BTreeMap::new());
        assert_eq!(bounds(&buyers), 0);
    }

    #[test]
    fn no_more_buyers_are_remembered_than_there_is_room_for() {
        let mut buyers = Buyers::default();
        for number in 0..=BUYERS_MAX {
            let name = format!("box{number}");
            buyers.learn([&buyer(&name)], &counted(&name, HOLDS_MIN));
        }
        assert_eq!(buyers.known.len(), BUYERS_MAX);
        buyers.learn([&buyer("box0")], &counted("box0", HOLDS_MIN + 1));
        assert_eq!(buyers.bounds_of(&[hold_of("box0")])[&buyer("box0")].units, HOLDS_MIN + 1);
    }

    #[test]
    fn a_bound_moves_on_once_so_many_holds_were_asked_for() {
        let mut buyers = Buyers::default();
        buyers.learn([&buyer("box")], &counted("box", HOLDS_MIN));
        let batch: Vec<CreateHold> = (0..=LATER_HOLDS_MAX).map(|_| hold_of("box")).collect();
        assert_eq!(buyers.due(&batch).to_move.len(), 1);
        assert!(buyers.due(&[hold_of("ann")]).to_count.is_empty(), "the second batch");
    }

    #[test]
    fn bounds_are_forgotten_for_a_product_whose_ids_go_back() {
        let bounds = Bounds::new();
        let id = ProductId::stored(1);
        locked(&bounds.of_product(id)).learn([&buyer("box")], &counted("box", 300));
        bounds.hear_of_id(id, HoldId::stored(301));
        assert_eq!(locked(&bounds.of_product(id)).known.len(), 1);
        bounds.hear_of_id(id, HoldId::stored(300));
        assert_eq!(locked(&bounds.of_product(id)).known.len(), 0);
    }
}
