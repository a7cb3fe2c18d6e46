//! Buys units one by one, also while the server is restarted, and then asks for more than there is.
//!
//! ```sh
//! cargo run -p flashsale-client --example purchase -- 1 3 http://127.0.0.1:50051
//! ```
//!
//! The arguments are a product, how many units to buy, and one or more addresses of servers.

use std::{env, error::Error, time::Duration};

use flashsale_client::{
    Client, Refusal,
    proto::{CreateHoldRequest, CreateOrderRequest},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [product_id, wishes, addresses @ ..] = arguments.as_slice() else {
        return Err("usage: purchase PRODUCT_ID WISHES ADDRESS…".into());
    };
    buy(product_id.parse()?, wishes.parse()?, addresses, |line| println!("{line}")).await
}

/// Buys `wishes` units, asks for a million more, and says what happens.
pub(crate) async fn buy(
    product_id: i64,
    wishes: u32,
    addresses: &[String],
    say: impl Fn(String),
) -> Result<(), Box<dyn Error>> {
    // The deadline is for a call with all its repeats. A restart of the server has to fit in.
    let client = Client::builder(addresses)?.deadline(Duration::from_secs(60)).connect()?;
    for _ in 0..wishes {
        // Each call is one wish: the client makes up its request_id, and all repeats have the same.
        let wish = CreateHoldRequest { product_id, qty: 1, ..Default::default() };
        let hold = client.create_hold(wish).await?;
        let wish = CreateOrderRequest { hold_id: hold.hold_id, ..Default::default() };
        let order = client.create_order(wish).await?;
        say(format!("order {} of {} cents", order.order_id, order.amount_cents));
    }

    let wish = CreateHoldRequest { product_id, qty: 1_000_000, ..Default::default() };
    match client.create_hold(wish).await {
        Ok(hold) => say(format!("hold {}", hold.hold_id)),
        // A refusal is known by its reason. The message is for people and may change.
        Err(error) => match error.refusal() {
            Some(Refusal::OutOfStock { available_stock, .. }) => say(format!("only {available_stock} left")),
            Some(Refusal::SaleNotStarted { starts_at }) => say(format!("come back at {starts_at}")),
            _ => return Err(error.into()),
        },
    }
    Ok(())
}
