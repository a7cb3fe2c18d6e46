//! Makes the calls of the load, by the generated client.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use flashsale::pb::{
    CreateHoldRequest, CreateOrderRequest, CreateProductRequest, GetProductRequest,
    admin_service_client::AdminServiceClient, flash_sale_service_client::FlashSaleServiceClient,
};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    load::{Call, Reply},
    tls,
};

/// The buyer of each eighth hold, where one buyer buys for many.
pub(crate) const BOX_OFFICE: &str = "box-office";

/// How many connections to one server there are at most.
const CONNECTIONS_MAX: usize = 8;

/// Opens one connection for few callers, and [`CONNECTIONS_MAX`] for many.
pub(crate) async fn connect(address: &str, clients: usize) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _ in 0..clients.min(CONNECTIONS_MAX) {
        let endpoint = match tls::of_url(address) {
            Some(tls) => Endpoint::from_shared(address.to_owned()).unwrap().tls_config(tls).unwrap(),
            None => Endpoint::from_shared(format!("http://{address}")).unwrap(),
        };
        channels.push(endpoint.connect().await.unwrap_or_else(|error| panic!("{address}: {error}")));
    }
    channels
}

/// Puts a product on sale at the server of any design.
pub(crate) async fn create_product(address: &str, total_stock: i64, max_per_buyer: Option<i32>) -> i64 {
    let [channel] = connect(address, 1).await.try_into().unwrap();
    let request = CreateProductRequest {
        name: "Benchmark".to_owned(),
        price_cents: 1000,
        total_stock,
        max_per_buyer,
        ..Default::default()
    };
    let created = AdminServiceClient::new(channel).create_product(request).await.unwrap();
    created.into_inner().product.unwrap().product_id
}

/// Returns the available stock that a server of any design tells.
pub(crate) async fn available_stock(address: &str, product_id: i64) -> i64 {
    let [channel] = connect(address, 1).await.try_into().unwrap();
    let read = FlashSaleServiceClient::new(channel).get_product(GetProductRequest { product_id }).await;
    read.unwrap().into_inner().product.unwrap().available_stock
}

fn failed(status: &Status) -> Reply {
    match status.code() {
        Code::FailedPrecondition => Reply::Refused,
        _ => Reply::Failed(format!("{:?}: {}", status.code(), status.message())),
    }
}

/// Calls an RPC that does nothing: a health check that asks no database.
#[derive(Clone)]
pub(crate) struct Empty(HealthClient<Channel>);

impl Empty {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(HealthClient::new(channel))
    }
}

impl Call for Empty {
    async fn call(&mut self) -> Reply {
        match self.0.check(HealthCheckRequest { service: "liveness".to_owned() }).await {
            Ok(_) => Reply::Granted,
            Err(status) => failed(&status),
        }
    }
}

/// Calls CreateHold for one unit, for each product in turn.
#[derive(Clone)]
pub(crate) struct Hold {
    client: FlashSaleServiceClient<Channel>,
    products: Arc<[i64]>,
    /// Whether each call has another buyer.
    buyers: Option<Arc<AtomicU64>>,
    /// Whether each eighth call is the box office's.
    beside_a_box_office: bool,
    /// Whether each call has a request_id.
    repeatable: bool,
    turn: usize,
}

impl Hold {
    pub(crate) fn new(channel: Channel, products: &[i64]) -> Self {
        let client = FlashSaleServiceClient::new(channel);
        let products = products.into();
        Self { client, products, buyers: None, beside_a_box_office: false, repeatable: false, turn: 0 }
    }

    /// Gives each call another buyer.
    pub(crate) fn by_buyers(self) -> Self {
        static NEXT: std::sync::LazyLock<Arc<AtomicU64>> = std::sync::LazyLock::new(Arc::default);
        Self { buyers: Some(Arc::clone(&NEXT)), ..self }
    }

    /// Gives each call another buyer, except each eighth, which is the box office's.
    pub(crate) fn beside_a_box_office(self) -> Self {
        Self { beside_a_box_office: true, ..self.by_buyers() }
    }

    /// Gives each call another buyer and a request_id.
    pub(crate) fn repeatable_by_buyers(self) -> Self {
        Self { repeatable: true, ..self.by_buyers() }
    }
}

