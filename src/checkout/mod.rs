//! The use cases. Each file is one: its command, its batch (lock, decide by [`crate::domain`], write), its log line.
//!
//! Locks are taken in one order everywhere: order, hold, product, each by ascending id. A transaction that begins with
//! a product afterwards only inserts, or locks what nobody else has locked.

pub mod adjust_stock;
mod busy;
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
pub mod list_payment_exceptions;
mod product_waits;
pub mod readiness;
pub mod release_hold;
pub mod repair_available_stock;
pub mod resolve_payment_exception;
mod suspects;
pub mod swept;
mod take_back;
pub mod update_product;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

pub use adjust_stock::AdjustStock;
pub use create_hold::CreateHold;
pub use create_order::CreateOrder;
pub use create_product::CreateProduct;
pub use get_product::ProductView;
pub use handle_payment_webhook::{HandlePaymentWebhook, WebhookAnswer};
pub use list_payment_exceptions::ListPaymentExceptions;
pub use resolve_payment_exception::ResolvePaymentException;
pub use update_product::UpdateProduct;

use product_waits::ProductWaits;

use crate::{
    config::DatabaseConfig,
    db::Database,
    domain::{Hold, HoldId, Order, OrderId, PaymentException, ProductId, RequestId, SaleStats},
    error::Error,
    lane::{Lanes, Limits},
};
pub use crate::{db::sweeper_state::SweeperTotals, lane::Burst};
pub use readiness::Readiness;
use take_back::TakeBacks;

/// The key of use cases that have one lane, since theirs isn't a product. Lanes by hold or order would only cut the same
/// commands into smaller batches, each with the same cost: 256 callers on two cores made 1.1 times as many checkouts with
/// one lane as with two. A command whose row somebody has locked waits in a lane for that row alone.
const ONE_LANE: i64 = 0;
/// Products that are asked for at the same moment, at the most.
const PRODUCT_LANES_MAX: usize = 10_000;
/// Commands of a batch that takes or reads one product.
const PRODUCT_BATCH_MAX: usize = 1024;
/// Commands of a batch that touches a row each.
const ROWS_BATCH_MAX: usize = 256;

/// How long a call may wait for rows that others have locked. A run that began just before may wait for one lock more, up
/// to 2 s on MySQL (`db`), and the caller has to hear of it before its gateway gives up: within 4 s by the contract.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Batches of a use case in flight, at the least, where few lanes are busy; else one for each core of this machine. More
/// only cut the same commands into smaller batches: sixteen hot products on two cores sold 1.07 times as fast with two
/// as with four, and 0.57 to 0.70 times as fast as one product with a batch each.
const BATCHES_IN_FLIGHT_MIN: usize = 2;

/// What the checkout depends on beside the database.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a hold holds.
    pub hold_ttl: Duration,
    /// How long an order may stay unpaid; `None`: for ever.
    pub payment_due: Option<Duration>,
    /// Commands waiting in one lane, at least 1.
    pub lane_queue: usize,
}

/// All use cases that callers ask for, each behind its lanes.
#[derive(Debug, Clone)]
pub struct Checkout {
    database: Database,
    burst: Burst,
    take_backs: TakeBacks,
    get_product: Lanes<get_product::GetProducts>,
    create_hold: Lanes<create_hold::CreateHolds>,
    get_hold: Lanes<get_hold::GetHolds>,
    release_hold: Lanes<release_hold::ReleaseHolds>,
    create_order: Lanes<create_order::CreateOrders>,
    get_order: Lanes<get_order::GetOrders>,
    handle_payment_webhook: Lanes<handle_payment_webhook::HandlePaymentWebhooks>,
    create_product: Lanes<create_product::CreateProducts>,
    update_product: Lanes<update_product::UpdateProducts>,
    adjust_stock: Lanes<adjust_stock::AdjustStocks>,
    get_sale_stats: Lanes<get_sale_stats::GetSaleStats>,
    list_payment_exceptions: Lanes<list_payment_exceptions::ListsOfPaymentExceptions>,
    resolve_payment_exception: Lanes<resolve_payment_exception::ResolvePaymentExceptions>,
}

impl Checkout {
    /// The checkout on the database of `config`, which is connected to when it is used.
    ///
    /// # Errors
    /// Those of [`Database::new`].
    pub fn open(config: &DatabaseConfig, settings: Settings) -> Result<Self, Error> {
        Ok(Self::new(&Database::new(config)?, settings))
    }

