//! The rules of the sale: pure functions on plain values.
//!
//! Nothing here waits, reads a clock, or knows a database or a protocol. `now` is passed in, and is always the
//! database's time. Each rule is a match without a catch-all, so that a new state has to be decided everywhere.

pub mod hold;
pub mod ids;
pub mod lapsed;
pub mod operator_action;
pub mod order;
pub mod payment;
pub mod payment_exception;
pub mod product;
pub mod purge;
pub mod refusal;
pub mod stats;

pub use hold::{Hold, HoldStatus};
pub use ids::{
    BuyerId, HoldId, IdempotencyKey, Invalid, OperatorActionId, OrderId, PaymentEventId, PaymentExceptionId, PaymentId,
    ProductId, ProductName, Quantity, Remark, RequestId,
};
pub use lapsed::LapsedUnits;
pub use operator_action::{FieldChange, OperatorAction, Principal};
pub use order::{Order, OrderStatus, SettledBy};
pub use payment::{PaymentEvent, PaymentResult, PaymentStatus, Settlement};
pub use payment_exception::{PaymentException, PaymentExceptionKind};
pub use product::{NewProduct, Product, ProductChange, StockDelta};
pub use purge::Dossier;
pub use refusal::Refusal;
pub use stats::SaleStats;
