//! Sends the gateway events as Stripe writes them, signed by the Python package `stripe`.
//!
//! The server is away: an event that is accepted ends with 503, unless it is ignored.

use std::{process::Command, time::Duration};

use flashsale::gateway::{EventSenders, StripeSecret, WebhookAuth};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, NOBODY, refusal},
    gateway_webhook::{Log, now, printed},
    support::{programs::GatewayProgram, python},
};

pub(crate) const SECRET: &str = "whsec_used_as_it_stands_and_not_decoded";
const NEXT_SECRET: &str = "whsec_the_next_one_while_it_is_replaced";
const STRANGERS_SECRET: &str = "whsec_of_somebody_elses_endpoint_at_Stripe";
pub(crate) const PATH: &str = "/api/payments/stripe";

/// Signs the text on its standard input and prints the header. The arguments are secret and time.
const SENDER: &str = "
import sys
import stripe
secret, sent = sys.argv[1:]
body = sys.stdin.buffer.read().decode()
print(stripe.WebhookSignature.generate_signature_header(body, secret, int(sent)))
";

/// Returns the header `Stripe-Signature` that the Python package made.
pub(crate) fn signature(secret: &str, sent: u64, body: &str) -> String {
    let mut sender = Command::new(python::interpreter());
    sender.args(["-c", SENDER, secret, &sent.to_string()]);
    printed(sender, body)
}

/// Returns an event as Stripe writes it: a payment of `cents` for the order whose id is in the metadata.
pub(crate) fn event(event_type: &str, id: &str, payment_id: &str, order_id: &str, cents: i64) -> Value {
    let mut event: Value = serde_json::from_str(include_str!("gateway_stripe/event.json")).unwrap();
    event["id"] = json!(id);
    event["type"] = json!(event_type);
    let payment = &mut event["data"]["object"];
    payment["id"] = json!(payment_id);
    payment["metadata"]["order_id"] = json!(order_id);
    payment["amount"] = json!(cents);
    payment["amount_received"] = json!(if event_type == "payment_intent.succeeded" { cents } else { 0 });
    event
}

/// Returns the text of an event, laid out as Stripe does.
pub(crate) fn text(event: &Value) -> String {
    serde_json::to_string_pretty(event).unwrap()
}

/// Completes the delivery of an event with its signature.
pub(crate) fn signed(request: RequestBuilder, signature: &str, body: &str) -> RequestBuilder {
    let request = request.header("content-type", "application/json; charset=utf-8");
    request.header("Stripe-Signature", signature).body(body.to_owned())
}

async fn gateway_with(secrets: &[&str], webhook: WebhookAuth) -> Gateway {
    let stripe = secrets.iter().map(|text| StripeSecret::parse(text).unwrap()).collect();
    let senders = EventSenders { webhook: Some(webhook), stripe };
    Gateway::start_with(NOBODY, Duration::from_secs(5), true, senders).await
}

async fn deliver(gateway: &Gateway, signature: &str, body: &str) -> Response {
    signed(gateway.http.post(gateway.url(PATH)), signature, body).send().await.unwrap()
}

/// Signs and delivers an event.
async fn send(gateway: &Gateway, event: &Value) -> Response {
    let body = text(event);
    deliver(gateway, &signature(SECRET, now(), &body), &body).await
}

fn succeeded() -> Value {
    event("payment_intent.succeeded", "evt_1", "pi_1", "456", 1000)
}

async fn unauthenticated(answer: Response, what: &str) {
    let told = refusal(answer, 401, "UNAUTHENTICATED").await;
    assert_eq!(told, json!({"message": "Unauthenticated", "reason": "UNAUTHENTICATED"}), "{what}");
}

#[tokio::test]
async fn an_event_signed_by_stripes_python_package_is_let_in() {
    let gateway = gateway_with(&[SECRET], WebhookAuth::Signed(Vec::new())).await;
    for event_type in ["payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled"] {
        let answer = send(&gateway, &event(event_type, "evt_ключ ✓", "pi_1", "456", 1000)).await;
        refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
    }
}

