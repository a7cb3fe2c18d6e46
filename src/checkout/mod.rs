//! The use cases. Each has a file of its own: its command, its batch (lock, decide by [`crate::domain`], write), its
//! log line, and its method of [`Checkout`].
//!
//! Locks are taken in one order everywhere: order, hold, product, each by ascending id. A transaction that begins with
//! a product afterwards only inserts rows, or locks rows that nobody else has locked.
//!
//! Use cases whose key is no product have one lane ([`LaneKey::WholeUseCase`](crate::lane::LaneKey)). Lanes by hold or
//! by order would only cut the same commands into smaller batches, each with the same cost. With one lane, 256 callers
//! on two cores made 1.1 times as many checkouts as with two.

pub mod accept_payment;
pub mod adjust_stock;
mod busy;
pub mod cancel_order;
mod cancel_orders;
pub mod cancel_overdue_orders;
pub mod create_hold;
pub mod create_order;
pub mod create_product;
pub mod expire_holds;
pub mod get_hold;
pub mod get_order;
pub mod get_product;
pub mod get_sale_stats;
pub mod handle_payment_webhook;
mod labels;
pub mod list_holds;
pub mod list_operator_actions;
pub mod list_orders;
pub mod list_payment_events;
pub mod list_payment_exceptions;
pub mod list_products;
pub mod operator_actions;
pub mod page;
mod product_waits;
pub mod purge;
pub mod readiness;
pub mod release_hold;
pub mod repair_available_stock;
mod request_ids;
pub mod resolve_payment_exception;
mod sale_figures;
mod settings;
mod suspects;
pub mod swept;
mod take_back;
pub mod update_product;

use std::sync::Arc;

pub use accept_payment::AcceptPayment;
pub use adjust_stock::AdjustStock;
pub use create_hold::CreateHold;
pub use create_order::CreateOrder;
pub use create_product::CreateProduct;
pub use get_product::ProductView;
pub use handle_payment_webhook::{HandlePaymentWebhook, WebhookAnswer};
pub use list_holds::ListHolds;
pub use list_operator_actions::ListOperatorActions;
pub use list_orders::ListOrders;
pub use list_payment_events::{EventsOf, ListPaymentEvents};
pub use list_payment_exceptions::ListPaymentExceptions;
pub use list_products::ListProducts;
pub use readiness::Readiness;
pub use request_ids::request_id_or_made_up;
pub use resolve_payment_exception::ResolvePaymentException;
pub use settings::Settings;
pub use update_product::UpdateProduct;

pub use crate::db::payment_webhooks::{ListedEvent, StoredEvent};
use crate::{
    config::DatabaseConfig,
    db::Database,
    error::Error,
    lane::{LaneGroup, Lanes, OneByOne},
};
use product_waits::ProductWaits;
use settings::CheckoutLimits;
use take_back::TakeBacks;

/// Runs all use cases that callers ask for, each in its lanes.
#[derive(Debug, Clone)]
pub struct Checkout {
    database: Database,
    lanes: Arc<LaneGroup>,
    take_backs: TakeBacks,
    require_amount: bool,
    get_product: Lanes<get_product::GetProductBatch>,
    create_hold: Lanes<create_hold::CreateHoldBatch>,
    get_hold: Lanes<get_hold::GetHoldBatch>,
    release_hold: Lanes<release_hold::ReleaseHoldBatch>,
    create_order: Lanes<create_order::CreateOrderBatch>,
    cancel_order: Lanes<cancel_order::CancelOrderBatch>,
    get_order: Lanes<get_order::GetOrderBatch>,
    handle_payment_webhook: Lanes<handle_payment_webhook::HandlePaymentWebhookBatch>,
    create_product: Lanes<OneByOne<create_product::CreateProductBatch>>,
    update_product: Lanes<OneByOne<update_product::UpdateProductBatch>>,
    adjust_stock: Lanes<OneByOne<adjust_stock::AdjustStockBatch>>,
    get_sale_stats: Lanes<get_sale_stats::GetSaleStatsBatch>,
    list_payment_exceptions: Lanes<OneByOne<list_payment_exceptions::ListPaymentExceptionsBatch>>,
    resolve_payment_exception: Lanes<OneByOne<resolve_payment_exception::ResolvePaymentExceptionBatch>>,
    accept_payment: Lanes<OneByOne<accept_payment::AcceptPaymentBatch>>,
    list_products: Lanes<OneByOne<list_products::ListProductsBatch>>,
    list_holds: Lanes<OneByOne<list_holds::ListHoldsBatch>>,
    list_orders: Lanes<OneByOne<list_orders::ListOrdersBatch>>,
    list_payment_events: Lanes<OneByOne<list_payment_events::ListPaymentEventsBatch>>,
    list_operator_actions: Lanes<OneByOne<list_operator_actions::ListOperatorActionsBatch>>,
}

