//! Replaces the gateway's files while it is called.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use super::{UNSIGNED, folder, pair, terminator::Terminator};
use crate::support::{
    at_once::at_once,
    authority::{Authority, written},
    programs::GatewayProgram,
    server::Sale,
    signal, wait,
};

const CALLERS: usize = 16;
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_gateways_certificate_and_its_authority_change() {
    let (folder, [old, new]) = (folder(), ["old", "new"].map(Authority::new));
    let sale = Sale::start("gateway_renewed").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 1_000_000).await.product_id;
    let server = Terminator::start(&sale.server.address(), &old.issue(&["127.0.0.1"]), &[&old, &new]).await;
    let (url, first, second) =
        (format!("https://127.0.0.1:{}", server.port), old.issue(&["gateway"]), new.issue(&["gateway"]));
    let ca = written(folder.path(), "ca.pem", &old.pem);
    let [certificate, key] = pair(folder.path(), "gateway", &first);
    let settings = [
        UNSIGNED,
        ("FLASHSALE_SERVER_URL", &*url),
        ("FLASHSALE_SERVER_CA", &ca),
        ("FLASHSALE_SERVER_CERT", &certificate),
        ("FLASHSALE_SERVER_KEY", &key),
    ];
    let gateway = GatewayProgram::start("replaced", &settings).await;
    let (http, done) = (reqwest::Client::builder().no_proxy().build().unwrap(), Arc::new(AtomicBool::new(false)));

    let calls = at_once(CALLERS, |_| {
        let (http, url, done) = (http.clone(), format!("http://{}/api/holds", gateway.address), Arc::clone(&done));
        async move {
            let mut held = 0_i64;
            while !done.load(Ordering::Relaxed) {
                let wish = json!({"product_id": product_id, "qty": 1}).to_string();
                let request = http.post(&url).header("content-type", "application/json").body(wish);
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 201, "{:?} after {held} holds", answer.text().await);
                held += 1;
            }
            held
        }
    });
    let change = async {
        wait::eventually(LIMIT, "the first certificate", async || server.has_seen(&first.certificate)).await;
        // A certificate with another one's key changes nothing.
        fs::write(&certificate, &second.certificate).unwrap();
        signal::send(gateway.process.pid(), "HUP");
        let refused = "Credentials can't be read anew, and the old ones stay";
        let refused = gateway.process.wait_for_line(refused, LIMIT).await;
        assert!(refused["error"].as_str().unwrap().contains("FLASHSALE_SERVER_KEY"), "{refused}");
        assert!(!server.has_seen(&second.certificate));

        fs::write(&key, &second.key).unwrap();
        fs::write(&ca, format!("{}{}", new.pem, old.pem)).unwrap();
        signal::send(gateway.process.pid(), "HUP");
        wait::eventually(LIMIT, "the second certificate", async || server.has_seen(&second.certificate)).await;
        done.store(true, Ordering::Relaxed);
    };
    let (held, ()) = tokio::join!(calls, change);
    let held: i64 = held.iter().sum();
    assert_eq!(sale.database.query_i64("SELECT COUNT(*) FROM holds").await, held);
    let log = gateway.stop().await;
    assert!(!log.iter().any(|line| line["message"] == "Call to the server failed"), "{log:?}");
    sale.finish().await;
}
