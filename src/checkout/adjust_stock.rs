//! AdjustStock: adds units to a product, or takes available ones away. It does so once per request_id, and stores a
//! row.
//!
//! product FOR UPDATE · the earlier request · what is past its time · if that covers what is short of stock: some of
//! it, SKIP LOCKED · orders, holds, product, adjustment and COMMIT as one script. Where more has to go back than one
//! transaction may take back, the first transactions do nothing else.

use tracing::info;

use super::{
    Checkout, ProductView,
    operator_actions::{Method, OperatorCall, changed},
    product_waits::ProductWaits,
    take_back::TakenBack,
};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script, lapsed,
        operator_actions::ActionProduct,
        products,
        stock_adjustments::{self, StoredAdjustment},
    },
    domain::{Principal, Product, ProductId, Refusal, Remark, RequestId, StockDelta},
    error::{Error, Missing},
    lane::{Calls, LaneKey, RunOne},
};

/// How many transactions an adjustment may take. Each takes back as much as one may, so a million expired holds in all.
/// The last one decides on what there is, and a repeat goes on from there.
const TRANSACTIONS_MAX: usize = 100;

/// Asks for more or fewer units to be on sale, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustStock {
    /// The product.
    pub product_id: ProductId,
    /// Units to add or to take away.
    pub delta: StockDelta,
    /// Why.
    pub reason: Remark,
    /// The caller's request_id.
    pub request_id: RequestId,
    /// Who asks.
    pub principal: Principal,
}

/// Shows a product after an adjustment, and says whether this call made it.
#[derive(Debug, Clone)]
pub struct AdjustedStock {
    /// The product, with its stock just after the adjustment.
    pub view: ProductView,
    /// Whether an earlier call made the adjustment.
    pub replayed: bool,
}

/// Runs AdjustStock commands, one by one.
pub struct AdjustStockBatch {
    database: Database,
    waits: ProductWaits,
}

impl AdjustStockBatch {
    pub(super) fn new(database: Database, waits: ProductWaits) -> Self {
        Self { database, waits }
    }

    /// Runs the command in as many transactions as it takes.
    async fn adjust(&self, command: &AdjustStock, calls: Calls<'_, AdjustStock>) -> Result<AdjustedStock, Error> {
        let mut transactions = 1;
        loop {
            let is_last = transactions >= TRANSACTIONS_MAX;
            match self.transact(command, calls, is_last).await? {
                Some(result) => return result,
                None => transactions += 1,
            }
        }
    }

    /// Runs the command in one transaction. `None`, another one follows: this one only took back what it may.
    async fn transact(
        &self,
        command: &AdjustStock,
        calls: Calls<'_, AdjustStock>,
        is_last: bool,
    ) -> Result<Option<Result<AdjustedStock, Error>>, Error> {
        let Committed { value: AdjustStep { adjusted, taken_back }, .. } = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("adjust_stock", async |conn: &mut Connection, _attempt| command.plan(conn, is_last).await)
            .await?;
        taken_back.log();
        Ok(adjusted)
    }
}

/// Says what one transaction did.
struct AdjustStep {
    /// The command's result. `None`: it only took back as much as it may, which isn't enough.
    adjusted: Option<Result<AdjustedStock, Error>>,
    taken_back: TakenBack,
}

impl AdjustStep {
    fn decided(adjusted: Result<AdjustedStock, Error>) -> Self {
        Self { adjusted: Some(adjusted), taken_back: TakenBack::default() }
    }
}

