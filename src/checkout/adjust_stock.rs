//! AdjustStock: adds units to a product, or takes available ones away; once per request_id, and each with a row.
//!
//! product FOR UPDATE · the earlier request · what is past its time · short of stock, and that would do: some of it,
//! SKIP LOCKED · orders, holds, product, adjustment and COMMIT as one script. Where more has to be taken back than one
//! transaction may, the first ones do nothing else.

use tracing::info;

use super::{ProductView, product_waits::ProductWaits, take_back::TakenBack};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script, lapsed, products,
        stock_adjustments::{self, StoredAdjustment},
    },
    domain::{Product, ProductId, Refusal, Remark, RequestId, StockDelta},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcomes, each_alone},
};

/// How many transactions an adjustment may take, each of which takes back what one may: a million expired holds in all.
/// Then it is decided on what there is, and a repeat goes on from there.
const TRANSACTIONS_MAX: usize = 100;

/// An operator's wish to change how much is on sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustStock {
    /// The product.
    pub product_id: ProductId,
    /// Units to add or to take away.
    pub delta: StockDelta,
    /// Why.
    pub reason: Remark,
    /// The caller's.
    pub request_id: RequestId,
}

/// A product after an adjustment, and whether this call made it.
#[derive(Debug, Clone)]
pub struct AdjustedStock {
    /// The product, with its stock just after the adjustment.
    pub view: ProductView,
    /// Whether an earlier call made it.
    pub replayed: bool,
}

/// The batch of AdjustStock: one command.
pub struct AdjustStocks {
    database: Database,
    waits: ProductWaits,
}

impl AdjustStocks {
    pub(super) fn new(database: Database, waits: ProductWaits) -> Self {
        Self { database, waits }
    }

    async fn adjust(&self, command: &AdjustStock, calls: Calls<'_, AdjustStock>) -> Result<AdjustedStock, Error> {
        let run = || self.adjust_in_transactions(command, calls);
        self.waits.run(command.product_id, calls, run).await
    }

    /// Runs the command in as many transactions as it takes.
    async fn adjust_in_transactions(
        &self,
        command: &AdjustStock,
        calls: Calls<'_, AdjustStock>,
    ) -> Result<AdjustedStock, Error> {
        let mut transactions = 1;
        loop {
            let last = transactions >= TRANSACTIONS_MAX;
            match self.transact(command, calls, last).await? {
                Some(result) => return result,
                None => transactions += 1,
            }
        }
    }

    /// Runs the command in one transaction. `None`: it took back what one may, which isn't enough, and did nothing else.
    async fn transact(
        &self,
        command: &AdjustStock,
        calls: Calls<'_, AdjustStock>,
        last: bool,
    ) -> Result<Option<Result<AdjustedStock, Error>>, Error> {
        let Committed { value: Outcome { adjusted, taken_back }, .. } = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("adjust_stock", async |conn: &mut Connection, _attempt| command.plan(conn, last).await)
            .await?;
        taken_back.log();
        Ok(adjusted)
    }
}

/// What a transaction came to.
struct Outcome {
    /// The command's result. `None`: nothing was done but to take back, which isn't enough, and there is more.
    adjusted: Option<Result<AdjustedStock, Error>>,
    taken_back: TakenBack,
}

impl Outcome {
    fn decided(adjusted: Result<AdjustedStock, Error>) -> Self {
        Self { adjusted: Some(adjusted), taken_back: TakenBack::default() }
    }
}

impl AdjustStock {
    async fn plan(&self, conn: &mut Connection, last: bool) -> Result<Plan<Outcome>, Failure> {
        let locked = products::lock(&mut *conn, self.product_id).await?;
        let name = products::name(&mut *conn, self.product_id).await?;
        let earlier = stock_adjustments::made_by(&mut *conn, self.product_id, &self.request_id).await?;
        let script = Script::default();
        let (Some((product, _now)), Some(name)) = (locked, name) else {
            let missing = Outcome::decided(Err(Missing::Product(self.product_id).into()));
            return Ok(Plan { script, value: missing });
        };
        let view = |product, replayed| AdjustedStock { view: ProductView { name: name.into(), product }, replayed };
        if let Some(earlier) = earlier {
            let repeated = self.repeat(product, earlier).map(|product| view(product, true));
            return Ok(Plan { script, value: Outcome::decided(repeated.map_err(Error::from)) });
        }
        let Plan { script, value: (adjusted, taken_back) } = self.plan_new(conn, product, last).await?;
        let adjusted = adjusted.map(|result| result.map(|product| view(product, false)));
        Ok(Plan { script, value: Outcome { adjusted, taken_back } })
    }

    /// Plans what no earlier request has done, of a locked product: the product as it is answered, and what is taken back
    /// for that.
    async fn plan_new(
        &self,
        conn: &mut Connection,
        mut product: Product,
        last: bool,
    ) -> Result<Plan<(Option<Result<Product, Error>>, TakenBack)>, Failure> {
        let mut script = Script::default();
        let lapsed_units = lapsed::read(&mut *conn, self.product_id).await?.total();
        let units_short = self.delta.units_short(product.available_stock);
        let mut taken_back = TakenBack::default();
        if units_short > lapsed_units {
            // Nobody's order is cancelled for what is refused all the same.
            product = product.answered(lapsed_units);
        } else {
            taken_back = TakenBack::lock(conn, self.product_id, units_short, Vec::new()).await?;
        }
        let units_back = taken_back.units();
        if units_back > 0 {
            taken_back.write(&mut script);
            products::give_back(&mut script, self.product_id, units_back);
            product.give_back(units_back);
        }
        if units_back < units_short && taken_back.leaves_some() && !last {
            return Ok(Plan { script, value: (None, taken_back) });
        }
        let adjusted = product.adjust(self.delta).map_err(Error::from).map(|()| {
            let answered = product.answered(lapsed_units - units_back);
            products::adjust(&mut script, self.product_id, self.delta);
            stock_adjustments::insert(&mut script, &answered, self.delta, &self.reason, &self.request_id);
            answered
        });
        Ok(Plan { script, value: (Some(adjusted), taken_back) })
    }

    /// The product as an earlier request with the same arguments was answered, but for what isn't its stock.
    fn repeat(&self, product: Product, earlier: StoredAdjustment) -> Result<Product, Refusal> {
        let StoredAdjustment { delta, reason, total_stock, available_stock } = earlier;
        if delta != self.delta || reason != self.reason {
            return Err(Refusal::RequestIdReused);
        }
        Ok(Product { total_stock, available_stock, ..product })
    }
}

impl Batch for AdjustStocks {
    type Command = AdjustStock;
    type Answer = AdjustedStock;

    async fn run(&self, calls: Calls<'_, AdjustStock>) -> Result<Outcomes<AdjustedStock>, Error> {
        each_alone(calls, |command| self.adjust(command, calls)).await
    }

    fn record(&self, command: &AdjustStock, result: &Result<AdjustedStock, Error>) {
        if let Ok(AdjustedStock { view, replayed: false }) = result {
            let Product { id, total_stock, available_stock, .. } = &view.product;
            let (product_id, delta) = (id.get(), command.delta.get());
            info!(product_id, delta, total_stock, available_stock, "Stock adjusted");
        }
    }
}
