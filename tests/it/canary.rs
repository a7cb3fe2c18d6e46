//! Plants secrets in everything that is secret or private, and looks for them in everything that the programs let out.
//!
//! The programs log at trace. What goes out is: logs, spans, pages of metrics, refusals, and what the list of processes
//! shows. Keys of events, ids and reasons may be logged; nothing else that a caller or an operator writes.

use std::{collections::BTreeSet, fmt::Write as _, fs, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD, engine::general_purpose::URL_SAFE_NO_PAD};
use flashsale::pb::{AdjustStockRequest, CreateHoldRequest, CreateOrderRequest};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::{Request, metadata::MetadataMap};

use crate::{
    gateway_stripe, gateway_webhook,
    support::{
        database::TestDatabase,
        process::Process,
        programs::{GatewayProgram, STOP_LIMIT, ServerProgram, migrate, sweep},
        proxy::Proxy,
        wait,
    },
    telemetry::collector::Collector,
};

const LIMIT: Duration = Duration::from_secs(60);

// Each has its own letters, so that a finding names what it is of.
const PASSWORD: &str = "cnryDatabasePasswordQ7";
const WRONG_PASSWORD: &str = "cnryWrongPasswordX4vt";
const WEBHOOK_KEY: &str = "cnryWebhookKeyOf24Byte++";
const STRIPE_SECRET: &str = "whsec_cnryStripeSecretZ9";
const COLLECTOR_TOKEN: &str = "cnryCollectorTokenB2kd";
const TOKEN: &str = "cnryBearerTokenK8mwGRPC";
const HTTP_TOKEN: &str = "cnryBearerTokenK8mwHTTP0123456789abcdef";
const BUYER: &str = "cnryBuyerAnnAtExampleC";
const REQUEST_ID: &str = "cnryRequestIdUnguessable";
const PAYMENT_ID: &str = "cnryPaymentIdPi3Nq7";
const CARD: &str = "cnryPayload4111Card";
const NAME: &str = "cnryProductNameSneaker";
const NOTE: &str = "cnryNoteRefundedAsRe17";
const REMARK: &str = "cnryRemarkSecondPallet";
const WRONG_TOKEN: &str = "cnryBearerTokenThatNobodyHas0123456789";
const QUERY: &str = "cnryQueryOfAStranger";

/// Lists all that must not be found, by what it is of.
const SECRETS: [&str; 16] = [
    PASSWORD,
    WRONG_PASSWORD,
    WEBHOOK_KEY,
    STRIPE_SECRET,
    COLLECTOR_TOKEN,
    TOKEN,
    HTTP_TOKEN,
    WRONG_TOKEN,
    BUYER,
    REQUEST_ID,
    PAYMENT_ID,
    CARD,
    NAME,
    NOTE,
    REMARK,
    QUERY,
];

/// Returns how a secret may be written: as it is, and encoded in the usual ways.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let percent = hex.as_bytes().chunks(2).map(|digits| format!("%{}", str::from_utf8(digits).unwrap()));
    let percent: String = percent.collect();
    let mut forms = vec![secret.to_owned(), hex.to_uppercase(), hex, list.join(", "), list.join(","), percent];
    // The letters of Base64 depend on how many bytes are before the secret; the first and last ones on what they are.
    for before in 0..3 {
        let shifted = [&[0; 2][..before], bytes].concat();
        for encoded in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            forms.push(encoded[(before * 8).div_ceil(6)..shifted.len() / 3 * 4].to_owned());
        }
    }
    forms
}

/// Collects what the programs let out.
#[derive(Default)]
struct Out(Vec<(String, String)>);

impl Out {
    fn add(&mut self, of: &str, text: impl Into<String>) {
        self.0.push((of.to_owned(), text.into()));
    }

    /// Adds what the list of processes shows of a process and its threads.
    fn add_process(&mut self, of: &str, process: &Process) {
        let folder = format!("/proc/{}", process.pid());
        let read = |path: String| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        self.add(&format!("command line of {of}"), read(format!("{folder}/cmdline")));
        for thread in fs::read_dir(format!("{folder}/task")).unwrap() {
            self.add(&format!("thread of {of}"), read(format!("{}/comm", thread.unwrap().path().display())));
        }
    }

    /// Ends a program, and adds all that it has written.
    async fn add_log(&mut self, of: &str, process: &mut Process) {
        process.terminate();
        assert_eq!(process.wait_exit(STOP_LIMIT).await, 0);
        self.add_lines(of, process);
    }

