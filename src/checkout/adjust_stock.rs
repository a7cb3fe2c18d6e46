//! AdjustStock: adds units to a product, or takes available ones away; once per request_id, and each with a row.
//!
//! product FOR UPDATE · the earlier request · decide · product, adjustment and COMMIT as one script.

use tracing::info;

use super::{ProductView, product_waits::ProductWaits};
use crate::{
    db::{
        Committed, Connection, Database, Failure, Plan, Script, products,
        stock_adjustments::{self, StoredAdjustment},
    },
    domain::{Product, ProductId, Refusal, Remark, RequestId, StockDelta},
    error::{Error, Missing},
    lane::{Batch, Calls, Outcomes, each_alone},
};

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
        let run = || self.adjust_once(command, calls);
        self.waits.run(command.product_id, calls.patient_until(), run).await
    }

    async fn adjust_once(&self, command: &AdjustStock, calls: Calls<'_, AdjustStock>) -> Result<AdjustedStock, Error> {
        let AdjustStock { product_id, delta, reason, request_id } = command;
        let Committed { value: adjusted, .. } = self
            .database
            .for_callers(calls.wanted(), calls.outcome_unknown())
            .transaction("adjust_stock", async |conn: &mut Connection, _attempt| {
                let locked = products::lock(&mut *conn, *product_id).await?;
                let name = products::name(&mut *conn, *product_id).await?;
                let earlier = stock_adjustments::made_by(conn, *product_id, request_id).await?;
                let mut script = Script::default();
                let (Some((product, _now)), Some(name)) = (locked, name) else {
                    return Ok(Plan { script, value: Err(Missing::Product(*product_id).into()) });
                };
                let replayed = earlier.is_some();
                let decided = command.decide(product, earlier);
                if let (Ok(product), false) = (&decided, replayed) {
                    products::adjust(&mut script, *product_id, *delta);
                    stock_adjustments::insert(&mut script, product, *delta, reason, request_id);
                }
                let view = |product| AdjustedStock { view: ProductView { name: name.into(), product }, replayed };
                Ok::<_, Failure>(Plan { script, value: decided.map(view) })
            })
            .await?;
        adjusted
    }
}

impl AdjustStock {
    /// The product as it is after the adjustment: this call's, or that of an earlier one with the same arguments.
    fn decide(&self, mut product: Product, earlier: Option<StoredAdjustment>) -> Result<Product, Error> {
        let Some(StoredAdjustment { delta, reason, total_stock, available_stock }) = earlier else {
            product.adjust(self.delta)?;
            return Ok(product);
        };
        if delta != self.delta || reason != self.reason {
            return Err(Refusal::RequestIdReused.into());
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
