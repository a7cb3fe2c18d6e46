//! Covers what the gateway shows to strangers: which routes there are, and whom its requests are for and where they end.

use std::time::Duration;

use flashsale::gateway::{EventSenders, StripeSecret, WebhookAuth};
use reqwest::{Method, header::CONTENT_ENCODING};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;

use crate::{
    gateway::{Gateway, LIMIT, NOBODY, refusal},
    gateway_webhook::{SECRET, now, signature},
    support::{programs::GatewayProgram, signal, wait},
};

const SHOP: [(&str, &str); 3] = [("GET", "/api/products/1"), ("POST", "/api/holds"), ("POST", "/api/orders")];
const WEBHOOK: (&str, &str) = ("POST", "/api/payments/webhook");
const STRIPE: (&str, &str) = ("POST", "/api/payments/stripe");

async fn gateway_that_serves(shop: bool, webhook: bool, stripe: bool) -> Gateway {
    let stripe = if stripe { vec![StripeSecret::parse("whsec_used_as_it_stands").unwrap()] } else { Vec::new() };
    let senders = EventSenders { webhook: webhook.then_some(WebhookAuth::Unsigned), stripe };
    Gateway::start_with(NOBODY, Duration::from_secs(5), shop, senders).await
}

#[tokio::test]
async fn routes_that_are_not_served_are_like_any_unknown_path_whatever_the_method() {
    for (shop, webhook, stripe) in [
        (true, false, false),
        (false, true, false),
        (false, false, true),
        (false, true, true),
        (true, true, false),
        (false, false, false),
    ] {
        let gateway = gateway_that_serves(shop, webhook, stripe).await;
        let routes = SHOP.map(|route| (route, shop)).into_iter().chain([(WEBHOOK, webhook), (STRIPE, stripe)]);
        for ((usual, path), is_served) in routes {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
                let known = Method::from_bytes(method.as_bytes()).unwrap();
                let request = gateway.http.request(known, gateway.url(path)).header("content-type", "application/json");
                let answer = request.body("{}").send().await.unwrap();
                let what = format!("{method} {path} of {shop} {webhook} {stripe}");
                assert_eq!(answer.headers().contains_key("allow"), is_served && answer.status() == 405, "{what}");
                if is_served && method == usual {
                    assert_ne!(answer.status(), 404, "{what}");
                } else if is_served {
                    assert!(answer.status() == 405 || (method == "HEAD" && usual == "GET"), "{what}");
                } else if method == "HEAD" {
                    assert_eq!(answer.status(), 404, "{what}");
                } else {
                    refusal(answer, 404, "ROUTE_NOT_FOUND").await;
                }
            }
        }
        assert_eq!(gateway.get("/healthz").await.status(), 200);
        assert_eq!(gateway.get("/readyz").await.status(), 503);
    }
}

#[tokio::test]
async fn a_body_that_is_encoded_is_415_and_identity_is_none() {
    let gateway = Gateway::without_server().await;
    for path in ["/api/holds", "/api/orders", "/api/payments/webhook"] {
        for (encodings, is_plain) in [
            (&["gzip"][..], false),
            (&["br"], false),
            (&["identity, gzip"], false),
            (&["identity", "deflate"], false),
            (&["x"], false),
            (&[""], false),
            (&["identity"], true),
            (&["Identity"], true),
            (&["identity", "identity"], true),
        ] {
            let request = gateway.http.post(gateway.url(path)).header("content-type", "application/json").body("[]");
            let request =
                encodings.iter().fold(request, |request, encoding| request.header(CONTENT_ENCODING, *encoding));
            let answer = request.send().await.unwrap();
            let (status, reason) = if is_plain { (422, "INVALID_ARGUMENT") } else { (415, "UNSUPPORTED_MEDIA_TYPE") };
            refusal(answer, status, reason).await;
        }
    }
}

/// Counts the answers in what came back on a connection.
fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

