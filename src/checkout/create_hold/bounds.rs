//! Upper bounds of what buyers have, for products with a limit for each buyer.
//!
//! Most buyers have a few holds, and these are counted when they are needed. A box office, which sells for many people,
//! has thousands. Counting them all for each hold, while the product is locked, would slow down everybody. So a server
//! remembers a [`Bound`] of such a buyer, and counts only later holds. A hold is granted where even the bound and those
//! leave room for it.
//!
//! A bound may be too high, because units have come back since. It is never too low. Where it leaves no room, the
//! transaction that has the product locked counts exactly. So no refusal rests on a bound, and the server then
//! remembers the exact number.

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
        buyer_units::{self, Bound, BuyerUnits},
        holds::ExpiredHold,
    },
    domain::{BuyerId, HoldId, Product, ProductId},
    error::Error,
};

/// How many holds a buyer has to have to be remembered. Fewer are counted faster than they are moved on.
const HOLDS_MIN: i64 = 200;
/// Buyers of one product that are remembered. Other buyers are counted each time.
const BUYERS_MAX: usize = 16;
/// Products whose buyers are remembered.
const PRODUCTS_MAX: u64 = 10_000;
/// How long the buyers of a product are remembered.
const TTL: Duration = Duration::from_secs(60);

/// Buyers that are not remembered are counted before every 32nd batch of a product.
const BATCHES_A_LOOK: u32 = 32;
/// Buyers that are not remembered are also counted before the 4th, the 8th and the 16th batch.
const FIRST_LOOK: u32 = 4;

/// How many holds of a buyer this server is asked for before the bound is moved on to later holds.
const LATER_HOLDS_MAX: usize = 256;
/// How long a bound stays even if fewer holds were asked for. Other servers make holds too.
const LATER_HOLDS_TIME: Duration = Duration::from_millis(100);

/// Remembers the bounds of buyers with many holds.
pub(super) struct Bounds {
    products: Cache<ProductId, Arc<Mutex<Buyers>>>,
}

/// Keeps the remembered buyers of one product.
#[derive(Default)]
struct Buyers {
    remembered: HashMap<BuyerId, RememberedBuyer>,
    batches: u32,
}

struct RememberedBuyer {
    bound: Bound,
    moved_at: Instant,
    /// Holds that this server was asked for since.
    asked_for: usize,
}

/// Lists what to read before a batch.
#[derive(Default)]
struct ReadsDue {
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

    /// Returns the bounds of a batch's buyers, as far as they have any, after reading what is due.
    pub(super) async fn for_optimistic_script(
        &self,
        database: &Database,
        product: &Product,
        commands: &[CreateHold],
    ) -> Result<BTreeMap<BuyerId, Bound>, Error> {
        if product.max_per_buyer.is_none() {
            return Ok(BTreeMap::new());
        }
        let buyers = self.of_product(product.id);
        let ReadsDue { to_count, to_move } = locked(&buyers).due(commands);
        if !to_count.is_empty() || !to_move.is_empty() {
            let (counted, moved) = database
                .read("create_hold_buyers", async |conn: &mut Connection, _attempt| {
                    let to_count: Vec<&BuyerId> = to_count.iter().collect();
                    let counted = buyer_units::of_buyers(&mut *conn, product.id, &to_count).await?;
                    Ok((counted, move_on(conn, product.id, &to_move).await?))
                })
                .await?;
            let mut buyers = locked(&buyers);
            buyers.learn(&to_count, &counted);
            buyers.remember(moved);
        }
        Ok(locked(&buyers).bounds_of(commands))
    }

    /// Returns the units of a batch's buyers that count for the limit: all but those of holds past their time.
    ///
    /// The caller has locked the product. Past holds of buyers who have to be counted are locked too, and returned, so
    /// that they are taken back: otherwise each batch would find them again. A past hold that somebody else has locked
    /// still counts, because an order in the making was decided in time and may commit later. A past hold that this
    /// transaction has locked can't be ordered any more.
    ///
    /// Where a bound leaves room for the batch, it is returned as what the buyer has. No answer shows that number.
    pub(super) async fn units_by_buyer(
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
        let counted = buyer_units::of_buyers(&mut *conn, product.id, &to_count).await?;
        locked(&buyers).learn(to_count, &counted);
        units.extend(counted.iter().map(|(buyer, has)| (buyer.clone(), has.units)));
        let with_past = counted.iter().filter(|(_, has)| has.past_units > 0);
        let with_past: Vec<&BuyerId> = with_past.map(|(buyer, _)| buyer).collect();
        let mut past = Vec::new();
        if !with_past.is_empty() {
            for (buyer, hold) in buyer_units::lock_past_of(conn, product.id, &with_past, PAST_MAX).await? {
                *units.entry(buyer).or_default() -= hold.qty().units();
                past.push(hold);
            }
        }
        Ok((units, past))
    }

