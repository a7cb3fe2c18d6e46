//! Covers what the server speaks beside its use cases: health, reflection, and refusals of what is no call.

use std::time::Duration;

use axum::body::Bytes;
use flashsale::pb::{CreateHoldRequest, CreateHoldResponse, GetProductRequest, GetProductResponse, RPCS, SERVICES};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{
    client::{Clients, assert_refused, details, reason},
    database::TestDatabase,
    server::{Sale, TestServer},
    wire::{Wire, framed},
};

const GET_PRODUCT: &str = "flashsale.v1.FlashSaleService/GetProduct";
const CREATE_HOLD: &str = "flashsale.v1.FlashSaleService/CreateHold";

/// Tells whether reflection lists the service's services and the health service. Each version lists itself, too.
fn are_listed(names: &[String]) -> bool {
    let expected = SERVICES.iter().chain(&["grpc.health.v1.Health"]);
    expected.into_iter().all(|service| names.iter().any(|name| name == service))
}

async fn channel(sale: &Sale) -> Channel {
    Endpoint::from_shared(format!("http://{}", sale.server.address())).unwrap().connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_knows_the_server_its_services_and_liveness_and_nothing_else() {
    let sale = Sale::start("health").await;
    let clients = sale.clients();
    clients.wait_for_health(ServingStatus::Serving).await;
    for unknown in ["x", "flashsale.v1.Nothing", "Liveness", "flashsale.v1.flashsaleservice"] {
        assert_eq!(clients.health(unknown).await.unwrap_err().code(), Code::NotFound, "{unknown}");
    }
    sale.finish().await;
}

/// No server listens at this address, so the database never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_reached_its_database_does_not_serve_and_is_alive() {
    let url = "mysql://flashsale:x@127.0.0.1:1/it_nowhere";
    let server = TestServer::start_with(url, crate::support::server::default_settings()).await;
    // The server says so at once, while its first look at the database may not be over yet.
    assert_eq!(server.clients.health("").await.unwrap(), ServingStatus::NotServing);
    server.clients.wait_for_health(ServingStatus::NotServing).await;
    assert_refused(server.clients.hold(1, 1).await, Code::Unavailable, "DATABASE_UNAVAILABLE");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_health_is_told_of_the_shutdown() {
    let database = TestDatabase::create("watch").await;
    let mut server = TestServer::start(&database).await;
    server.clients.wait_for_health(ServingStatus::Serving).await;
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = server.clients.health.clone().watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.begin_stop();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop(watch);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services_in_both_versions() {
    let sale = Sale::start("reflection").await;
    let channel = channel(&sale).await;

    let ask = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(futures_util::stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer.message_response
    else {
        panic!("{answer:?}")
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(are_listed(&names), "{names:?}");

    let ask = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(futures_util::stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("{answer:?}")
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(are_listed(&names), "{names:?}");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_describes_every_method() {
    let sale = Sale::start("reflection_methods").await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(&sale).await);
    for symbol in [
        "flashsale.v1.FlashSaleService",
        "flashsale.v1.Hold",
        "grpc.health.v1.Health",
        "google.rpc.Status",
        "google.rpc.ErrorInfo",
        "google.rpc.RetryInfo",
    ] {
        let ask = v1::server_reflection_request::MessageRequest::FileContainingSymbol(symbol.to_owned());
        let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
        let answers = client.server_reflection_info(futures_util::stream::iter([request])).await;
        let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
        let found = matches!(
            answer.message_response,
            Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        );
        assert!(found, "{symbol}: {answer:?}");
    }
    // Tools look up the type of a detail by its name. Older ones ask in the version before.
    let ask =
        v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&sale).await);
    let answers = client.server_reflection_info(futures_util::stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let found = matches!(
        answer.message_response,
        Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
    );
    assert!(found, "{answer:?}");
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_of_the_definition_is_served() {
    let sale = Sale::start("every_rpc").await;
    let wire = Wire::connect(&sale.server.address()).await;
    assert!(RPCS.len() >= 13);
    for (path, _) in RPCS {
        let path = path.strip_prefix('/').unwrap();
        // Without an id, every request is invalid or finds nothing.
        let code = wire.send(path, &[], framed(&[])).await.map_or_else(|status| status.code(), |_| Code::Ok);
        assert!(matches!(code, Code::Ok | Code::InvalidArgument | Code::NotFound), "{path}: {code:?}");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_method_is_unimplemented() {
    let sale = Sale::start("unknown_method").await;
    let wire = Wire::connect(&sale.server.address()).await;
    for path in [
        "flashsale.v1.FlashSaleService/DeleteEverything",
        "flashsale.v1.FlashSaleService/createHold",
        "flashsale.v2.FlashSaleService/CreateHold",
        "x",
        "",
    ] {
        let status = wire.send(path, &[], framed(&[])).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "UNIMPLEMENTED"), "{path}");
    }
    sale.finish().await;
}

/// A gateway's connection brings thousands of small calls at once when a sale opens and the server is busy.
///
/// The runtime has one thread and the calls are one piece, so the server reads all of them before it answers any.
#[tokio::test]
async fn thousands_of_calls_that_arrive_as_one_piece_over_one_connection_are_all_answered() {
    const CALLS: usize = 4000;
    let sale = Sale::start("one_piece").await;
    let (near, mut far) = tokio::io::duplex(16 * 1024 * 1024);
    // The answers have to fit into the window at once.
    let mut client = h2::client::Builder::new();
    client.initial_max_send_streams(CALLS).initial_connection_window_size(16 * 1024 * 1024);
    let (requests, connection) = client.handshake::<_, Bytes>(near).await.unwrap();
    let connection = tokio::spawn(connection);
    let message = HealthCheckRequest { service: "liveness".to_owned() };
    let body = Bytes::from(framed(&prost::Message::encode_to_vec(&message)));
    let mut answers = Vec::new();
    for _ in 0..CALLS {
        let request = http::Request::post(format!("http://{}/grpc.health.v1.Health/Check", sale.server.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let mut requests = requests.clone().ready().await.unwrap();
        let (answer, mut stream) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        // Some libraries send a message in two frames.
        let mut body = body.clone();
        stream.send_data(body.split_to(5), false).unwrap();
        stream.send_data(body, false).unwrap();
        stream.send_data(Bytes::new(), true).unwrap();
        answers.push(answer);
    }
    let mut piece = Vec::new();
    while ended_streams(&piece) < CALLS {
        far.read_buf(&mut piece).await.unwrap();
    }
    let mut server = TcpStream::connect(sale.server.address()).await.unwrap();
    server.write_all(&piece).await.unwrap();
    let carrying = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut far, &mut server).await });
    for answer in answers {
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    carrying.abort();
    connection.abort();
    sale.finish().await;
}

/// Counts the frames of a client's bytes that end a stream.
///
/// A frame has its length in three bytes, its type, its flags, and its stream in four bytes. The preface stands before
/// the frames.
fn ended_streams(bytes: &[u8]) -> usize {
    const PREFACE: usize = 24;
    const END_STREAM: u8 = 1;
    let (mut ended, mut rest) = (0, bytes.get(PREFACE..).unwrap_or_default());
    while let [high, middle, low, kind, flags, _, _, _, _, ..] = *rest {
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let Some(next) = rest.get(9 + length..) else { break };
        ended += usize::from(kind == 0 && flags & END_STREAM != 0);
        rest = next;
    }
    ended
}

/// Fails the test unless the answer is an INVALID_ARGUMENT with its ErrorInfo and its BadRequest.
fn assert_invalid(answer: Result<Vec<u8>, tonic::Status>, what: &str) {
    let status = answer.map(|_| ()).expect_err(what);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_ARGUMENT"), "{what}");
    let violations = details(&status).bad_request().unwrap().field_violations.clone();
    assert!(!violations.is_empty() && violations.iter().all(|violation| !violation.field.is_empty()), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_invalid_and_harm_nobody() {
    let sale = Sale::start("garbage").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let wire = Wire::connect(&sale.server.address()).await;
    let good = framed(&prost::Message::encode_to_vec(&GetProductRequest { product_id }));
    let mut compressed = good.clone();
    compressed[0] = 1;
    for (what, body) in [
        ("not a message", framed(&[0xff; 40])),
        ("a field of the wrong type", framed(&[0x0a, 0x01, b'x'])),
        ("a string that is not UTF-8", framed(&[0x1a, 0x02, 0xff, 0xfe])),
        ("a field that ends too early", framed(&[0x1a, 0x7f, b'x'])),
        ("a varint without end", framed(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])),
    ] {
        assert_invalid(wire.send(CREATE_HOLD, &[], body).await, what);
    }
    // These bytes aren't frames of gRPC. Any code is fine but an internal error, and none may come from a bug.
    for (what, body) in [
        ("nothing", vec![]),
        ("half a header", vec![0, 0]),
        ("less than announced", framed(&[8, 1])[..6].to_vec()),
        ("two messages", [good.clone(), good.clone()].concat()),
        ("a message that says it is compressed", compressed),
        ("an unknown flag", [&[7], &good[1..]].concat()),
    ] {
        let answer = wire.send(GET_PRODUCT, &[], body).await;
        if let Err(status) = answer {
            assert_ne!(status.code(), Code::Internal, "{what}: {status:?}");
        }
    }
    assert_eq!(sale.clients().available_stock(product_id).await, 10);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_256_kib_at_the_most() {
    let sale = Sale::start("large").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 10).await.product_id;
    let wire = Wire::connect(&sale.server.address()).await;
    let padded = |bytes: usize| {
        // Field 15 is unknown, and the server passes over it.
        let mut message = prost::Message::encode_to_vec(&GetProductRequest { product_id });
        let padding = bytes - message.len() - 4;
        message.extend([0x7a]);
        prost::encoding::encode_varint(u64::try_from(padding).unwrap(), &mut message);
        message.resize(bytes, 0);
        message
    };
    wire.send(GET_PRODUCT, &[], framed(&padded(256 * 1024))).await.unwrap();
    assert_invalid(wire.send(GET_PRODUCT, &[], framed(&padded(256 * 1024 + 1))).await, "one byte more");
    assert_invalid(wire.send(GET_PRODUCT, &[], framed(&padded(3_000_000))).await, "far too large");
    // The message is announced and never sent.
    assert_invalid(wire.send(GET_PRODUCT, &[], vec![0, 0xff, 0xff, 0xff, 0xff]).await, "announced");
    let answer: GetProductResponse = wire.call(GET_PRODUCT, &[], &GetProductRequest { product_id }).await.unwrap();
    assert_eq!(answer.product.unwrap().product_id, product_id);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_headers_are_the_callers_own_business() {
    let sale = Sale::start("headers").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 100).await.product_id;
    let wire = Wire::connect(&sale.server.address()).await;
    let long = "x".repeat(4000);
    for headers in [
        &[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")][..],
        &[("traceparent", "nonsense")],
        &[("traceparent", "")],
        &[("tracestate", &*long)],
        &[("grpc-timeout", "soon")],
        &[("grpc-timeout", "")],
        &[("grpc-timeout", "99999999H")],
        &[("authorization", "Basic eDp4")],
        &[("x-unknown-bin", "////")],
        &[("grpc-encoding", "identity"), ("grpc-accept-encoding", "gzip,zstd")],
    ] {
        let request = CreateHoldRequest { product_id, qty: 1, ..Default::default() };
        let answer = wire.call::<CreateHoldResponse>(CREATE_HOLD, headers, &request).await;
        assert!(answer.is_ok(), "{headers:?}: {answer:?}");
    }
    sale.finish().await;
}

/// tonic has its own timer for the same header, and its answer is another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_has_the_same_answer_however_short_it_is() {
    let sale = Sale::start("short_deadlines").await;
    let product_id = sale.clients().create_product("Shoe", 1000, 100).await.product_id;
    let wire = Wire::connect(&sale.server.address()).await;
    let mut holder = sale.database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    for timeout in ["0S", "0n", "1n", "1m", "2m", "3m", "5m", "10m", "20m", "50m"] {
        let headers = [("grpc-timeout", timeout)];
        let request = CreateHoldRequest { product_id, qty: 1, ..Default::default() };
        let calls = (0..20).map(|_| wire.call::<CreateHoldResponse>(CREATE_HOLD, &headers, &request));
        for answer in futures_util::future::join_all(calls).await {
            assert_refused(answer, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        }
    }
    holder.execute("ROLLBACK").await;
    sale.finish().await;
}

/// A connection that speaks something else, or nothing, harms no other connection.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_not_speak_http2_harm_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let sale = Sale::start("no_http2").await;
    let mut open = Vec::new();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", &[0; 1000], b""] {
        let mut stream = tokio::net::TcpStream::connect(sale.server.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        open.push(stream);
    }
    let clients = Clients::connect(&sale.server.address()).await;
    clients.create_product("Shoe", 1000, 10).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), open[0].read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "what isn't HTTP/2 is hung up on");
    drop(open);
    sale.finish().await;
}
