//! The rules of the sale: pure functions on plain values.
//!
//! Nothing here waits, reads a clock, or knows a database or a protocol: `now` is passed in and is always the
//! database's. Each rule is a match without a catch-all, so that a new state has to be decided everywhere.

pub mod hold;
pub mod ids;
pub mod order;
pub mod payment;
pub mod product;
pub mod refusal;
pub mod stock;

pub use hold::{Hold, HoldStatus};
pub use ids::{BuyerId, HoldId, IdempotencyKey, Invalid, OrderId, ProductId, ProductName, Quantity, RequestId};
pub use order::{Order, OrderStatus};
pub use payment::{PaymentEvent, PaymentOutcome, PaymentStatus, Settlement};
pub use product::{NewProduct, Product};
pub use refusal::Refusal;
pub use stock::Stock;
