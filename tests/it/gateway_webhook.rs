//! Checks webhook signatures at the gateway. The senders are the Python package `standardwebhooks`, and the npm packages
//! `standardwebhooks` and `svix`.
//!
//! The server is away: a webhook that is accepted ends with 503, or with 422 when its fields are wrong.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flashsale::gateway::{WebhookAuth, WebhookSecret};
use reqwest::Response;
use tracing::{Dispatch, subscriber::NoSubscriber};

use crate::{
    gateway::{Gateway, NOBODY, refusal},
    support::{node, python},
};

pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NEXT_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STRANGERS_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const PATH: &str = "/api/payments/webhook";
const BODY: &str = r#"{"idempotency_key":"webhook-key-123","order_id":456,"status":"success"}"#;

/// Signs the text on its standard input and prints the signature. The arguments are secret, id and time.
const SENDER: &str = "
import sys
from datetime import datetime, timezone
from standardwebhooks import Webhook
secret, message_id, sent = sys.argv[1:]
at = datetime.fromtimestamp(int(sent), tz=timezone.utc)
print(Webhook(secret).sign(message_id, at, sys.stdin.buffer.read().decode()))
";

/// Does the same as [`SENDER`] for Node. The first argument is the package.
const NODE_SENDER: &str = "
const [name, secret, id, sent] = process.argv.slice(1);
const { Webhook } = require(name);
const body = require('fs').readFileSync(0, 'utf8');
console.log(new Webhook(secret).sign(id, new Date(sent * 1000), body));
";

/// Names the headers of Standard Webhooks, and then those of Svix.
const NAMES: [[&str; 2]; 3] =
    [["webhook-id", "svix-id"], ["webhook-timestamp", "svix-timestamp"], ["webhook-signature", "svix-signature"]];