    fn new(database: &Database, settings: Settings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Half of the pool is left for those whose rows nobody has locked; see `product_waits`.
        let in_flight = cores.max(BATCHES_IN_FLIGHT_MIN).min((database.pool_size() / 2).max(1));
        let limits = |batch_max, lanes_max| Limits {
            batch_max,
            queue_max: settings.lane_queue,
            lanes_max,
            in_flight,
            lock_patience: LOCK_PATIENCE,
        };
        let product = limits(PRODUCT_BATCH_MAX, PRODUCT_LANES_MAX);
        let rows = limits(ROWS_BATCH_MAX, PRODUCT_LANES_MAX);
        // An operator's calls are few: each is a batch of its own.
        let single = limits(1, PRODUCT_LANES_MAX);
        let product_waits = ProductWaits::new(database.clone());
        let waits = || product_waits.clone();
        let database = || database.clone();
        let answers = Burst::default();
        let labels = labels::Labels::default();
        let burst = || answers.clone();
        let take_backs = TakeBacks::new(database());
        let in_background = || take_backs.clone();
        Self {
            database: database(),
            burst: burst(),
            take_backs: in_background(),
            get_product: Lanes::new(
                get_product::GetProducts::new(database(), in_background(), labels.clone()),
                product,
                burst(),
            ),
            create_hold: Lanes::new(
                create_hold::CreateHolds::new(database(), waits(), settings.hold_ttl),
                product,
                burst(),
            ),
            get_hold: Lanes::new(get_hold::GetHolds::new(database()), rows, burst()),
            release_hold: Lanes::new(release_hold::ReleaseHolds::new(database(), waits()), rows, burst()),
            create_order: Lanes::new(create_order::CreateOrders::new(database(), settings.payment_due), rows, burst()),
            get_order: Lanes::new(get_order::GetOrders::new(database()), rows, burst()),
            handle_payment_webhook: Lanes::new(
                handle_payment_webhook::HandlePaymentWebhooks::new(database(), waits()),
                rows,
                burst(),
            ),
            create_product: Lanes::new(create_product::CreateProducts::new(database()), single, burst()),
            update_product: Lanes::new(
                update_product::UpdateProducts::new(database(), waits(), labels),
                single,
                burst(),
            ),
            adjust_stock: Lanes::new(adjust_stock::AdjustStocks::new(database(), waits()), single, burst()),
            get_sale_stats: Lanes::new(
                get_sale_stats::GetSaleStats::new(database(), in_background()),
                product,
                burst(),
            ),
            list_payment_exceptions: Lanes::new(
                list_payment_exceptions::ListsOfPaymentExceptions::new(database()),
                single,
                burst(),
            ),
            resolve_payment_exception: Lanes::new(
                resolve_payment_exception::ResolvePaymentExceptions::new(database()),
                single,
                burst(),
            ),
        }
    }

