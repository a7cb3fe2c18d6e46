//! Sends events that nobody believes: each cause is counted and logged, whoever claims to have sent it, and a flood of them
//! fills no disk.

use futures_util::future::join_all;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use crate::{
    gateway::LIMIT,
    gateway_stripe, gateway_webhook,
    support::{
        programs::{GatewayProgram, lines_of},
        wait,
    },
};

const SETTINGS: [(&str, &str); 2] =
    [("FLASHSALE_WEBHOOK_SECRETS", gateway_webhook::SECRET), ("FLASHSALE_STRIPE_SECRETS", gateway_stripe::SECRET)];
const CAUSES: [&str; 5] = ["header", "timestamp", "too_old", "too_new", "mismatch"];
const BODY: &str = r#"{"idempotency_key":"sent-by-nobody","order_id":456,"status":"success"}"#;

/// Begins the delivery of an event, without what says who sends it.
fn delivery(http: &Client, gateway: &GatewayProgram, path: &str) -> RequestBuilder {
    let request = http.post(format!("http://{}{path}", gateway.address)).header("content-type", "application/json");
    request.body(BODY)
}

/// Returns how often each cause was counted.
async fn counted(gateway: &GatewayProgram) -> Vec<u64> {
    let page = gateway.metrics().await;
    let count = |cause: &str| {
        let start = format!("flashsale_webhook_signature_failures_total{{cause=\"{cause}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{cause}: {page}"));
        line.parse().unwrap()
    };
    CAUSES.iter().map(|cause| count(cause)).collect()
}

fn refused(gateway: &GatewayProgram) -> Vec<Value> {
    gateway.process.lines_of("Payment webhook refused")
}

#[tokio::test]
async fn each_cause_is_counted_from_0_and_logged_with_the_peer_for_both_kinds_of_signatures() {
    let gateway = GatewayProgram::start("127.0.0.1:1", &SETTINGS).await;
    let http = Client::builder().no_proxy().build().unwrap();
    assert_eq!(counted(&gateway).await, [0; 5]);
    let now = gateway_webhook::now();
    let times = ["soon".to_owned(), (now - 301).to_string(), (now + 900).to_string(), now.to_string()];
    for (round, path) in [gateway_stripe::PATH, "/api/payments/webhook"].into_iter().enumerate() {
        let stripe = |time: &str| format!("t={time},v1={}", "0".repeat(64));
        let send = async |time: Option<&str>| {
            let request = delivery(&http, &gateway, path);
            let request = match time {
                None => request,
                Some(time) if round == 0 => request.header("stripe-signature", stripe(time)),
                Some(time) => request
                    .header("webhook-id", "msg_1")
                    .header("webhook-timestamp", time)
                    .header("webhook-signature", "v1,AAAA"),
            };
            assert_eq!(request.send().await.unwrap().status(), 401);
        };
        send(None).await;
        for time in &times {
            send(Some(time)).await;
        }
        assert_eq!(counted(&gateway).await, [round as u64 + 1; 5], "{path}");
    }
    let lines = gateway.stop().await;
    let lines = lines_of(&lines, "Payment webhook refused");
    let causes: Vec<&str> = lines.iter().map(|line| line["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, [CAUSES, CAUSES].concat());
    for line in lines {
        assert_eq!((&line["level"], &line["reason"]), (&"WARN".into(), &"UNAUTHENTICATED".into()));
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert!(!line.to_string().contains("sent-by-nobody") && line.get("order_id").is_none(), "{line}");
    }
}

/// Each second has ten lines at most. What was left out stands in the next line.
#[tokio::test]
async fn a_flood_of_events_that_nobody_believes_has_few_lines_and_each_is_counted() {
    const FLOOD: u64 = 300;
    let gateway = GatewayProgram::start("127.0.0.1:1", &SETTINGS).await;
    let http = Client::builder().no_proxy().build().unwrap();
    let send = async || delivery(&http, &gateway, gateway_stripe::PATH).send().await.unwrap().status();
    let begun = std::time::Instant::now();
    let answers = join_all((0..FLOOD).map(|_| send())).await;
    assert!(answers.iter().all(|status| *status == 401));
    let seconds = begun.elapsed().as_secs() + 2;
    let written = refused(&gateway).len() as u64;
    assert!(written >= 10 && written <= 10 * seconds, "{written} lines in {seconds} s");

    let left_out = |line: &Value| line["left_out"].as_u64().unwrap_or(0);
    let mut sent = FLOOD;
    wait::eventually(LIMIT, "a line that says what was left out", async || {
        send().await;
        sent += 1;
        refused(&gateway).iter().any(|line| left_out(line) > 0)
    })
    .await;
    assert_eq!(counted(&gateway).await, [sent, 0, 0, 0, 0]);
    let lines = gateway.stop().await;
    let lines = lines_of(&lines, "Payment webhook refused");
    let told = lines.len() as u64 + lines.iter().map(|line| left_out(line)).sum::<u64>();
    assert!((FLOOD..=sent).contains(&told), "{told} of {sent}: only those after the last line may be missing");
}
