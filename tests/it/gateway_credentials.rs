//! Covers how the gateway knows its server, how it is known there, and what its callers hear where it isn't.

mod renewed;
mod terminator;
mod token;

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    authority::{Authority, Issued, written},
    programs::GatewayProgram,
    server::Sale,
};
use terminator::Terminator;

const UNSIGNED: (&str, &str) = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");

/// Makes a folder for certificates.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Writes a certificate and its key, and returns both paths.
fn pair(folder: &Path, name: &str, issued: &Issued) -> [String; 2] {
    [written(folder, &format!("{name}.pem"), &issued.certificate), written(folder, &format!("{name}.key"), &issued.key)]
}

/// Asks the gateway, and returns the status and the body.
async fn get(gateway: &GatewayProgram, path: &str) -> (u16, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("http://{}{path}", gateway.address)).send().await.unwrap();
    let retries_later = answer.headers().contains_key("retry-after");
    let status = answer.status().as_u16();
    assert_eq!(retries_later, status == 503, "{path}: {status}");
    (status, answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_and_the_server_know_each_other_by_certificates() {
    let (folder, [ours, other]) = (folder(), ["ours", "another"].map(Authority::new));
    let sale = Sale::start("gateway_certificates").await;
    let product = sale.clients().create_product("Shoe", 1000, 10).await;
    let server = Terminator::start(&sale.server.address(), &ours.issue(&["localhost"]), &[&ours]).await;
    let path = format!("/api/products/{}", product.product_id);
    let [ca, other_ca] = [("ours.pem", &ours), ("other.pem", &other)]
        .map(|(name, authority)| written(folder.path(), name, &authority.pem));
    let [certificate, key] = pair(folder.path(), "gateway", &ours.issue(&["gateway"]));
    let [strange_certificate, strange_key] = pair(folder.path(), "stranger", &other.issue(&["gateway"]));

    for (host, ca, identity, status) in [
        ("localhost", &ca, Some((&certificate, &key)), 200),
        ("localhost", &other_ca, Some((&certificate, &key)), 503),
        ("127.0.0.1", &ca, Some((&certificate, &key)), 503),
        ("localhost", &ca, None, 503),
        ("localhost", &ca, Some((&strange_certificate, &strange_key)), 503),
    ] {
        let url = format!("https://{host}:{}", server.port);
        let mut settings = vec![UNSIGNED, ("FLASHSALE_SERVER_URL", &url), ("FLASHSALE_SERVER_CA", ca)];
        if let Some((certificate, key)) = identity {
            settings.extend([("FLASHSALE_SERVER_CERT", certificate.as_str()), ("FLASHSALE_SERVER_KEY", key)]);
        }
        let gateway = GatewayProgram::start("replaced", &settings).await;
        assert_eq!(get(&gateway, &path).await.0, status, "{host} {ca} {identity:?}");
        assert_eq!(get(&gateway, "/readyz").await.0, status, "{host} {ca} {identity:?}");
        gateway.stop().await;
    }
    sale.finish().await;
}