/// Hides a second request behind the first. `raw` returns only once the gateway has closed the connection.
#[tokio::test]
async fn a_request_that_may_be_read_in_two_ways_is_refused_and_its_connection_closed() {
    const SECOND: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let gateway = Gateway::without_server().await;
    let post = "POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let refused_here = [
        "GET /healthz HTTP/1.1\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: x, y\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: x/healthz\r\n\r\n".to_owned(),
        "GET http://y/healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: user@x\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        "GET /nowhere HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_owned(),
        "POST /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n".to_owned(),
        format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: identity, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: ,chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
    ];
    for request in refused_here {
        let answer = gateway.raw(format!("{request}{SECOND}").as_bytes()).await;
        assert_eq!(answer.get(9..12), Some("400"), "{request}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{request}: {answer}");
        assert!(answer.contains(r#""reason":"BAD_REQUEST""#), "{request}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{request}: {answer}");
    }
    let refused_by_hyper = [
        format!("{post}Transfer-Encoding: gzip\r\n\r\n{{}}"),
        format!("{post}Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: xchunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: \"chunked\"\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding:\r\n\r\n{{}}"),
        format!("{post}Transfer-Encoding : chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding:\x0bchunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}X: y\r\n Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"),
        format!("{post}Content-Length: 2, 2\r\n\r\n{{}}"),
        format!("{post}Content-Length: +2\r\n\r\n{{}}"),
        format!("{post}Content-Length: 0x2\r\n\r\n{{}}"),
        format!("{post}Content-Length: -1\r\n\r\n{{}}"),
        format!("{post}Content-Length: 2 2\r\n\r\n{{}}"),
        format!("{post}Content-Length: 18446744073709551618\r\n\r\n{{}}"),
        format!("{post}Content-Length:\r\n\r\n{{}}"),
        post.replace("HTTP/1.1", "HTTP/1.0") + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ];
    for request in refused_by_hyper {
        let answer = gateway.raw(format!("{request}{SECOND}").as_bytes()).await;
        assert_eq!(answer.get(9..12), Some("400"), "{request}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{request}: {answer}");
    }
    // The chunks are broken: the answer is this project's own, and nothing is read after them.
    for chunks in
        ["2;\r\n{}\r\n0\r\n", "2\r\n{}x\r\n0\r\n\r\n", "zz\r\n{}\r\n", "-2\r\n{}\r\n", "2 2\r\n{}\r\n", "2\n{}\n0\n\n"]
    {
        let answer = gateway.raw(format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunks}{SECOND}").as_bytes()).await;
        assert!(matches!(answer.get(9..12), Some("400" | "422")), "{chunks:?}: {answer}");
        assert!(!answer.contains("\"ok\""), "{chunks:?}: {answer}");
    }
}

/// A length beside chunks is what smuggling is made of. The library goes by the chunks, and by nothing after them.
#[tokio::test]
async fn nothing_is_read_behind_a_request_with_chunks_and_a_length() {
    let gateway = Gateway::without_server().await;
    let second = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 60\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\nContent-Length: 7",
    ] {
        let head =
            format!("POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{lengths}\r\n\r\n");
        let answer = gateway.raw(format!("{head}2\r\n{{}}\r\n0\r\n\r\n{second}").as_bytes()).await;
        assert_eq!(answer.get(9..12), Some("422"), "{lengths}: {answer}");
        assert_eq!(answers(&answer), 1, "{lengths}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{lengths}: {answer}");
    }
    // One length, said twice, is one length. The connection goes on, and so does the next request.
    let twice = "POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                 Content-Length: 2\r\n\r\n{}";
    let last = second.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let answer = gateway.raw(format!("{twice}{last}").as_bytes()).await;
    assert_eq!((answer.get(9..12), answers(&answer)), (Some("422"), 2), "{answer}");
}

#[tokio::test]
async fn over_http2_a_request_is_for_one_host_and_has_no_transfer_encoding() {
    let gateway = Gateway::without_server().await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let send = async |headers: &[(&str, &str)]| {
        let request = http::Request::builder().method("POST").uri("http://x/api/orders").version(http::Version::HTTP_2);
        let request = request.header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut client = client.clone().ready().await.unwrap();
        let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        let _reset = body.send_data("{}".into(), true);
        answer.await.map(|answer| answer.status().as_u16())
    };
    for (headers, status) in [
        (&[][..], 422),
        (&[("host", "x")], 422),
        (&[("host", "X")], 422),
        (&[("host", "y")], 400),
        (&[("host", "x:80")], 400),
        (&[("host", "x"), ("host", "x")], 400),
        (&[("host", "x"), ("host", "y")], 400),
        (&[("host", "")], 400),
        (&[("content-encoding", "gzip")], 415),
        (&[("content-length", "2")], 422),
    ] {
        assert_eq!(send(headers).await.unwrap(), status, "{headers:?}");
    }
    for headers in [
        &[("content-length", "3")][..],
        &[("content-length", "1")],
        &[("content-length", "2"), ("content-length", "3")],
        &[("content-length", "x")],
    ] {
        let answer = send(headers).await;
        assert!(!matches!(answer, Ok(200..400 | 422 | 500..)), "{headers:?}: {answer:?}");
    }
    assert_eq!(send(&[]).await.unwrap(), 422, "and the connection goes on");

    // The client refuses to send these, so they are written frame by frame.
    for (name, value) in [("transfer-encoding", "chunked"), ("transfer-encoding", "gzip"), ("connection", "close")] {
        assert_eq!(frame_after(&gateway, &[(name, value)]).await, RST_STREAM, "{name}: {value}");
    }
    for twice in [":authority", ":path", ":method"] {
        assert_eq!(frame_after(&gateway, &[(twice, "x")]).await, RST_STREAM, "{twice}");
    }
    assert_eq!(frame_after(&gateway, &[("host", "x")]).await, HEADERS);
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

/// Sends a GET by HTTP/2 with further headers, and returns the type of the first frame of its answer.
async fn frame_after(gateway: &Gateway, headers: &[(&str, &str)]) -> u8 {
    let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/healthz"), (":authority", "x")];
    let (pseudo, others): (Vec<_>, Vec<_>) =
        usual.iter().chain(headers).partition::<Vec<(&str, &str)>, _>(|(name, _)| name.starts_with(':'));
    let mut block = Vec::new();
    for (name, value) in pseudo.into_iter().chain(others) {
        // A literal that is not indexed, with a new name: RFC 7541, section 6.2.2.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let settings = frame(4, 0, 0, &[]);
    let sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &*settings, &frame(HEADERS, 5, 1, &block)];
    stream.write_all(&sent.concat()).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        if head[8] == 1 {
            return head[3];
        }
    }
}

