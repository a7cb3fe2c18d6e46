//! Calls a flashsale service, so that a caller hears the end of each wish, and each wish is granted at most once.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use flashsale_client::{Client, Refusal, proto::{CreateHoldRequest, CreateOrderRequest}};
//!
//! # async fn purchase() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder(["http://10.0.0.1:50051", "http://10.0.0.2:50051"])?
//!     .deadline(Duration::from_secs(5))
//!     .connect()?;
//! let wish = CreateHoldRequest { product_id: 1, qty: 2, ..Default::default() };
//! match client.create_hold(wish).await {
//!     Ok(hold) => {
//!         let wish = CreateOrderRequest { hold_id: hold.hold_id, ..Default::default() };
//!         let order = client.create_order(wish).await?;
//!         println!("order {} of {} cents", order.order_id, order.amount_cents);
//!     }
//!     Err(error) => match error.refusal() {
//!         Some(Refusal::OutOfStock { available_stock, .. }) => println!("only {available_stock} left"),
//!         _ => return Err(error.into()),
//!     },
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What the client does
//!
//! - Each call has a deadline, which its repeats share: [`Builder::deadline`], [`Client::within`].
//! - A call that may succeed a little later is repeated, in the way that the module `repeats` describes: at once where
//!   it surely never reached a server, otherwise after a rest, and never before the server's RetryInfo. All calls of a
//!   client share a budget of repeats.
//! - Of several addresses it calls those that serve, in turn. gRPC's health service tells which do.
//! - It probes idle connections, and notices within 15 s that a server has vanished.
//! - It says why a call has no response: [`CallError`], and the service's reasons as [`Refusal`].
//! - It sends the metadata that a request has, such as `traceparent`, with each attempt. [`Builder::metadata`] adds more.
//!
//! - It knows the service by its certificate ([`Builder::ca`]), and is known by a certificate ([`Builder::identity`]) or a
//!   token ([`Builder::token`]), which never leaves the machine in plain text.
//!
//! ```no_run
//! # fn client(token: &str) -> Result<flashsale_client::Client, Box<dyn std::error::Error>> {
//! let client = flashsale_client::Client::builder(["https://server.internal:50051"])?
//!     .ca(std::fs::read("ca.pem")?)
//!     .identity(std::fs::read("shop.pem")?, std::fs::read("shop.key")?)
//!     .connect()?;
//! # Ok(client)
//! # }
//! ```
//!
//! A timeout that is set on a [`tonic::Request`] is replaced by what is left of the call's deadline.
//!
//! # Why a repeat is safe
//!
//! | call | what a repeat finds |
//! |---|---|
//! | every Get and List | what is there now |
//! | CreateHold, CreateOrder, CreateProduct | the hold, order or product of the first time, by its `request_id`. The client makes one up where the call has none, once for each call and not for each attempt |
//! | AdjustStock | the adjustment of the first time, by its `request_id`, which the caller has to give |
//! | ReleaseHold, CancelOrder | the hold or order, which is already released or cancelled |
//! | UpdateProduct | the same values, which are set again. What somebody else set meanwhile is lost, as by any later update |
//! | HandlePaymentWebhook | the answer of the first time, by its `idempotency_key` |
//! | ResolvePaymentException, AcceptPayment | the exception, as the first call left it |
//!
//! A wish is one call of a method here. A caller that gives up after the deadline, and calls again for the same wish,
//! has to use the same `request_id`: [`new_request_id`] makes one up, which the caller keeps.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `tls` (on unless switched off) | `https://` addresses |

mod addresses;
mod admin;
mod builder;
mod client;
mod error;
mod refusal;
mod repeats;
mod request_id;
mod sale;

/// The messages of the service.
pub use flashsale_proto as proto;

pub use self::{
    builder::{Builder, ConnectError},
    client::Client,
    error::CallError,
    refusal::{Refusal, Refused, Violation},
    repeats::Repeat,
    request_id::new_request_id,
};

#[cfg(test)]
mod tests {
    #[test]
    fn every_call_of_the_service_has_its_method() {
        let methods = [include_str!("sale.rs"), include_str!("admin.rs")].concat();
        for (path, name) in crate::proto::RPCS {
            assert!(methods.contains(&format!("pub async fn {name}(")), "{path}");
        }
        assert_eq!(methods.matches("pub async fn ").count(), crate::proto::RPCS.len());
    }
}