impl Call for Hold {
    async fn call(&mut self) -> Reply {
        let product_id = self.products[self.turn % self.products.len()];
        self.turn += 1;
        // Real ids are scattered like these.
        let number = self.buyers.as_ref().map(|next| next.fetch_add(1, Ordering::Relaxed));
        let buyer_id = number.map(|number| match number % 8 {
            0 if self.beside_a_box_office => BOX_OFFICE.to_owned(),
            _ => format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        });
        let request_id = buyer_id.clone().filter(|_| self.repeatable);
        let request = CreateHoldRequest { product_id, qty: 1, request_id, buyer_id, ..Default::default() };
        match self.client.create_hold(request).await {
            Ok(_) => Reply::Granted,
            Err(status) => failed(&status),
        }
    }
}

/// Calls GetProduct.
#[derive(Clone)]
pub(crate) struct Read {
    client: FlashSaleServiceClient<Channel>,
    product_id: i64,
}

impl Read {
    pub(crate) fn new(channel: Channel, product_id: i64) -> Self {
        Self { client: FlashSaleServiceClient::new(channel), product_id }
    }
}

impl Call for Read {
    async fn call(&mut self) -> Reply {
        match self.client.get_product(GetProductRequest { product_id: self.product_id }).await {
            Ok(_) => Reply::Granted,
            Err(status) => failed(&status),
        }
    }
}

/// Keeps a connection to a gateway, which the first request makes. A clone makes its own.
struct Gateway {
    address: Arc<str>,
    connection: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Clone for Gateway {
    fn clone(&self) -> Self {
        Self { address: Arc::clone(&self.address), connection: None }
    }
}

impl Gateway {
    fn at(address: &str) -> Self {
        Self { address: address.into(), connection: None }
    }

    /// Sends a request, and returns the body of the answer.
    async fn send(&mut self, method: Method, path: &str, body: String) -> Result<Bytes, GatewayError> {
        let connection = &mut self.connection;
        if connection.as_ref().is_none_or(http1::SendRequest::is_closed) {
            let stream = TcpStream::connect(&*self.address).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            *connection = Some(sender);
        }
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &*self.address)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let sender = connection.as_mut().ok_or("no connection")?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}

type GatewayError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a hold, its order, and its payment, which goes to the gateway on a connection that stays open.
#[derive(Clone)]
pub(crate) struct Purchase {
    client: FlashSaleServiceClient<Channel>,
    product_id: i64,
    provider: Gateway,
}

impl Purchase {
    pub(crate) fn new(channel: Channel, product_id: i64, gateway: &str) -> Self {
        Self { client: FlashSaleServiceClient::new(channel), product_id, provider: Gateway::at(gateway) }
    }

    async fn buy(&mut self) -> Result<(), String> {
        let said = |status: Status| format!("{:?}: {}", status.code(), status.message());
        let hold = CreateHoldRequest { product_id: self.product_id, qty: 1, ..Default::default() };
        let hold = self.client.create_hold(hold).await.map_err(said)?.into_inner().hold.unwrap();
        let order = CreateOrderRequest { hold_id: hold.hold_id, ..Default::default() };
        let order = self.client.create_order(order).await.map_err(said)?.into_inner().order.unwrap();
        let order_id = order.order_id;
        let event = format!(r#"{{"idempotency_key":"payment-{order_id}","order_id":{order_id},"status":"success"}}"#);
        let answer = self.provider.send(Method::POST, "/api/payments/webhook", event).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let paid = format!(r#"{{"order_id":{order_id},"order_status":"paid","idempotency_key":"payment-{order_id}"}}"#);
        if answer == paid.as_bytes() { Ok(()) } else { Err(String::from_utf8_lossy(&answer).into_owned()) }
    }
}

impl Call for Purchase {
    async fn call(&mut self) -> Reply {
        match self.buy().await {
            Ok(()) => Reply::Granted,
            Err(why) => Reply::Failed(why),
        }
    }
}

/// Makes the calls of a purchase with nothing behind them.
///
/// These are two calls that do nothing, and a request to the gateway, which makes a third.
#[derive(Clone)]
pub(crate) struct EmptyPurchase {
    empty: Empty,
    provider: Gateway,
}

impl EmptyPurchase {
    pub(crate) fn new(channel: Channel, gateway: &str) -> Self {
        Self { empty: Empty::new(channel), provider: Gateway::at(gateway) }
    }
}

impl Call for EmptyPurchase {
    async fn call(&mut self) -> Reply {
        for _ in 0..2 {
            match self.empty.call().await {
                Reply::Granted => {}
                other => return other,
            }
        }
        match self.provider.send(Method::GET, "/readyz", String::new()).await {
            Ok(answer) if answer == r#"{"status":"ready"}"#.as_bytes() => Reply::Granted,
            Ok(answer) => Reply::Failed(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) => Reply::Failed(error.to_string()),
        }
    }
}