    fn add_lines(&mut self, of: &str, process: &Process) {
        self.add(&format!("log of {of}"), process.stdout().join("\n"));
        self.add(&format!("standard error of {of}"), process.stderr());
    }

    /// Lists what was found where, with the line that has it.
    fn findings(&self) -> BTreeSet<String> {
        let mut findings = BTreeSet::new();
        for secret in SECRETS {
            for form in forms(secret) {
                for (of, text) in &self.0 {
                    // The page of metrics is long, and a line says enough. Numbers in a line differ from run to run.
                    let lines = text.lines().filter(|line| line.contains(&form));
                    findings.extend(lines.take(2).map(|line| {
                        let (before, after) = line.split_once(&form).unwrap();
                        let before: Vec<char> = before.chars().collect();
                        let before: String = before[before.len().saturating_sub(300)..].iter().collect();
                        let after: String = after.chars().take(100).collect();
                        format!("{secret} in the {of}: {before}{form}{after}")
                    }));
                }
            }
        }
        findings
    }
}

/// Returns an answer's text, unless it is one of success: these have the caller's own words.
async fn refusal(request: RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    let (is_success, headers) = (answer.status().is_success(), format!("{:?}", answer.headers()));
    let body = answer.text().await.unwrap();
    if is_success { headers } else { headers + &body }
}

fn with_token<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    *request.metadata_mut() = metadata;
    request
}