#[tokio::test]
async fn any_of_several_secrets_and_any_of_several_signatures_will_do() {
    let gateway = gateway_with(&[SECRET, NEXT_SECRET], WebhookAuth::Unsigned).await;
    let (sent, body) = (now(), text(&succeeded()));
    let [old, new, strange] = [SECRET, NEXT_SECRET, STRANGERS_SECRET].map(|secret| signature(secret, sent, &body));
    let v1 = |header: &str| header.split_once(",").unwrap().1.to_owned();
    for header in [&old, &new, &format!("{old},{}", v1(&strange)), &format!("{strange},{},v0=00", v1(&new))] {
        refusal(deliver(&gateway, header, &body).await, 503, "DATABASE_UNAVAILABLE").await;
    }
    unauthenticated(deliver(&gateway, &strange, &body).await, "a stranger's secret").await;
}

#[tokio::test]
async fn an_event_that_is_not_believed_is_refused_without_a_word_on_why() {
    let gateway = gateway_with(&[SECRET], WebhookAuth::Unsigned).await;
    let (sent, body) = (now(), text(&succeeded()));
    let good = signature(SECRET, sent, &body);
    let one_byte_off = body.replace("\"456\"", "\"457\"");
    let (time, v1) = good.split_once(",").unwrap();
    let cases = [
        ("another secret", signature(STRANGERS_SECRET, sent, &body), &body),
        ("a changed byte", good.clone(), &one_byte_off),
        ("too old", signature(SECRET, sent - 400, &body), &body),
        ("too new", signature(SECRET, sent + 400, &body), &body),
        ("another time", format!("t={},{v1}", sent - 1), &body),
        ("two times", format!("{good},{time}"), &body),
        ("no time", v1.to_owned(), &body),
        ("no signature", time.to_owned(), &body),
        ("an old scheme", good.replace("v1=", "v0="), &body),
        ("an empty header", String::new(), &body),
    ];
    for (what, header, body) in cases {
        unauthenticated(deliver(&gateway, &header, body).await, what).await;
    }
    let post = || gateway.http.post(gateway.url(PATH)).header("content-type", "application/json").body(body.clone());
    unauthenticated(post().send().await.unwrap(), "no header").await;
    let twice = post().header("Stripe-Signature", &good).header("Stripe-Signature", &good);
    unauthenticated(twice.send().await.unwrap(), "two headers").await;
    let no_text = post().header("Stripe-Signature", b"t=1,v1=\xff\xfe".as_slice());
    unauthenticated(no_text.send().await.unwrap(), "a header that is not UTF-8").await;
    let standard = post().header("webhook-id", "msg_1").header("webhook-timestamp", sent.to_string());
    let standard = standard.header("webhook-signature", format!("v1,{v1}"));
    unauthenticated(standard.send().await.unwrap(), "another sender's headers").await;
}