impl Checkout {
    /// Makes the checkout on the database of `config`, which is connected to when it is first used.
    ///
    /// # Errors
    /// Those of [`Database::new`].
    pub fn open(config: &DatabaseConfig, settings: Settings) -> Result<Self, Error> {
        let database = Database::new(config)?;
        database.show_in_metrics();
        let db = || database.clone();
        let CheckoutLimits { product, rows } = CheckoutLimits::new(&database, settings);
        let (product_waits, take_backs) = (ProductWaits::new(db()), TakeBacks::new(db()));
        let (waits, in_background) = (|| product_waits.clone(), || take_backs.clone());
        let labels = labels::Labels::default();
        let mut group = LaneGroup::default();
        Ok(Self {
            get_product: group.lanes(get_product::GetProductBatch::new(db(), in_background(), labels.clone()), product),
            create_hold: group.lanes(create_hold::CreateHoldBatch::new(db(), waits(), settings.hold_ttl), product),
            get_hold: group.lanes(get_hold::GetHoldBatch::new(db()), rows),
            release_hold: group.lanes(release_hold::ReleaseHoldBatch::new(db(), waits()), rows),
            create_order: group.lanes(create_order::CreateOrderBatch::new(db(), settings.payment_due), rows),
            cancel_order: group.lanes(cancel_order::CancelOrderBatch::new(db(), waits()), rows),
            get_order: group.lanes(get_order::GetOrderBatch::new(db()), rows),
            handle_payment_webhook: group
                .lanes(handle_payment_webhook::HandlePaymentWebhookBatch::new(db(), waits()), rows),
            create_product: group.one_by_one(create_product::CreateProductBatch::new(db()), rows),
            update_product: group.one_by_one(update_product::UpdateProductBatch::new(db(), waits(), labels), rows),
            adjust_stock: group.one_by_one(adjust_stock::AdjustStockBatch::new(db(), waits()), rows),
            get_sale_stats: group.lanes(get_sale_stats::GetSaleStatsBatch::new(db(), in_background()), product),
            list_payment_exceptions: group
                .one_by_one(list_payment_exceptions::ListPaymentExceptionsBatch::new(db()), rows),
            resolve_payment_exception: group
                .one_by_one(resolve_payment_exception::ResolvePaymentExceptionBatch::new(db()), rows),
            accept_payment: group.one_by_one(accept_payment::AcceptPaymentBatch::new(db()), rows),
            list_products: group.one_by_one(list_products::ListProductsBatch::new(db()), rows),
            list_holds: group.one_by_one(list_holds::ListHoldsBatch::new(db()), rows),
            list_orders: group.one_by_one(list_orders::ListOrdersBatch::new(db()), rows),
            list_payment_events: group.one_by_one(list_payment_events::ListPaymentEventsBatch::new(db()), rows),
            list_operator_actions: group.one_by_one(list_operator_actions::ListOperatorActionsBatch::new(db()), rows),
            lanes: Arc::new(group),
            take_backs: in_background(),
            require_amount: settings.require_amount,
            database: db(),
        })
    }

    /// Takes no more calls. Returns when those it took are answered and nothing runs in the background.
    pub async fn close(&self) {
        self.lanes.close().await;
        self.take_backs.close().await;
    }
}