/// Buys, pays, pays too much, is refused in all manners, and loses the database for a while.
async fn use_everything(server: &ServerProgram, gateway: &GatewayProgram, proxy: &Proxy, out: &mut Out) {
    let http = Client::builder().no_proxy().build().unwrap();
    let post = |path: &str, body: &Value| {
        let request = http.post(format!("http://{}{path}", gateway.address)).bearer_auth(HTTP_TOKEN);
        request.header("content-type", "application/json").body(body.to_string())
    };
    let mut clients = server.clients.clone();
    let product_id = clients.create_product(NAME, 1000, 50).await.product_id;
    let adjustment =
        AdjustStockRequest { product_id, delta: 5, reason: REMARK.to_owned(), request_id: REQUEST_ID.to_owned() };
    clients.adjust_by(adjustment).await.unwrap();
    let hold = json!({"product_id": product_id, "qty": 2, "buyer_id": BUYER, "card": CARD});
    let made = post("/api/holds", &hold).header("idempotency-key", REQUEST_ID).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let order = post("/api/orders", &json!({"hold_id": made["hold_id"]})).send().await.unwrap();
    let order_id = order.json::<Value>().await.unwrap()["order_id"].as_i64().unwrap();

    // The server's own callers: with a token, taken and refused.
    for qty in [1, 1000, 0] {
        let message = CreateHoldRequest {
            product_id,
            qty,
            buyer_id: Some(BUYER.to_owned()),
            request_id: Some(format!("{REQUEST_ID}{qty}")),
            ..CreateHoldRequest::default()
        };
        if let Err(status) = clients.sale.create_hold(with_token(message)).await {
            out.add("refusal by gRPC", format!("{status:?}"));
        }
    }
    let message = CreateOrderRequest {
        hold_id: 1_000_000,
        request_id: Some(REQUEST_ID.to_owned()),
        buyer_id: Some(BUYER.to_owned()),
    };
    out.add("refusal by gRPC", format!("{:?}", clients.sale.create_order(with_token(message)).await.unwrap_err()));

    // Events: believed and not, for an order that is there and for one that isn't, twice, in bad JSON.
    let event = |order_id: i64, cents: i64, key: &str| json!({"idempotency_key": key, "order_id": order_id, "status": "success", "amount_cents": cents, "payment_id": PAYMENT_ID, "card": CARD});
    let secret = format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(WEBHOOK_KEY));
    let mut signatures = Vec::new();
    for body in [
        event(order_id, 1999, "amount").to_string(),
        event(order_id, 2000, "paid").to_string(),
        event(order_id, 2000, "twice").to_string().replace(PAYMENT_ID, "another"),
        event(999_999, 2000, "early").to_string(),
        event(order_id, -1, "bad").to_string(),
        format!("{{\"{CARD}"),
        format!("{{\"idempotency_key\":\"{CARD}\",\"order_id\":7.5}}").replace(CARD, "k"),
    ] {
        let sent = gateway_webhook::now();
        let signature = gateway_webhook::signature(&secret, "msg_1", sent, &body);
        let signed = post("/api/payments/webhook", &Value::Null).body(body.clone()).header("webhook-id", "msg_1");
        let signed = signed.header("webhook-timestamp", sent.to_string()).header("webhook-signature", &signature);
        out.add("refusal of an event", refusal(signed).await);
        let unsigned = post("/api/payments/webhook", &Value::Null).body(body).header("webhook-id", CARD);
        out.add("refusal of an event", refusal(unsigned.header("webhook-signature", CARD)).await);
        signatures.push(signature);
    }
    let stripe = gateway_stripe::event("payment_intent.succeeded", "evt_1", PAYMENT_ID, &order_id.to_string(), 2000);
    let mut stripe = gateway_stripe::text(&stripe);
    for secret in [STRIPE_SECRET, "whsec_of_somebody_else"] {
        stripe.push(' ');
        let signature = gateway_stripe::signature(secret, gateway_webhook::now(), &stripe);
        let delivery = gateway_stripe::signed(post(gateway_stripe::PATH, &Value::Null), &signature, &stripe);
        out.add("refusal of an event", refusal(delivery).await);
    }

    // An operator: reads the events, and resolves what doesn't fit.
    let exceptions = clients.exceptions().await;
    assert_eq!(exceptions.len(), 2, "another amount, and a payment too many");
    for exception in exceptions {
        clients.resolve(exception.exception_id, NOTE).await.unwrap();
    }

    // Strangers, bad JSON, bad framing.
    let paths = [format!("/api/products/1?token={QUERY}"), format!("/nowhere?token={QUERY}"), "/api/holds".to_owned()];
    for path in paths {
        out.add(
            "refusal",
            refusal(http.get(format!("http://{}{path}", gateway.address)).bearer_auth(HTTP_TOKEN)).await,
        );
    }
    for body in [
        format!("{{\"buyer_id\":\"{BUYER}\""),
        format!("[\"{CARD}\"]"),
        json!({"product_id": CARD, "qty": CARD}).to_string(),
    ] {
        for path in ["/api/holds", "/api/orders"] {
            out.add(
                "refusal",
                refusal(post(path, &Value::Null).body(body.clone()).header("idempotency-key", REQUEST_ID)).await,
            );
        }
    }
    for path in ["/api/holds", "/api/orders"] {
        let stranger = http.post(format!("http://{}{path}", gateway.address)).bearer_auth(WRONG_TOKEN);
        let answer = stranger.json(&hold).send().await.unwrap();
        assert_eq!(answer.status(), 401);
        let headers = format!("{:?}", answer.headers());
        out.add("refusal of a stranger", headers + &answer.text().await.unwrap());
    }
    // A host isn't secret: spans have it.
    for (header, value) in [("host", "a/b"), ("content-encoding", CARD)] {
        out.add("refusal", refusal(post("/api/holds", &hold).header(header, value)).await);
    }

    // An outage: of all calls under way, nobody knows what they have done.
    proxy.cut();
    out.add("refusal in an outage", refusal(post("/api/holds", &hold).header("idempotency-key", REQUEST_ID)).await);
    let body = event(order_id, 2000, "outage").to_string();
    let sent = gateway_webhook::now();
    let signature = gateway_webhook::signature(&secret, "msg_1", sent, &body);
    let signed = post("/api/payments/webhook", &Value::Null).body(body).header("webhook-id", "msg_1");
    let signed = signed.header("webhook-timestamp", sent.to_string()).header("webhook-signature", &signature);
    out.add("refusal in an outage", refusal(signed).await);
    let status = clients.sale.create_hold(with_token(CreateHoldRequest { product_id, qty: 1, ..Default::default() }));
    out.add("refusal in an outage", format!("{:?}", status.await.err()));
    proxy.heal();
    let url = format!("http://{}/readyz", gateway.address);
    wait::eventually(LIMIT, "readyz", async || http.get(&url).send().await.unwrap().status() == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_nothing_private_gets_out_even_in_a_log_at_trace() {
    let (collector, url) = Collector::start("grpc").await;
    let database = TestDatabase::create("canary").await;
    database.execute(&format!("CREATE USER canary@'%' IDENTIFIED BY '{PASSWORD}'")).await;
    database.execute(&format!("GRANT ALL ON {}.* TO canary@'%'", database.name())).await;
    let proxy = Proxy::start(database.port()).await;
    let at = |password: &str| format!("mysql://canary:{password}@127.0.0.1:{}/{}", proxy.port(), database.name());
    let good = at(PASSWORD);
    let headers = format!("authorization=Bearer%20{COLLECTOR_TOKEN}");
    let trace =
        [("RUST_LOG", "trace"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("OTEL_EXPORTER_OTLP_HEADERS", &*headers)];
    let secret = format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(WEBHOOK_KEY));
    let secrets = [("FLASHSALE_WEBHOOK_SECRETS", &*secret), ("FLASHSALE_STRIPE_SECRETS", STRIPE_SECRET)];
    let mut out = Out::default();

    let (code, lines) = migrate(&good, &[]).await;
    assert_eq!(code, 0);
    out.add("log of server migrate", json!(lines).to_string());
    let mut server = ServerProgram::start(&good, &trace).await;
    let folder = tempfile::tempdir().unwrap();
    let principals = folder.path().join("principals");
    let digest = Sha256::digest(HTTP_TOKEN);
    let digest = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    fs::write(&principals, format!("shop token:sha256:{digest} checkout\n")).unwrap();
    let principals = [("FLASHSALE_PRINCIPALS_FILE", principals.to_str().unwrap())];
    let mut gateway = GatewayProgram::start(&server.address, &[&trace[..], &secrets, &principals].concat()).await;
    use_everything(&server, &gateway, &proxy, &mut out).await;
    for (command, arguments) in [("sweep", &[][..]), ("audit", &["audit"]), ("purge", &["purge", "--after=1day"])] {
        let (code, stdout, stderr) = run_sweeper(arguments, &[&trace[..], &[("DATABASE_URL", &good)]].concat()).await;
        assert_eq!(code, 0, "{command}: {stdout}");
        out.add(&format!("log of {command}"), stdout + &stderr);
    }

    // Settings that can't be used, and a password that the database doesn't take.
    let wrong = at(WRONG_PASSWORD);
    let (code, lines, stderr) = sweep(&wrong, &trace).await;
    assert_eq!(code, 1);
    out.add("log of a sweep with a wrong password", json!(lines).to_string() + &stderr);
    let locked_out = ServerProgram::start(&wrong, &trace).await;
    let mut locked_out = locked_out.process;
    wait::eventually(LIMIT, "Not serving", async || !locked_out.lines_of("Not serving").is_empty()).await;
    out.add_log("a server with a wrong password", &mut locked_out).await;

    out.add("page of metrics of the server", server.metrics().await);
    out.add("page of metrics of the gateway", gateway.metrics().await);
    out.add_process("the server", &server.process);
    out.add_process("the gateway", &gateway.process);
    out.add_log("the gateway", &mut gateway.process).await;
    out.add_log("the server", &mut server.process).await;
    out.add("exported spans", format!("{:?}", collector.spans()).replace("}, ", "},\n"));
    assert!(collector.spans().len() > 20, "the spans are there");
    // A line that was dropped could have had anything.
    let pages = out.0.iter().filter(|(of, _)| of.starts_with("page of metrics"));
    assert!(pages.into_iter().all(|(_, page)| page.contains("flashsale_log_lines_dropped_total 0")));
    assert_eq!(collector.authorization(), format!("Bearer {COLLECTOR_TOKEN}"), "the right place for a secret");

    let findings = out.findings();
    assert!(
        findings.is_empty(),
        "{} findings\n{}",
        findings.len(),
        findings.into_iter().collect::<Vec<_>>().join("\n")
    );
    database.execute("DROP USER canary@'%'").await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// Runs the sweeper to its end, and returns its exit code and all that it has written.
async fn run_sweeper(arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String, String) {
    let mut process = Process::spawn(crate::support::process::Program::Sweeper, arguments, settings);
    let code = process.wait_exit(LIMIT).await;
    (code, process.stdout().join("\n"), process.stderr())
}

/// The search itself has to see a secret, however it is written.
#[test]
fn a_secret_is_found_in_every_form() {
    let encoded = |before: &[u8], after: &[u8]| STANDARD_NO_PAD.encode([before, TOKEN.as_bytes(), after].concat());
    for text in [
        format!("authorization: Bearer {TOKEN}"),
        format!("{:?}", TOKEN.as_bytes()),
        serde_json::to_string(TOKEN.as_bytes()).unwrap(),
        encoded(b"", b""),
        encoded(b"u", b"x"),
        encoded(b"user:", b"xy"),
        encoded(b"abc", b"\xff\xff"),
        TOKEN.bytes().map(|byte| format!("{byte:02x}")).collect(),
        TOKEN.bytes().map(|byte| format!("{byte:02X}")).collect(),
        TOKEN.bytes().map(|byte| format!("%{byte:02x}")).collect(),
    ] {
        let mut out = Out::default();
        out.add("test", text.clone());
        assert!(!out.findings().is_empty(), "{text}");
    }
}
