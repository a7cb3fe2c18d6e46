//! CreateHold: sets units of a product aside.
//!
//! Of a product that is known to sell, as one script from BEGIN to COMMIT: the units are taken from the stock where
//! everything that a hold is granted on is as it is known, and all its buyers stay within the limit, and the holds are
//! made. Between the lock on the product and the commit nobody waits for a round trip.
//!
//! Of one that has granted nothing new to a whole batch (sold out, not on sale yet), by reads without a lock: the product
//! with what its buyers have · earlier requests.
//!
//! Else, or where that isn't so any more, or not enough to know: product FOR UPDATE · earlier requests · what the buyers
//! have, their past holds SKIP LOCKED, which go back · short of stock: this product's expired holds and overdue orders,
//! SKIP LOCKED · orders, holds, stock and COMMIT as one script. Where more has to be taken back than one transaction may,
//! the first ones do nothing else.

mod bounds;
mod decision;

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use moka::sync::Cache;
use tracing::info;

use super::{
    product_waits::ProductWaits,
    suspects::Suspects,
    take_back::{PAST_MAX, TakenBack},
};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script,
        holds::{self, NewHold, StoredHold},
        products::{self, Glance},
    },
    domain::{BuyerId, Hold, HoldId, HoldStatus, Product, ProductId, Quantity, Refusal, RequestId},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcomes, Results, all_done},
};
use bounds::Bounds;
use decision::{Decided, Decision, Facts, decide};

/// How long what is known of a product counts without another look at its row, and how many products are remembered.
const HINT_TTL: Duration = Duration::from_secs(10);
const HINTS_MAX: u64 = 10_000;

/// How long a batch that is one text may be on its way to the database. One that comes later, out of a network that has
/// held it back, is refused by itself: its callers may have given up, and been told something else by another server.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(2);

/// How many transactions a batch may take, each of which takes back what one may: 100,000 expired holds in all. Then it
/// is decided on what there is, and the next batch goes on from there.
const TRANSACTIONS_MAX: usize = 10;

/// A caller's wish to hold units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateHold {
    /// The product.
    pub product_id: ProductId,
    /// Units.
    pub qty: Quantity,
    /// The caller's, or made up.
    pub request_id: RequestId,
    /// Who holds.
    pub buyer_id: Option<BuyerId>,
}

impl CreateHold {
    /// The answer to a repeat of the request that made `stored`.
    fn replay(&self, qty: Quantity, buyer_id: &Option<BuyerId>) -> Result<(), Refusal> {
        if self.qty == qty && self.buyer_id == *buyer_id { Ok(()) } else { Err(Refusal::RequestIdReused) }
    }
}

/// A hold, and whether this call made it.
#[derive(Debug, Clone)]
pub struct CreatedHold {
    /// The hold, as it is now.
    pub hold: Hold,
    /// Whether an earlier call made it.
    pub replayed: bool,
}

/// What is known of a product. Only a hint which way to go first: each grant is made where the product's row still says
/// so, and each refusal is decided by a read of its own.
#[derive(Debug, Clone)]
enum Hint {
    /// A whole batch was granted nothing new, of a product with a limit for each buyer or without.
    Refuses { limited: bool },
    /// A whole batch was granted, on these conditions, at this moment of the database's clock and of this process's.
    Sells(Product, SystemTime, Instant),
}

/// The batch of CreateHold: commands for one product.
pub struct CreateHolds {
    database: Database,
    waits: ProductWaits,
    hold_ttl: Duration,
    hints: Cache<ProductId, Hint>,
    bounds: Bounds,
    suspects: Suspects<RequestId>,
}

impl CreateHolds {
    pub(super) fn new(database: Database, waits: ProductWaits, hold_ttl: Duration) -> Self {
        let hints = Cache::builder().max_capacity(HINTS_MAX).time_to_live(HINT_TTL).build();
        // The database's moments are of microseconds.
        let hold_ttl = hold_ttl - Duration::from_nanos(u64::from(hold_ttl.subsec_nanos() % 1000));
        Self { database, waits, hold_ttl, hints, bounds: Bounds::new(), suspects: Suspects::default() }
    }
}