/// Signs with the only secret, which is replaced while the gateway runs. A bad list changes nothing.
#[tokio::test]
async fn webhook_secrets_are_replaced_while_the_gateway_runs() {
    const NEXT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secrets");
    std::fs::write(&file, SECRET).unwrap();
    let file_setting = ("FLASHSALE_WEBHOOK_SECRETS_FILE", file.to_str().unwrap());
    let gateway = GatewayProgram::start("127.0.0.1:1", &[file_setting]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (sent, body) = (now(), r#"{"idempotency_key":"k","order_id":1,"status":"success"}"#);
    let signatures = [SECRET, NEXT].map(|secret| signature(secret, "msg_1", sent, body));
    let believed = async || {
        let mut believed = Vec::new();
        for signature in &signatures {
            let request = http.post(format!("http://{}{}", gateway.address, WEBHOOK.1));
            let request = request.header("content-type", "application/json").header("webhook-id", "msg_1");
            let request = request.header("webhook-timestamp", sent.to_string()).header("webhook-signature", signature);
            let status = request.body(body).send().await.unwrap().status().as_u16();
            assert!(matches!(status, 401 | 503), "{status}");
            believed.push(status == 503);
        }
        believed
    };
    assert_eq!(believed().await, [true, false]);
    let replace = async |secrets: &str, line: &str, times: usize| {
        std::fs::write(&file, secrets).unwrap();
        signal::send(gateway.process.pid(), "HUP");
        let said = async || gateway.process.lines_of(line).len() == times;
        wait::eventually(LIMIT, line, said).await;
    };
    replace(&format!("{SECRET},{NEXT}"), "Credentials read anew", 1).await;
    assert_eq!(believed().await, [true, true]);
    replace("whsec_hunter2", "Credentials can't be read anew, and the old ones stay", 1).await;
    assert_eq!(believed().await, [true, true]);
    replace(NEXT, "Credentials read anew", 2).await;
    assert_eq!(believed().await, [false, true]);
    let log = gateway.process.stdout().concat();
    assert!(!log.contains("hunter2") && !log.contains(&SECRET[6..]) && !log.contains(&NEXT[6..]), "{log}");
    gateway.stop().await;
}

/// The server says that it isn't ready, as one does on its way out. The connection after that may lead to another server.
#[tokio::test]
async fn a_server_on_its_way_out_does_not_take_the_gateway_out() {
    let (health, service) = tonic_health::server::health_reporter();
    health.set_service_status("", ServingStatus::NotServing).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(service);
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let gateway = Gateway::start(&url, Duration::from_secs(5), WebhookAuth::Unsigned).await;
    let readyz = async || gateway.get("/readyz").await.status().as_u16();

    assert_eq!(readyz().await, 503, "it has never been ready");
    health.set_service_status("", ServingStatus::Serving).await;
    assert_eq!(readyz().await, 200);
    health.set_service_status("", ServingStatus::NotServing).await;
    assert_eq!(readyz().await, 200, "the first such answer");
    health.set_service_status("", ServingStatus::Serving).await;
    assert_eq!(readyz().await, 200, "the other server");
    server.abort();
}
