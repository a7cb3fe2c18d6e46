//! Covers the gateway while its server renews the connection again and again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    at_once::at_once,
    database::TestDatabase,
    programs::{GatewayProgram, ServerProgram},
    sale::product,
};

const CALLERS: usize = 32;
/// Is the age at which the server closes a connection, the smallest that it takes. It is a tenth shorter or longer.
const AGE: &str = "1s";
/// Lasts for at least five renewals.
const TIME: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_server_renews_the_connection() {
    let database = TestDatabase::create("no_request_fails").await;
    let server = ServerProgram::start(&database.url(), &[("FLASHSALE_MAX_CONNECTION_AGE", AGE)]).await;
    let product_id = server.clients.try_create_product(product(1_000_000)).await.unwrap().product_id;
    let gateway = GatewayProgram::start(&server.address, &[("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")]).await;
    let (http, begun) = (reqwest::Client::builder().no_proxy().build().unwrap(), Instant::now());
    let held: Vec<usize> = at_once(CALLERS, |_| {
        let (http, url) = (http.clone(), format!("http://{}/api/holds", gateway.address));
        async move {
            let mut held = 0;
            while begun.elapsed() < TIME {
                let wish = json!({"product_id": product_id, "qty": 1}).to_string();
                let request = http.post(&url).header("content-type", "application/json").body(wish);
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 201, "{:?} after {held} holds", answer.text().await);
                held += 1;
            }
            held
        }
    })
    .await;
    let held: usize = held.iter().sum();
    assert_eq!(database.query_i64("SELECT COUNT(*) FROM holds").await, i64::try_from(held).unwrap());
    let log = gateway.stop().await;
    assert!(!log.iter().any(|line| line["message"] == "Call to the server failed"), "{log:?}");
    server.stop().await;
    database.assert_conserved().await;
}