/// What a transaction came to.
enum Outcome {
    /// There is no such product.
    UnknownProduct,
    /// Nothing but this: it isn't enough, and there is more. Nothing is granted before all is back, or the first
    /// command would get less than those after it.
    TakenBack(TakenBack),
    /// Every command is decided.
    Decided(Written),
}

impl Outcome {
    fn taken_back(&self) -> Option<&TakenBack> {
        match self {
            Self::UnknownProduct => None,
            Self::TakenBack(taken_back) => Some(taken_back),
            Self::Decided(written) => Some(&written.taken_back),
        }
    }
}

/// A committed batch, but for the ids.
struct Written {
    decisions: Vec<Decision>,
    new: Vec<NewHold>,
    product: Product,
    /// `None`: the database says when.
    created_at: Option<SystemTime>,
    taken_back: TakenBack,
}

impl Batch for CreateHolds {
    type Command = CreateHold;
    type Answer = CreatedHold;

    /// Without: 1.1 times as many holds with 64 and with 256 callers.
    const GATHERS: bool = false;

    async fn run(&self, calls: Calls<'_, CreateHold>) -> Result<Outcomes<CreatedHold>, Error> {
        let Some(product_id) = calls.commands().first().map(|command| command.product_id) else {
            return Ok(Vec::new());
        };
        // An earlier run may have made holds for made-up request_ids, which only the transaction looks for.
        let hint = if calls.is_outcome_unknown() { None } else { self.hints.get(&product_id) };
        let mut at_once = match hint {
            Some(Hint::Sells(product, seen, since)) if !self.any_suspect(calls) => {
                self.plan_at_once(product, seen + since.elapsed(), calls.commands()).await?
            }
            Some(Hint::Refuses { limited }) => {
                match self.answer_without_lock(product_id, limited, calls.commands()).await? {
                    Some(results) => return Ok(all_done(results)),
                    None => None,
                }
            }
            Some(Hint::Sells(..)) | None => None,
        };
        let run = || {
            let planned = at_once.take();
            async move {
                let was_planned = planned.is_some();
                let done = self.run_transactions(planned, product_id, calls).await;
                if was_planned && matches!(done, Err(Error::LockContention)) {
                    self.suspects.remember(calls.commands().iter().map(|command| &command.request_id));
                }
                done
            }
        };
        self.waits.run(product_id, calls, run).await.map(all_done)
    }

    fn record(&self, _command: &CreateHold, result: &Result<CreatedHold, Error>) {
        let outcome = match result {
            Ok(CreatedHold { replayed: true, .. }) => "replayed",
            Ok(CreatedHold { hold, .. }) => {
                info!(
                    hold_id = hold.id.get(),
                    product_id = hold.product_id.get(),
                    qty = hold.qty.get(),
                    "Hold created"
                );
                "created"
            }
            Err(Error::Refused(Refusal::OutOfStock { .. })) => "out_of_stock",
            Err(Error::Refused(_)) => "refused",
            Err(Error::Invalid(_) | Error::NotFound(_)) => "invalid",
            Err(_) => "failed",
        };
        metrics::counter!(crate::metric_names::HOLDS, "outcome" => outcome).increment(1);
    }
}

impl CreateHolds {
    /// The commands as one script, where all that is known says that each can be granted.
    async fn plan_at_once(
        &self,
        known: Product,
        now: SystemTime,
        commands: &[CreateHold],
    ) -> Result<Option<Plan<Outcome>>, Error> {
        let bounds = self.bounds.before_script(&self.database, &known, commands).await?;
        let taken = bounds.iter().map(|(buyer, bound)| (buyer.clone(), bound.units)).collect();
        // What the script looks at itself: how many units there are, whether the sale is on, and what the buyers have.
        let product = Product { available_stock: known.total_stock, starts_at: None, ends_at: None, ..known };
        let last_moment = now + ON_ITS_WAY_MAX;
        let facts = Facts { product, now, earlier: HashMap::new(), taken };
        let Decided { decisions, new, units_taken, units_short: _ } = decide(&facts, commands);
        if !decisions.iter().all(Decision::is_new) {
            return Ok(None);
        }
        let mut script = Script::default();
        let product = facts.product;
        products::take_as_known(&mut script, &product, units_taken, &new, &bounds, last_moment);
        holds::insert_at_its_moment(&mut script, product.id, product.price_cents, self.hold_ttl, &new);
        let written = Written { decisions, new, product, created_at: None, taken_back: TakenBack::default() };
        Ok(Some(Plan { script, value: Outcome::Decided(written) }))
    }