    /// Forgets the buyers of a product whose new hold has a smaller id than an earlier one. Bounds rely on ids that
    /// ascend.
    pub(super) fn hear_of_id(&self, product_id: ProductId, id: HoldId) {
        let Some(buyers) = self.products.get(&product_id) else { return };
        if locked(&buyers).remembered.values().any(|buyer| buyer.bound.last_id >= id) {
            self.products.invalidate(&product_id);
        }
    }
}

impl Buyers {
    /// Counts a batch that is about to run, and says what to read before it.
    fn due(&mut self, commands: &[CreateHold]) -> ReadsDue {
        self.batches = self.batches.wrapping_add(1);
        let is_early = self.batches >= FIRST_LOOK && self.batches.is_power_of_two();
        let looks = is_early || self.batches.is_multiple_of(BATCHES_A_LOOK);
        let mut due = ReadsDue::default();
        if !looks && self.remembered.is_empty() {
            return due;
        }
        for buyer in commands.iter().filter_map(|command| command.buyer_id.as_ref()) {
            match self.remembered.get_mut(buyer) {
                Some(remembered) => remembered.asked_for += 1,
                None if looks && !due.to_count.contains(buyer) => due.to_count.push(buyer.clone()),
                None => {}
            }
        }
        let is_due = |buyer: &RememberedBuyer| {
            buyer.asked_for > LATER_HOLDS_MAX || buyer.asked_for > 0 && buyer.moved_at.elapsed() > LATER_HOLDS_TIME
        };
        let to_move = self.remembered.iter().filter(|(_, remembered)| is_due(remembered));
        due.to_move = to_move.map(|(buyer, remembered)| (buyer.clone(), remembered.bound)).collect();
        due
    }

    fn bounds_of(&self, commands: &[CreateHold]) -> BTreeMap<BuyerId, Bound> {
        if self.remembered.is_empty() {
            return BTreeMap::new();
        }
        let buyers = commands.iter().filter_map(|command| command.buyer_id.as_ref());
        buyers.filter_map(|buyer| Some((buyer.clone(), self.remembered.get(buyer)?.bound))).collect()
    }

    /// Remembers the buyers who have many holds, as far as there is room. Forgets those who have few or none now.
    fn learn<'b>(&mut self, asked_for: impl IntoIterator<Item = &'b BuyerId>, counted: &BTreeMap<BuyerId, BuyerUnits>) {
        for buyer in asked_for {
            match counted.get(buyer) {
                Some(has) if has.holds >= HOLDS_MIN => self.remember([(buyer.clone(), has.bound())]),
                Some(_) | None => _ = self.remembered.remove(buyer),
            }
        }
    }

    fn remember(&mut self, bounds: impl IntoIterator<Item = (BuyerId, Bound)>) {
        for (buyer, bound) in bounds {
            if self.remembered.len() < BUYERS_MAX || self.remembered.contains_key(&buyer) {
                self.remembered.insert(buyer, RememberedBuyer { bound, moved_at: Instant::now(), asked_for: 0 });
            }
        }
    }
}

/// Adds to these bounds what the buyers have beyond them.
async fn move_on(
    conn: &mut Connection,
    product_id: ProductId,
    bounds: &[(BuyerId, Bound)],
) -> Result<Vec<(BuyerId, Bound)>, Failure> {
    let mut moved = Vec::new();
    for (buyer, bound) in bounds {
        moved.push((buyer.clone(), buyer_units::move_on(&mut *conn, product_id, buyer, *bound).await?));
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
            expected_unit_price_cents: None,
        }
    }

    fn counted(name: &str, holds: i64) -> BTreeMap<BuyerId, BuyerUnits> {
        BTreeMap::from([(
            buyer(name),
            BuyerUnits { units: holds, past_units: 0, holds, last_id: HoldId::stored(holds) },
        )])
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
        assert_eq!(buyers.remembered.len(), BUYERS_MAX);
        buyers.learn([&buyer("box0")], &counted("box0", HOLDS_MIN + 1));
        assert_eq!(buyers.bounds_of(&[hold_of("box0")])[&buyer("box0")].units, HOLDS_MIN + 1);
    }

    #[test]
    fn a_bound_moves_on_once_more_holds_were_asked_for_than_it_may_miss() {
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
        assert_eq!(locked(&bounds.of_product(id)).remembered.len(), 1);
        bounds.hear_of_id(id, HoldId::stored(300));
        assert_eq!(locked(&bounds.of_product(id)).remembered.len(), 0);
    }
}
