//! The locked way: it decides every batch, and takes back units past their time.
//!
//! product FOR UPDATE · earlier requests · what the buyers have, and their past holds SKIP LOCKED, which go back ·
//! short of stock: this product's expired holds and overdue orders, SKIP LOCKED · orders, holds, stock and COMMIT as
//! one script. Where more has to go back than one transaction may take back, the first transactions do nothing else.

use std::time::SystemTime;

use super::{
    CreateHold, CreateHoldBatch, CreatedHold, PAST_MAX,
    decision::{DecidedBatch, Facts, HoldDecision, decide},
    earlier_requests,
};
use crate::{
    checkout::take_back::TakenBack,
    db::{
        Committed, Connection, Failure, Plan, Script,
        holds::{self, NewHold},
        products,
    },
    domain::{Hold, HoldId, HoldStatus, Product, ProductId},
    error::{Error, Missing},
    lane::{Calls, Results},
};

/// How many transactions a batch may take. Each takes back as much as one may, so 100,000 expired holds in all. The
/// last one decides on what there is, and the next batch goes on from there.
const TRANSACTIONS_MAX: usize = 10;

/// Says what one transaction did.
pub(super) enum Step {
    /// Nothing: there is no such product.
    UnknownProduct,
    /// It took back as much as it may, which isn't enough. Nothing is granted before all is back, because the first
    /// command would get less than those after it.
    OnlyTookBack(TakenBack),
    /// It decided every command.
    Decided(WrittenBatch),
}

impl Step {
    fn taken_back(&self) -> Option<&TakenBack> {
        match self {
            Self::UnknownProduct => None,
            Self::OnlyTookBack(taken_back) => Some(taken_back),
            Self::Decided(written) => Some(&written.taken_back),
        }
    }
}

/// Tells what a committed script wrote, apart from the ids.
pub(super) struct WrittenBatch {
    pub(super) decisions: Vec<HoldDecision>,
    pub(super) new: Vec<NewHold>,
    pub(super) product: Product,
    /// When the product was locked and read, and the holds were made. `None`: the script was optimistic, and the
    /// database says when it made them.
    pub(super) locked_at: Option<SystemTime>,
    pub(super) taken_back: TakenBack,
}

impl CreateHoldBatch {
    /// Runs the commands, again as long as the product's row is stuck and the callers are patient. The first
    /// transaction may be an optimistic script.
    pub(super) async fn run_locked(
        &self,
        mut optimistic: Option<Plan<Step>>,
        product_id: ProductId,
        calls: Calls<'_, CreateHold>,
    ) -> Result<Results<CreatedHold>, Error> {
        let run = || {
            let optimistic = optimistic.take();
            async move {
                let was_optimistic = optimistic.is_some();
                let ran = self.run_transactions(optimistic, product_id, calls).await;
                if was_optimistic && matches!(ran, Err(Error::LockContention)) {
                    self.suspects.remember(calls.commands().iter().map(|command| &command.request_id));
                }
                ran
            }
        };
        self.waits.run(product_id, calls, run).await
    }

    /// Runs the commands in as many transactions as it takes.
    async fn run_transactions(
        &self,
        mut optimistic: Option<Plan<Step>>,
        product_id: ProductId,
        calls: Calls<'_, CreateHold>,
    ) -> Result<Results<CreatedHold>, Error> {
        let mut transactions = 1;
        loop {
            let is_last = transactions >= TRANSACTIONS_MAX;
            match self.transact(optimistic.take(), product_id, calls, is_last).await? {
                Some(results) => return Ok(results),
                None => transactions += 1,
            }
        }
    }