#[tokio::test]
async fn the_signature_comes_before_the_content_and_after_the_size() {
    let gateway = gateway_with(&[SECRET], WebhookAuth::Unsigned).await;
    for (body, content_type) in [("{", "application/json"), ("{}", "text/plain")] {
        let request = gateway.http.post(gateway.url(PATH)).body(body).header("content-type", content_type);
        unauthenticated(request.send().await.unwrap(), body).await;
    }
    refusal(gateway.post(PATH, " ".repeat(64 * 1024 + 1)).await, 413, "TOO_LARGE").await;
    for (body, status, reason) in [
        ("{", 400, "BAD_JSON"),
        ("", 400, "BAD_JSON"),
        ("[]", 422, "INVALID_ARGUMENT"),
        ("{}", 422, "INVALID_ARGUMENT"),
    ] {
        refusal(deliver(&gateway, &signature(SECRET, now(), body), body).await, status, reason).await;
    }
    let request = gateway.http.post(gateway.url(PATH)).body("{}");
    let undeclared = request.header("Stripe-Signature", signature(SECRET, now(), "{}"));
    refusal(undeclared.send().await.unwrap(), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    let answer = gateway.get(PATH).await;
    assert_eq!(answer.headers()["allow"], "POST");
    refusal(answer, 405, "METHOD_NOT_ALLOWED").await;
}

#[tokio::test]
async fn without_a_secret_of_stripes_the_route_does_not_exist_and_unsigned_webhooks_do_not_open_it() {
    let body = text(&succeeded());
    let header = signature(SECRET, now(), &body);
    let without = gateway_with(&[], WebhookAuth::Unsigned).await;
    refusal(deliver(&without, &header, &body).await, 404, "ROUTE_NOT_FOUND").await;
    refusal(without.post(PATH, "{}").await, 404, "ROUTE_NOT_FOUND").await;
    refusal(without.get(PATH).await, 404, "ROUTE_NOT_FOUND").await;

    let unsigned = gateway_with(&[SECRET], WebhookAuth::Unsigned).await;
    unauthenticated(unsigned.post(PATH, body.clone()).await, "no signature").await;
    // The webhook knows nothing of Stripe's secrets.
    let webhook = signed(unsigned.http.post(unsigned.url("/api/payments/webhook")), &header, &body);
    refusal(webhook.send().await.unwrap(), 422, "INVALID_ARGUMENT").await;
}

#[tokio::test]
async fn an_event_that_is_about_no_order_is_acknowledged_and_counted() {
    let settings = [("FLASHSALE_STRIPE_SECRETS", SECRET), ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")];
    let gateway = GatewayProgram::start("127.0.0.1:1", &settings).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ignored = async |event: &Value, why: &str| {
        let body = text(event);
        let request = http.post(format!("http://{}{PATH}", gateway.address));
        let answer = signed(request, &signature(SECRET, now(), &body), &body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{event}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["ignored"], true, "{body}");
        assert!(body["message"].as_str().unwrap().contains(why), "{body}");
    };
    for event_type in ["charge.succeeded", "checkout.session.completed", "payment_intent.created", "secret.type"] {
        ignored(&event(event_type, "evt_1", "pi_1", "456", 1000), "type").await;
    }
    let mut of_another_shop = succeeded();
    of_another_shop["data"]["object"]["metadata"] = json!({});
    ignored(&of_another_shop, "order_id").await;
    let rendered = gateway.metrics().await;
    for (event_type, count) in [("_OTHER", 4), ("payment_intent.succeeded", 1), ("payment_intent.canceled", 0)] {
        let line = format!("flashsale_stripe_events_ignored_total{{type=\"{event_type}\"}} {count}\n");
        assert!(rendered.contains(&line), "{line}{rendered}");
    }
    let answered = "http_server_request_duration_seconds_count{http_request_method=\"POST\",\
        http_response_status_code=\"200\",http_route=\"/api/payments/stripe\"} 5\n";
    assert!(rendered.contains(answered), "{rendered}");
    assert!(!rendered.contains("secret"), "{rendered}");
    gateway.stop().await;
}

#[tokio::test]
async fn an_event_at_fault_names_its_fields_and_is_logged_without_the_rest_of_it() {
    let log = Log::default();
    let _here = log.listen();
    let gateway = gateway_with(&[SECRET], WebhookAuth::Unsigned).await;
    gateway.get("/healthz").await;
    log.take();

    let mut no_id = succeeded();
    no_id["data"]["object"]["metadata"]["order_id"] = json!("shoe");
    let body = refusal(send(&gateway, &no_id).await, 422, "INVALID_ARGUMENT").await;
    let expected = json!({"data.object.metadata.order_id": ["must be a string of digits, from 1 to 2^63 - 1"]});
    assert_eq!(body["errors"], expected);
    let line = " WARN Payment webhook refused reason=\"INVALID_ARGUMENT\" idempotency_key=\"evt_1\"\n";
    assert_eq!(log.take(), line);

    let mut no_amount = succeeded();
    no_amount["data"]["object"]["amount_received"] = json!(null);
    let body = refusal(send(&gateway, &no_amount).await, 422, "INVALID_ARGUMENT").await;
    assert_eq!(body["errors"], json!({"data.object.amount_received": ["is required"]}));
    let line = " WARN Payment webhook refused reason=\"INVALID_ARGUMENT\" idempotency_key=\"evt_1\" order_id=456\n";
    assert_eq!(log.take(), line);

    unauthenticated(gateway.post(PATH, text(&succeeded())).await, "no signature").await;
    let line = log.take();
    let start = " WARN Payment webhook refused reason=\"UNAUTHENTICATED\" cause=\"header\" peer=127.0.0.1:";
    assert!(line.starts_with(start), "{line}");
    send(&gateway, &event("charge.succeeded", "evt_1", "pi_1", "456", 1000)).await;
    assert_eq!(log.take(), "");
    send(&gateway, &succeeded()).await;
    let line = log.take();
    assert!(line.starts_with("ERROR Payment webhook failed error="), "{line}");
    assert!(line.ends_with("idempotency_key=\"evt_1\" order_id=456\n"), "{line}");
}
