//! Runs the callers in examples/ against a real server that is killed and comes back while they buy.
//!
//! Each wish has to end as one hold and one order, whatever its answers went through.

#[expect(dead_code, reason = "its main is for `cargo run`")]
#[path = "../../examples/rust/purchase.rs"]
mod purchase;

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{
    database::TestDatabase, examples, mysqld::free_port, process::Process, programs::ServerProgram, python,
    sale::product, wait,
};

const LIMIT: Duration = Duration::from_secs(90);
const STOCK: usize = 1000;
const WISHES: usize = 100;
/// The server is killed when so many orders were seen.
const ORDERS_BEFORE: usize = 10;

/// Holds a server on a known address, and its database.
struct Shop {
    database: TestDatabase,
    server: ServerProgram,
    product_id: i64,
}

impl Shop {
    async fn open(name: &str) -> Self {
        let database = TestDatabase::create(name).await;
        let address = format!("127.0.0.1:{}", free_port());
        let server = ServerProgram::start_at(&address, &database.url(), &[]).await;
        let product_id =
            server.clients.try_create_product(product(STOCK.try_into().unwrap())).await.unwrap().product_id;
        Self { database, server, product_id }
    }

    /// Returns the arguments of an example.
    fn arguments(&self) -> Vec<String> {
        [self.product_id.to_string(), WISHES.to_string(), self.server.address.clone()].to_vec()
    }

    /// Kills the server while the caller buys, and brings it back.
    async fn restart(&mut self, lines: impl Fn() -> Vec<String>) {
        wait::eventually(LIMIT, "the first orders", async || lines().len() >= ORDERS_BEFORE).await;
        self.server.process.kill();
        self.server.process.wait_exit(LIMIT).await;
        assert!(lines().len() < WISHES, "the server was killed too late: {:?}", lines());
        self.server = ServerProgram::start_at(&self.server.address, &self.database.url(), &[]).await;
    }

    /// Checks what the caller printed against what was bought.
    async fn close(self, lines: Vec<String>) {
        let (last, orders) = lines.split_last().unwrap();
        assert_eq!(last, &format!("only {} left", STOCK - WISHES), "{lines:?}");
        let numbers = self.database.query_rows("SELECT id FROM orders ORDER BY id").await;
        let bought: Vec<String> = numbers.iter().map(|row| format!("order {} of 1000 cents", row[0])).collect();
        assert_eq!(orders, bought);
        assert_eq!(bought.len(), WISHES);
        assert_eq!(self.database.query_i64("SELECT COUNT(*) FROM holds").await, i64::try_from(WISHES).unwrap());
        self.server.stop().await;
        self.database.assert_conserved().await;
        self.database.assert_audit_clean().await;
    }
}

/// Runs an example as its own process.
async fn survives_a_restart(name: &str, mut example: Command, further: &[String]) {
    let mut shop = Shop::open(name).await;
    example.args(shop.arguments()).args(further);
    let mut caller = Process::run(example);
    shop.restart(|| caller.stdout()).await;
    assert_eq!(caller.wait_exit(LIMIT).await, 0, "{}", caller.stderr());
    shop.close(caller.stdout()).await;
}

/// Returns an address where nobody listens.
fn dead_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_example_buys_while_the_server_is_restarted_and_an_address_is_dead() {
    let mut shop = Shop::open("the_rust_example").await;
    let addresses = [&shop.server.address, &dead_address()].map(|address| format!("http://{address}"));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (said, product_id) = (Arc::clone(&lines), shop.product_id);
    let caller = tokio::spawn(async move {
        let say = |line| said.lock().unwrap().push(line);
        purchase::buy(product_id, WISHES.try_into().unwrap(), &addresses, say).await.map_err(|error| error.to_string())
    });
    shop.restart(|| lines.lock().unwrap().clone()).await;
    caller.await.unwrap().unwrap();
    let lines = lines.lock().unwrap().clone();
    shop.close(lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_buys_while_the_server_is_restarted_and_an_address_is_dead() {
    let mut example = Command::new(python::interpreter());
    example.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python/purchase.py"));
    survives_a_restart("the_python_example", example, &[dead_address()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grpc_js_example_buys_while_the_server_is_restarted_and_an_address_is_dead() {
    let example = tokio::task::spawn_blocking(|| examples::typescript("grpc-js")).await.unwrap();
    survives_a_restart("the_grpc_js_example", example, &[dead_address()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connect_example_buys_while_the_server_is_restarted() {
    let example = tokio::task::spawn_blocking(|| examples::typescript("connect")).await.unwrap();
    survives_a_restart("the_connect_example", example, &[]).await;
}