    /// Runs the commands in one transaction. `None`, another one follows: this one only took back what it may.
    async fn transact(
        &self,
        optimistic: Option<Plan<Step>>,
        product_id: ProductId,
        calls: Calls<'_, CreateHold>,
        is_last: bool,
    ) -> Result<Option<Results<CreatedHold>>, Error> {
        let commands = calls.commands();
        let Committed { value: step, ids, script_time: made_at } = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .optimistic_transaction(optimistic, "create_hold", async |conn: &mut Connection, attempt| {
                let Some((product, now)) = products::lock(&mut *conn, product_id).await? else {
                    return Ok(Plan { script: Script::default(), value: Step::UnknownProduct });
                };
                self.plan_locked(conn, attempt, product, now, commands, is_last).await
            })
            .await?;
        if let Some(taken_back) = step.taken_back() {
            taken_back.log();
        }
        match step {
            Step::UnknownProduct => {
                Ok(Some(commands.iter().map(|_| Err(Missing::Product(product_id).into())).collect()))
            }
            Step::OnlyTookBack(_) => Ok(None),
            Step::Decided(written) => {
                if let Some(locked_at) = written.locked_at {
                    self.last_batches.remember(&written.product, locked_at, &written.decisions);
                }
                let id = |index| HoldId::stored(ids.get(index));
                if !written.new.is_empty() {
                    self.bounds.hear_of_id(product_id, id(0));
                }
                let Some(created_at) = written.locked_at.or(made_at) else {
                    return Err(Error::Unavailable("the database didn't say when it made holds".to_owned()));
                };
                Ok(Some(written.results(commands, id, created_at, created_at + self.hold_ttl)))
            }
        }
    }

    /// Decides the commands on a locked product, and plans what is written.
    async fn plan_locked(
        &self,
        conn: &mut Connection,
        attempt: u32,
        product: Product,
        now: SystemTime,
        commands: &[CreateHold],
        is_last: bool,
    ) -> Result<Plan<Step>, Failure> {
        let product_id = product.id;
        let mut script = Script::default();
        let earlier = earlier_requests(conn, attempt, product_id, commands).await?;
        let (units_by_buyer, past) = self.bounds.units_by_buyer(conn, &product, commands).await?;
        let mut facts = Facts { product, now, earlier, units_by_buyer };
        let (units_past, past_is_cut_off) = (past.iter().map(|hold| hold.qty().units()).sum(), past.len() >= PAST_MAX);
        facts.product.give_back(units_past);

        let mut decided = decide(&facts, commands);
        let taken_back = TakenBack::lock(conn, product_id, decided.units_short, past).await?;
        let units_back = taken_back.units();
        if units_back > units_past {
            facts.product.give_back(units_back - units_past);
            taken_back.lower(&mut facts.units_by_buyer);
            decided = decide(&facts, commands);
        }

        taken_back.write(&mut script);
        if (decided.units_short > 0 || past_is_cut_off) && taken_back.leaves_some() && !is_last {
            products::give_back(&mut script, product_id, units_back);
            return Ok(Plan { script, value: Step::OnlyTookBack(taken_back) });
        }

        let DecidedBatch { decisions, new, units_granted, units_short: _ } = decided;
        if !new.is_empty() {
            holds::insert(&mut script, product_id, facts.product.price_cents, now, now + self.hold_ttl, &new);
        }
        match units_granted - units_back {
            0 => {}
            more @ 1.. => products::take(&mut script, product_id, more),
            less => products::give_back(&mut script, product_id, -less),
        }
        let product = facts.product;
        let written = WrittenBatch { decisions, new, product, locked_at: Some(now), taken_back };
        Ok(Plan { script, value: Step::Decided(written) })
    }
}

impl WrittenBatch {
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
        let result = |(command, decision): (&CreateHold, HoldDecision)| match decision {
            HoldDecision::Make(index) => Ok(CreatedHold { hold: hold(index), replayed: false }),
            HoldDecision::Share(index) => Ok(CreatedHold { hold: hold(index), replayed: true }),
            // A hold that is found under a request_id that was just made up is from an earlier run of this call.
            HoldDecision::Replay(hold) => Ok(CreatedHold { hold, replayed: command.request_id.is_callers() }),
            HoldDecision::Refuse(error) => Err(error),
        };
        commands.iter().zip(decisions).map(result).collect()
    }
}