    /// Reads a product; its stock after the call arrived.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn get_product(&self, id: ProductId) -> Result<ProductView, Error> {
        self.get_product.submit(id.get(), id).await
    }

    /// Sets units aside.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (a buyer is required, an amount over an int64), `Refused`, or temporary.
    pub async fn create_hold(&self, command: CreateHold) -> Result<Hold, Error> {
        Ok(self.create_hold.submit(command.product_id.get(), command).await?.hold)
    }

    /// Reads a hold.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn get_hold(&self, id: HoldId) -> Result<Hold, Error> {
        self.get_hold.submit(ONE_LANE, id).await
    }

    /// Gives a hold's units back.
    ///
    /// # Errors
    /// `NotFound`, `Refused` (used), or temporary.
    pub async fn release_hold(&self, id: HoldId) -> Result<Hold, Error> {
        Ok(self.release_hold.submit(ONE_LANE, id).await?.hold)
    }

    /// Turns a hold into an order.
    ///
    /// # Errors
    /// `NotFound`, `Refused` (expired, cancelled, used), or temporary.
    pub async fn create_order(&self, command: CreateOrder) -> Result<Order, Error> {
        Ok(self.create_order.submit(ONE_LANE, command).await?.order)
    }

    /// Reads an order.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn get_order(&self, id: OrderId) -> Result<Order, Error> {
        self.get_order.submit(ONE_LANE, id).await
    }

    /// Settles an order by a payment event.
    ///
    /// # Errors
    /// `NotFound` (nothing is stored), `Refused` (the key is another order's), or temporary.
    pub async fn handle_payment_webhook(&self, command: HandlePaymentWebhook) -> Result<WebhookAnswer, Error> {
        self.handle_payment_webhook.submit(ONE_LANE, command).await
    }

    /// Puts a product on sale.
    ///
    /// # Errors
    /// `Refused` (the request_id is another request's), or temporary.
    pub async fn create_product(&self, command: CreateProduct) -> Result<ProductView, Error> {
        self.create_product.submit(ONE_LANE, command).await
    }

    /// Changes a product.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (the window), or temporary.
    pub async fn update_product(&self, command: UpdateProduct) -> Result<ProductView, Error> {
        self.update_product.submit(command.product_id.get(), command).await
    }

    /// Adds units to a product, or takes available ones away.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (a total over an int64), `Refused` (fewer are available, the request_id is another
    /// request's), or temporary.
    pub async fn adjust_stock(&self, command: AdjustStock) -> Result<ProductView, Error> {
        Ok(self.adjust_stock.submit(command.product_id.get(), command).await?.view)
    }

    /// Reads a product's books, after the call arrived.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn get_sale_stats(&self, id: ProductId) -> Result<SaleStats, Error> {
        self.get_sale_stats.submit(id.get(), id).await
    }

    /// Lists payments that need a person.
    ///
    /// # Errors
    /// Temporary ones only.
    pub async fn list_payment_exceptions(
        &self,
        command: ListPaymentExceptions,
    ) -> Result<list_payment_exceptions::Page, Error> {
        self.list_payment_exceptions.submit(ONE_LANE, command).await
    }

    /// Writes down what was done about such a payment.
    ///
    /// # Errors
    /// `NotFound`, or temporary.
    pub async fn resolve_payment_exception(&self, command: ResolvePaymentException) -> Result<PaymentException, Error> {
        Ok(self.resolve_payment_exception.submit(command.id.get(), command).await?.exception)
    }

    /// Looks whether the database can be served from; see [`readiness::look`].
    ///
    /// # Errors
    /// A sentence for the log.
    pub async fn readiness(&self, current: bool) -> Result<Readiness, String> {
        readiness::look(&self.database, current).await
    }

    /// The burst that the answers of all lanes are part of.
    pub fn burst(&self) -> Burst {
        self.burst.clone()
    }

    /// Takes no more calls, and returns when those taken are answered and nothing is at work in the background.
    pub async fn close(&self) {
        tokio::join!(
            self.get_product.close(),
            self.create_hold.close(),
            self.get_hold.close(),
            self.release_hold.close(),
            self.create_order.close(),
            self.get_order.close(),
            self.handle_payment_webhook.close(),
            self.create_product.close(),
            self.update_product.close(),
            self.adjust_stock.close(),
            self.get_sale_stats.close(),
            self.list_payment_exceptions.close(),
            self.resolve_payment_exception.close(),
        );
        self.take_backs.close().await;
    }
}

/// The caller's request_id, or one that the server makes up: its own repeats need one too.
pub fn request_id_or_made_up(request_id: Option<RequestId>) -> RequestId {
    static PROCESS: std::sync::LazyLock<u64> = std::sync::LazyLock::new(rand::random);
    static SEQUENCE: AtomicU64 = AtomicU64::new(0);
    request_id.unwrap_or_else(|| RequestId::made_up(*PROCESS, SEQUENCE.fetch_add(1, Ordering::Relaxed)))
}

/// Logs a hold whose units went back because its time was over, by whoever noticed.
fn log_expired(hold: &crate::db::holds::ExpiredHold) {
    tracing::info!(
        hold_id = hold.id().get(),
        product_id = hold.product_id().get(),
        qty = hold.qty().get(),
        "Hold expired and stock released"
    );
}

/// Logs an order whose units went back because nobody paid in time, by whoever noticed.
fn log_overdue(order: &Order) {
    tracing::info!(
        order_id = order.id.get(),
        product_id = order.product_id.get(),
        qty = order.qty.get(),
        "Order cancelled: payment overdue"
    );
}