/// Returns what a sender prints, to whom the body is given on its standard input.
pub(crate) fn printed(mut sender: Command, body: &str) -> String {
    let sender = sender.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sender = sender.spawn().unwrap();
    sender.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = sender.wait_with_output().unwrap();
    assert!(output.status.success(), "could not sign:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns a signature that the Python package made.
pub(crate) fn signature(secret: &str, id: &str, sent: u64, body: &str) -> String {
    let mut sender = Command::new(python::interpreter());
    sender.args(["-c", SENDER, secret, id, &sent.to_string()]);
    printed(sender, body)
}

/// Returns a signature that a package of Node made.
fn node_signature(package: &str, secret: &str, id: &str, sent: u64, body: &str) -> String {
    let mut sender = node::script(NODE_SENDER);
    sender.args([package, secret, id, &sent.to_string()]);
    printed(sender, body)
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn gateway_with(secrets: &[&str]) -> Gateway {
    let secrets = secrets.iter().map(|text| WebhookSecret::parse(text).unwrap());
    let auth = WebhookAuth::Signed(secrets.collect());
    Gateway::start(NOBODY, Duration::from_secs(5), auth).await
}

async fn deliver(gateway: &Gateway, sent: &str, signatures: &str, body: &str) -> Response {
    let request = gateway.http.post(gateway.url(PATH));
    let request = request
        .header("content-type", "application/json")
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", sent)
        .header("webhook-signature", signatures)
        .body(body.to_owned());
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_webhook_signed_by_the_python_package_is_let_in() {
    let gateway = gateway_with(&[SECRET]).await;
    let sent = now();
    for body in [BODY, r#"{"idempotency_key":"ключ ✓","order_id":456,"status":"failure"}"#] {
        let signature = signature(SECRET, "msg_1", sent, body);
        let answer = deliver(&gateway, &sent.to_string(), &signature, body).await;
        refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
    }
    let signature = signature(SECRET, "msg_1", sent, "{}");
    let answer = deliver(&gateway, &sent.to_string(), &signature, "{}").await;
    refusal(answer, 422, "INVALID_ARGUMENT").await;
}

#[tokio::test]
async fn a_webhook_signed_by_the_packages_of_node_is_let_in() {
    let gateway = gateway_with(&[SECRET]).await;
    let sent = now();
    let body = r#"{"idempotency_key":"ключ ✓","order_id":456,"status":"attempt_failed"}"#;
    for (package, name) in [("standardwebhooks", 0), ("svix", 1)] {
        let signature = node_signature(package, SECRET, "msg_1", sent, body);
        let values = ["msg_1".to_owned(), sent.to_string(), signature];
        let send = async |body: &str| {
            let request = gateway.http.post(gateway.url(PATH)).header("content-type", "application/json");
            let named = NAMES.iter().map(|names| names[name]).zip(&values);
            let request = named.fold(request, |request, (name, value)| request.header(name, value));
            request.body(body.to_owned()).send().await.unwrap()
        };
        refusal(send(body).await, 503, "DATABASE_UNAVAILABLE").await;
        refusal(send(&body.replace("456", "457")).await, 401, "UNAUTHENTICATED").await;
    }
}

#[tokio::test]
async fn each_header_counts_by_either_name_and_two_that_differ_are_refused() {
    let gateway = gateway_with(&[SECRET]).await;
    let sent = now();
    let values = ["msg_1".to_owned(), sent.to_string(), signature(SECRET, "msg_1", sent, BODY)];
    let send = async |headers: &[(&str, &str)]| {
        let request = gateway.http.post(gateway.url(PATH)).header("content-type", "application/json").body(BODY);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    };
    for odd_one in 0..3 {
        let named = |index: usize| NAMES[index][usize::from(index == odd_one)];
        let mut headers: Vec<_> = (0..3).map(|index| (named(index), values[index].as_str())).collect();
        refusal(send(&headers).await, 503, "DATABASE_UNAVAILABLE").await;
        headers.push((NAMES[odd_one][0], &values[odd_one]));
        refusal(send(&headers).await, 503, "DATABASE_UNAVAILABLE").await;
        for (differs, other) in [(odd_one, ""), (odd_one, "0"), (3, ""), (3, "0")] {
            let mut headers = headers.clone();
            headers[differs].1 = other;
            refusal(send(&headers).await, 401, "UNAUTHENTICATED").await;
        }
    }
}

#[tokio::test]
async fn any_of_several_secrets_and_any_of_several_signatures_will_do() {
    let gateway = gateway_with(&[SECRET, NEXT_SECRET]).await;
    let sent = now();
    let old = signature(SECRET, "msg_1", sent, BODY);
    let new = signature(NEXT_SECRET, "msg_1", sent, BODY);
    let strange = signature(STRANGERS_SECRET, "msg_1", sent, BODY);
    for signatures in [&old, &new, &format!("{strange} {new}"), &format!("{old} {strange}")] {
        let answer = deliver(&gateway, &sent.to_string(), signatures, BODY).await;
        refusal(answer, 503, "DATABASE_UNAVAILABLE").await;
    }
    let answer = deliver(&gateway, &sent.to_string(), &strange, BODY).await;
    refusal(answer, 401, "UNAUTHENTICATED").await;
}

#[tokio::test]
async fn a_webhook_that_is_not_believed_is_refused_without_a_word_on_why() {
    let gateway = gateway_with(&[SECRET]).await;
    let sent = now();
    let good = signature(SECRET, "msg_1", sent, BODY);
    let old = signature(SECRET, "msg_1", sent - 400, BODY);
    let ahead = signature(SECRET, "msg_1", sent + 400, BODY);
    let other_body = BODY.replace("456", "457");
    let cases = [
        (sent.to_string(), "v1,AAAA".to_owned(), BODY),
        (sent.to_string(), good.clone(), other_body.as_str()),
        (sent.to_string(), good.clone(), "{"),
        ((sent - 1).to_string(), good.clone(), BODY),
        ((sent - 400).to_string(), old, BODY),
        ((sent + 400).to_string(), ahead, BODY),
        (i64::MIN.to_string(), good.clone(), BODY),
        (i64::MAX.to_string(), good.clone(), BODY),
        (u64::MAX.to_string(), good.clone(), BODY),
        ("soon".to_owned(), good, BODY),
    ];
    for (sent, signatures, body) in cases {
        let answer = deliver(&gateway, &sent, &signatures, body).await;
        let told = refusal(answer, 401, "UNAUTHENTICATED").await;
        let plain = serde_json::json!({"message": "Unauthenticated", "reason": "UNAUTHENTICATED"});
        assert_eq!(told, plain, "{sent} {signatures}");
    }
}

#[tokio::test]
async fn the_signature_comes_before_the_content_and_after_the_size() {
    let gateway = gateway_with(&[SECRET]).await;
    for (body, content_type) in [("{", "application/json"), ("{}", "text/plain"), (BODY, "x")] {
        let request = gateway.http.post(gateway.url(PATH)).body(body);
        let request = request.header("content-type", content_type);
        refusal(request.send().await.unwrap(), 401, "UNAUTHENTICATED").await;
    }
    let large = gateway.post(PATH, " ".repeat(64 * 1024 + 1)).await;
    refusal(large, 413, "TOO_LARGE").await;
    // The provider doesn't use the other routes.
    let order = gateway.post("/api/orders", r#"{"hold_id":123}"#).await;
    refusal(order, 503, "DATABASE_UNAVAILABLE").await;
}

/// Collects log lines of this thread, whose runtime serves the gateway.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects the lines from info on until the guard is dropped.
    pub(crate) fn listen(&self) -> tracing::subscriber::DefaultGuard {
        // With one dispatcher alone, a thread that has none switches a line off for all threads, if it reaches it first.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));
        LazyLock::force(&SECOND);
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_webhook_refused_or_failed_is_logged_with_what_could_be_read_of_it() {
    let log = Log::default();
    let _here = log.listen();

    let gateway = Gateway::without_server().await;
    gateway.get("/healthz").await;
    assert_eq!(log.take(), format!(" INFO Listening address={}\n", gateway.address));
    let cases = [
        ("{", " WARN Payment webhook refused reason=\"BAD_JSON\"\n"),
        (
            r#"{"idempotency_key":"k","order_id":456,"status":"paid","card":"4111"}"#,
            " WARN Payment webhook refused reason=\"INVALID_ARGUMENT\" idempotency_key=\"k\" order_id=456\n",
        ),
        (
            r#"{"idempotency_key":7,"order_id":456,"status":"success"}"#,
            " WARN Payment webhook refused reason=\"INVALID_ARGUMENT\" order_id=456\n",
        ),
    ];
    for (body, line) in cases {
        gateway.post(PATH, body).await;
        assert_eq!(log.take(), line, "{body}");
    }
    gateway.post(PATH, BODY).await;
    let line = log.take();
    assert!(line.starts_with("ERROR Payment webhook failed error="), "{line}");
    assert!(line.ends_with("idempotency_key=\"webhook-key-123\" order_id=456\n"), "{line}");

    let gateway = gateway_with(&[SECRET]).await;
    gateway.get("/healthz").await;
    log.take();
    gateway.post(PATH, BODY).await;
    let line = log.take();
    let start = " WARN Payment webhook refused reason=\"UNAUTHENTICATED\" cause=\"header\" peer=127.0.0.1:";
    assert!(line.starts_with(start) && line.ends_with(" left_out=0\n"), "{line}");
}