    /// Whether somebody else may have locked the hold of one of these requests. A batch that is one text would wait for it
    /// with the product locked; the others look first.
    fn any_suspect(&self, calls: Calls<'_, CreateHold>) -> bool {
        !self.suspects.among(calls.commands().iter().map(|command| &command.request_id)).is_empty()
    }

    /// Runs the commands in as many transactions as it takes, the first of which may be planned already.
    async fn run_transactions(
        &self,
        mut at_once: Option<Plan<Outcome>>,
        product_id: ProductId,
        calls: Calls<'_, CreateHold>,
    ) -> Result<Results<CreatedHold>, Error> {
        let mut transactions = 1;
        loop {
            let last = transactions >= TRANSACTIONS_MAX;
            match self.transact(at_once.take(), product_id, calls, last).await? {
                Some(results) => return Ok(results),
                None => transactions += 1,
            }
        }
    }

    /// Answers a whole batch by reads without a lock, where these are enough to know: no command could be granted anything
    /// new, not even what is past its time and not yet taken back.
    async fn answer_without_lock(
        &self,
        product_id: ProductId,
        limited: bool,
        commands: &[CreateHold],
    ) -> Result<Option<Results<CreatedHold>>, Error> {
        let read = self
            .database
            .read("create_hold_without_lock", async |conn: &mut Connection, _attempt| {
                let buyers = commands.iter().filter_map(|command| command.buyer_id.as_ref()).filter(|_| limited);
                let glance = products::glance(&mut *conn, product_id, buyers).await?;
                // After the glance: whoever has a hold by then may have the units that are missing there.
                Ok((glance, earlier_requests(conn, 0, product_id, commands).await?))
            })
            .await?;
        let (Some(Glance { product, now, any_to_take_back, taken }), earlier) = read else { return Ok(None) };
        let buyers_are_known = limited || product.max_per_buyer.is_none();
        if !buyers_are_known || taken.values().any(|taken| taken.past_units > 0) {
            return Ok(None);
        }
        let taken = taken.into_iter().map(|(buyer, taken)| (buyer, taken.units)).collect();
        let Decided { decisions, units_short, .. } = decide(&Facts { product, now, earlier, taken }, commands);
        if units_short > 0 && any_to_take_back {
            return Ok(None);
        }
        Ok(decisions.into_iter().map(Decision::known).collect())
    }

    /// Runs the commands in one transaction. `None`: it took back what one may, which isn't enough, and granted none.
    async fn transact(
        &self,
        at_once: Option<Plan<Outcome>>,
        product_id: ProductId,
        calls: Calls<'_, CreateHold>,
        last: bool,
    ) -> Result<Option<Results<CreatedHold>>, Error> {
        let commands = calls.commands();
        let Committed { value, ids, moment } = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction_at_once(at_once, "create_hold", async |conn: &mut Connection, attempt| {
                let Some((product, now)) = products::lock(&mut *conn, product_id).await? else {
                    return Ok(Plan { script: Script::default(), value: Outcome::UnknownProduct });
                };
                self.hold(conn, attempt, product, now, commands, last).await
            })
            .await?;
        if let Some(taken_back) = value.taken_back() {
            taken_back.log();
        }
        match value {
            Outcome::UnknownProduct => {
                Ok(Some(commands.iter().map(|_| Err(Missing::Product(product_id).into())).collect()))
            }
            Outcome::TakenBack(_) => Ok(None),
            Outcome::Decided(written) => {
                self.remember(&written);
                let id = |index| HoldId::stored(ids.get(index));
                if !written.new.is_empty() {
                    self.bounds.hear_of_id(product_id, id(0));
                }
                let Some(created_at) = written.created_at.or(moment) else {
                    return Err(Error::Unavailable("the database didn't say when it made holds".to_owned()));
                };
                Ok(Some(written.results(commands, id, created_at, created_at + self.hold_ttl)))
            }
        }
    }