impl AdjustStock {
    fn call(&self) -> OperatorCall<'_> {
        let (principal, request_id) = (&self.principal, Some(&self.request_id));
        OperatorCall { principal, method: Method::AdjustStock, request_id }
    }

    async fn plan(&self, conn: &mut Connection, is_last: bool) -> Result<Plan<AdjustStep>, Failure> {
        let locked = products::lock(&mut *conn, self.product_id).await?;
        let name = products::name(&mut *conn, self.product_id).await?;
        let earlier = stock_adjustments::made_by(&mut *conn, self.product_id, &self.request_id).await?;
        let script = Script::default();
        let (Some((product, _now)), Some(name)) = (locked, name) else {
            let missing = AdjustStep::decided(Err(Missing::Product(self.product_id).into()));
            return Ok(Plan { script, value: missing });
        };
        let view = |product, replayed| AdjustedStock { view: ProductView { name: name.into(), product }, replayed };
        if let Some(earlier) = earlier {
            let repeated = self.repeat(product, earlier).map(|product| view(product, true));
            return Ok(Plan { script, value: AdjustStep::decided(repeated.map_err(Error::from)) });
        }
        let Plan { script, value: (adjusted, taken_back) } = self.plan_new(conn, product, is_last).await?;
        let adjusted = adjusted.map(|result| result.map(|product| view(product, false)));
        Ok(Plan { script, value: AdjustStep { adjusted, taken_back } })
    }

    /// Plans an adjustment that no earlier request has made, of a locked product.
    ///
    /// Returns the product as it is answered, and what is taken back for it.
    async fn plan_new(
        &self,
        conn: &mut Connection,
        mut product: Product,
        is_last: bool,
    ) -> Result<Plan<(Option<Result<Product, Error>>, TakenBack)>, Failure> {
        let mut script = Script::default();
        let lapsed_units = lapsed::read(&mut *conn, self.product_id).await?.total();
        let units_short = self.delta.units_short(product.available_stock);
        let mut taken_back = TakenBack::default();
        if units_short > lapsed_units {
            // The adjustment is refused anyway, so no order is cancelled for it.
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
        if units_back < units_short && taken_back.leaves_some() && !is_last {
            return Ok(Plan { script, value: (None, taken_back) });
        }
        let total_before = product.total_stock;
        let adjusted = match product.adjust(self.delta) {
            Ok(()) => {
                let answered = product.answered(lapsed_units - units_back);
                products::adjust(&mut script, self.product_id, self.delta);
                stock_adjustments::insert(&mut script, &answered, self.delta, &self.reason, &self.request_id);
                let changes = [
                    changed("reason", None, Some(self.reason.as_str())),
                    changed("total_stock", Some(total_before), Some(answered.total_stock)),
                ];
                self.call().write(&mut script, ActionProduct::Known(self.product_id), changes)?;
                Ok(answered)
            }
            Err(why) => Err(Error::from(why)),
        };
        Ok(Plan { script, value: (Some(adjusted), taken_back) })
    }

    /// Shows the product as it is now, with the stock that the earlier, same request was answered with.
    fn repeat(&self, product: Product, earlier: StoredAdjustment) -> Result<Product, Refusal> {
        let StoredAdjustment { delta, reason, total_stock, available_stock } = earlier;
        if delta != self.delta || reason != self.reason {
            return Err(Refusal::RequestIdReused);
        }
        Ok(Product { total_stock, available_stock, ..product })
    }
}

impl RunOne for AdjustStockBatch {
    type Command = AdjustStock;
    type Answer = AdjustedStock;

    const NAME: &'static str = "adjust_stock";

    async fn run_one(&self, command: &AdjustStock, calls: Calls<'_, AdjustStock>) -> Result<AdjustedStock, Error> {
        self.waits.run(command.product_id, calls, || self.adjust(command, calls)).await
    }

    fn record(&self, command: &AdjustStock, result: &Result<AdjustedStock, Error>) {
        command.call().log(Some(command.product_id), result);
        if let Ok(AdjustedStock { view, replayed: false }) = result {
            let Product { id, total_stock, available_stock, .. } = &view.product;
            let (product_id, delta) = (id.get(), command.delta.get());
            info!(product_id, delta, total_stock, available_stock, "Stock adjusted");
        }
    }
}

impl Checkout {
    /// Adds units to a product, or takes available ones away.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (a total over an int64), `Refused` (fewer are available, the request_id is another
    /// request's), or temporary.
    pub async fn adjust_stock(&self, command: AdjustStock) -> Result<ProductView, Error> {
        let key = LaneKey::Product(command.product_id.get());
        Ok(self.adjust_stock.submit(key, command).await?.view)
    }
}