    /// Remembers on what conditions a product was last seen to sell, or that it didn't. A batch that was planned on such
    /// conditions has learnt nothing.
    fn remember(&self, written: &Written) {
        let Written { decisions, product, created_at: Some(seen), .. } = written else { return };
        if decisions.iter().all(Decision::is_new) {
            self.hints.insert(product.id, Hint::Sells(product.clone(), *seen, Instant::now()));
        } else if !decisions.iter().any(Decision::is_new) {
            self.hints.insert(product.id, Hint::Refuses { limited: product.max_per_buyer.is_some() });
        } else {
            self.hints.invalidate(&product.id);
        }
    }

    async fn hold(
        &self,
        conn: &mut Connection,
        attempt: u32,
        product: Product,
        now: SystemTime,
        commands: &[CreateHold],
        last: bool,
    ) -> Result<Plan<Outcome>, Failure> {
        let product_id = product.id;
        let mut script = Script::default();
        let earlier = earlier_requests(conn, attempt, product_id, commands).await?;
        let (taken, past) = self.bounds.taken_by_buyers(conn, &product, commands).await?;
        let mut facts = Facts { product, now, earlier, taken };
        let (units_past, past_is_cut_off) = (past.iter().map(|hold| hold.qty().units()).sum(), past.len() >= PAST_MAX);
        facts.product.give_back(units_past);

        let mut decided = decide(&facts, commands);
        let taken_back = TakenBack::lock(conn, product_id, decided.units_short, past).await?;
        let units_back = taken_back.units();
        if units_back > units_past {
            facts.product.give_back(units_back - units_past);
            taken_back.free(&mut facts.taken);
            decided = decide(&facts, commands);
        }

        taken_back.write(&mut script);
        if (decided.units_short > 0 || past_is_cut_off) && taken_back.leaves_some() && !last {
            products::give_back(&mut script, product_id, units_back);
            return Ok(Plan { script, value: Outcome::TakenBack(taken_back) });
        }

        let Decided { decisions, new, units_taken, units_short: _ } = decided;
        if !new.is_empty() {
            holds::insert(&mut script, product_id, facts.product.price_cents, now, now + self.hold_ttl, &new);
        }
        match units_taken - units_back {
            0 => {}
            more @ 1.. => products::take(&mut script, product_id, more),
            less => products::give_back(&mut script, product_id, -less),
        }
        let product = facts.product;
        let written = Written { decisions, new, product, created_at: Some(now), taken_back };
        Ok(Plan { script, value: Outcome::Decided(written) })
    }
}

/// The holds that earlier transactions made for these requests. The first run asks for callers' ids alone: an id that
/// was just made up is nobody's. Later runs ask for all, since the run before may have committed after all.
async fn earlier_requests(
    conn: &mut Connection,
    attempt: u32,
    product_id: ProductId,
    commands: &[CreateHold],
) -> Result<HashMap<RequestId, StoredHold>, Failure> {
    let request_ids: Vec<&RequestId> =
        commands.iter().map(|command| &command.request_id).filter(|id| attempt > 0 || id.is_callers()).collect();
    if request_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let holds = holds::made_by(conn, product_id, &request_ids).await?;
    Ok(holds.into_iter().map(|stored| (stored.request_id.clone(), stored)).collect())
}

impl Written {
    fn results(
        self,
        commands: &[CreateHold],
        id: impl Fn(usize) -> HoldId,
        created_at: SystemTime,
        expires_at: SystemTime,
    ) -> Results<CreatedHold> {
        let Self { decisions, new, product, .. } = self;
        let hold = |index: usize| Hold {
            id: id(index),
            product_id: product.id,
            qty: new[index].qty,
            unit_price_cents: product.price_cents,
            status: HoldStatus::Active,
            expires_at,
            created_at,
            buyer_id: new[index].buyer_id.clone(),
        };
        let result = |(command, decision): (&CreateHold, Decision)| match decision {
            Decision::Make(index) => Ok(CreatedHold { hold: hold(index), replayed: false }),
            Decision::Share(index) => Ok(CreatedHold { hold: hold(index), replayed: true }),
            // What was made for a request_id that was just made up, a run before this one has made.
            Decision::Replay(hold) => Ok(CreatedHold { hold, replayed: command.request_id.is_callers() }),
            Decision::Refuse(error) => Err(error),
        };
        commands.iter().zip(decisions).map(result).collect()
    }
}
