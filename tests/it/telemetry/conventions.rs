//! The spans of the programs: names, kinds, attributes, statuses, and which belongs to which.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flashsale::pb::CreateHoldRequest;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::{Value, json};
use tonic::{Code, Request};

use super::{
    collector::{Collector, text},
    hex, with_message,
};
use crate::support::{
    database::TestDatabase,
    mysqld::free_port,
    programs::{GatewayProgram, ServerProgram, sweep},
    wait,
    wire::Wire,
};

/// How long calls may take to queue up.
const QUEUED_LIMIT: Duration = Duration::from_secs(60);
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Has the spans sent at the end only, so that all arrive together.
fn settings(url: &str) -> [(&str, &str); 2] {
    [("OTEL_EXPORTER_OTLP_ENDPOINT", url), ("OTEL_BSP_SCHEDULE_DELAY", "600000")]
}

/// Returns what the tests compare of a span: its attributes, without those that differ from run to run.
fn attributes(span: &Span) -> BTreeMap<String, String> {
    let changing =
        ["server.address", "server.port", "network.peer.address", "network.peer.port", "user_agent.original"];
    let fixed = span.attributes.iter().filter(|attribute| !changing.contains(&&*attribute.key));
    fixed.map(|attribute| (attribute.key.clone(), text(&span.attributes, &attribute.key).unwrap())).collect()
}

fn named(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_one_trace_from_the_gateway_to_the_statements() {
    let (collector, url) = Collector::start("grpc").await;
    let database = TestDatabase::create("spans").await;
    let server = ServerProgram::start(&database.url(), &settings(&url)).await;
    let unsigned = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");
    let gateway = GatewayProgram::start(&server.address, &[&settings(&url)[..], &[unsigned]].concat()).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let at = |path: &str| format!("http://{}{path}", gateway.address);
    let post = async |path: &str, body: Value| -> (u16, Value) {
        let request = http.post(at(path)).json(&body).header("traceparent", TRACEPARENT).header("tracestate", "v=1");
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    let (status, hold) = post("/api/holds", json!({"product_id": product_id, "qty": 1})).await;
    assert_eq!(status, 201);
    assert_eq!(post("/api/orders", json!({"hold_id": hold["hold_id"]})).await.0, 201);
    assert_eq!(post("/api/orders", json!({"hold_id": 1_000_000})).await.0, 422);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http.get(at(path)).send().await.unwrap().status(), 200);
    }
    assert_eq!(http.get(at("/no/such/route?secret=1")).send().await.unwrap().status(), 404);
    server.clients.health("").await.unwrap();
    assert_eq!(sweep(&database.url(), &settings(&url)).await.0, 0);
    gateway.stop().await;
    let address = server.address.clone();
    let (_, port) = address.split_once(':').unwrap();
    let lines = server.stop().await;

    let of_gateway = collector.spans_of("flashsale-gateway");
    let names: BTreeSet<&str> = of_gateway.iter().map(|span| &*span.name).collect();
    let holds = "flashsale.v1.FlashSaleService/CreateHold";
    let orders = "flashsale.v1.FlashSaleService/CreateOrder";
    assert_eq!(names, BTreeSet::from(["GET", "POST /api/holds", "POST /api/orders", holds, orders]));
    let request = only(&of_gateway, "POST /api/holds");
    assert_eq!((request.kind(), hex(&request.trace_id)), (SpanKind::Server, TRACE.to_owned()));
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(request.trace_state, "v=1");
    assert_eq!(
        attributes(request),
        named(&[
            ("http.request.method", "POST"),
            ("http.response.status_code", "201"),
            ("http.route", "/api/holds"),
            ("network.protocol.version", "1.1"),
            ("url.path", "/api/holds"),
            ("url.scheme", "http"),
        ])
    );
    assert_eq!(text(&request.attributes, "server.address").as_deref(), Some("127.0.0.1"));
    let lost = only(&of_gateway, "GET");
    assert_eq!(text(&lost.attributes, "url.path").as_deref(), Some("/no/such/route"));
    assert!(text(&lost.attributes, "http.route").is_none() && !is_error(lost));
    let call = only(&of_gateway, holds);
    assert_eq!((call.kind(), &call.parent_span_id), (SpanKind::Client, &request.span_id));
    let of_call = [("rpc.method", holds), ("rpc.status_code", "OK"), ("rpc.system.name", "grpc")];
    assert_eq!(attributes(call), named(&of_call));
    assert_eq!(text(&call.attributes, "server.port").as_deref(), Some(port));

    let of_server = collector.spans_of("flashsale-server");
    let answered = only(&of_server, holds);
    assert_eq!((answered.kind(), &answered.parent_span_id), (SpanKind::Server, &call.span_id));
    assert_eq!(attributes(answered), named(&of_call));
    for key in ["server.address", "server.port", "network.peer.address", "network.peer.port"] {
        assert!(text(&answered.attributes, key).is_some(), "{key}: {answered:?}");
    }
    assert_eq!(hex(&answered.trace_id), TRACE);
    let line = with_message(&lines, "Hold created")[0];
    assert_eq!((&line["trace_id"], &line["span_id"]), (&json!(TRACE), &json!(hex(&answered.span_id))));

    the_batch_is_linked(&of_server, answered, database.name(), product_id);

    // A refusal isn't the server's fault. To the gateway, whose call it was, it is an error by the conventions.
    let refused = |spans: &[Span]| -> Span {
        let mut of_orders = spans.iter().filter(|span| span.name == orders);
        let code = |span: &&Span| text(&span.attributes, "rpc.status_code").as_deref() == Some("NOT_FOUND");
        of_orders.find(code).cloned().unwrap()
    };
    assert!(!is_error(&refused(&of_server)) && text(&refused(&of_server).attributes, "error.type").is_none());
    let of_caller = refused(&of_gateway);
    assert!(is_error(&of_caller));
    assert_eq!(text(&of_caller.attributes, "error.type").as_deref(), Some("NOT_FOUND"));
    assert!(!of_server.iter().any(|span| span.name.contains("grpc.") || !span.events.is_empty()), "{of_server:?}");

    let of_sweeper = collector.spans_of("flashsale-sweeper");
    let sweep = only(&of_sweeper, "sweep");
    assert_eq!((sweep.kind(), sweep.events.len()), (SpanKind::Internal, 0));
    let statements: Vec<&Span> = of_sweeper.iter().filter(|span| span.name != "sweep").collect();
    assert!(!statements.is_empty() && statements.iter().all(|span| span.parent_span_id == sweep.span_id));
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// Checks the span of the batch that a call was in, and the spans of the batch's statements.
fn the_batch_is_linked(spans: &[Span], call: &Span, database: &str, product_id: i64) {
    let batch = only(spans, "create_hold");
    assert_eq!((batch.kind(), batch.parent_span_id.len()), (SpanKind::Internal, 0));
    assert_eq!(batch.links.len(), 1);
    assert_eq!((&batch.links[0].trace_id, &batch.links[0].span_id), (&call.trace_id, &call.span_id));
    assert_ne!(batch.trace_id, call.trace_id);
    let product_id = product_id.to_string();
    assert_eq!(
        attributes(batch),
        named(&[
            ("flashsale.lane", "create_hold"),
            ("flashsale.lane.batch.size", "1"),
            ("flashsale.product.id", &product_id),
        ])
    );
    let mut statements: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == batch.span_id).collect();
    statements.sort_by_key(|span| span.start_time_unix_nano);
    let summaries: Vec<&str> = statements.iter().map(|span| &*span.name).collect();
    let [.., script, ids] = &statements[..] else { panic!("{summaries:?}") };
    assert!(script.name.ends_with("COMMIT") && script.name.contains("INSERT holds"), "{summaries:?}");
    assert_eq!(ids.name, "SELECT", "{summaries:?}");
    for statement in &statements {
        assert_eq!((statement.kind(), &statement.trace_id), (SpanKind::Client, &batch.trace_id));
        let attributes = attributes(statement);
        assert_eq!(attributes["db.system.name"], "mysql");
        assert_eq!(attributes["db.namespace"], database);
        assert_eq!(attributes["db.operation.name"], "create_hold");
        assert_eq!(attributes["db.query.summary"], statement.name);
        assert!(attributes.keys().all(|key| key.starts_with("db.")), "{attributes:?}");
    }
    assert!(text(&script.attributes, "db.operation.batch.size").is_some_and(|size| size != "1"));
    assert!(text(&ids.attributes, "db.operation.batch.size").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_linked_to_128_of_its_requests_and_to_none_that_is_not_recorded() {
    const CALLERS: usize = 600;
    let (collector, url) = Collector::start("http/protobuf").await;
    let database = TestDatabase::create("links").await;
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let server = ServerProgram::start(&database.url(), &[&settings(&url)[..], &[http]].concat()).await;
    let product_id = server.clients.create_product("Shoe", 1000, 1_000_000).await.product_id;
    // While the row is locked, the calls wait and become one batch.
    let mut locked = database.lock_rows(&format!("products WHERE id = {product_id}")).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let clients = server.clients.clone();
            tokio::spawn(async move {
                let mut request = Request::new(CreateHoldRequest { product_id, qty: 1, ..Default::default() });
                if caller % 10 == 0 {
                    request.metadata_mut().insert("traceparent", UNSAMPLED.parse().unwrap());
                }
                // On a busy machine some are told that the row is locked. Their calls have spans as well.
                let _answer = clients.sale.clone().create_hold(request).await;
            })
        })
        .collect();
    wait::eventually(QUEUED_LIMIT, "a queue", async || queued(&server.metrics().await) >= 200.0).await;
    locked.execute("ROLLBACK").await;
    for caller in callers {
        caller.await.unwrap();
    }
    server.stop().await;

    let spans = collector.spans();
    let calls: BTreeSet<&[u8]> =
        spans.iter().filter(|span| span.name.ends_with("/CreateHold")).map(|span| &*span.span_id).collect();
    assert_eq!(calls.len(), CALLERS * 9 / 10, "the others are not sampled");
    let batches: Vec<&Span> = spans.iter().filter(|span| span.name == "create_hold").collect();
    let most = batches.iter().map(|batch| batch.links.len()).max().unwrap();
    assert_eq!(most, 128, "{:?}", batches.iter().map(|batch| batch.links.len()).collect::<Vec<_>>());
    let mut linked = batches.iter().flat_map(|batch| &batch.links);
    assert!(linked.all(|link| calls.contains(&*link.span_id)));
    database.assert_conserved().await;
}

/// Returns the number of calls that wait in the lanes of CreateHold, by the page of metrics.
fn queued(page: &str) -> f64 {
    let is_lane = |line: &&str| line.starts_with("flashsale_lane_queue_length{") && line.contains("create_hold");
    page.lines().find(is_lane).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_is_an_error_where_the_server_is_at_fault() {
    let (collector, url) = Collector::start("grpc").await;
    let nowhere = format!("mysql://root@127.0.0.1:{}/sale", free_port());
    let server = ServerProgram::start(&nowhere, &settings(&url)).await;
    let unsigned = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");
    let gateway = GatewayProgram::start(&server.address, &[&settings(&url)[..], &[unsigned]].concat()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("http://{}/api/products/1", gateway.address)).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let unknown = Wire::connect(&server.address).await;
    let refused = unknown.send("flashsale.v1.FlashSaleService/Haggle", &[], Vec::new()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    drop(unknown);
    gateway.stop().await;
    server.stop().await;

    let of_gateway = collector.spans_of("flashsale-gateway");
    let request = only(&of_gateway, "GET /api/products/{id}");
    assert_eq!(text(&request.attributes, "error.type").as_deref(), Some("503"));
    let of_server = collector.spans_of("flashsale-server");
    let get_product = "flashsale.v1.FlashSaleService/GetProduct";
    for span in [request, only(&of_gateway, get_product), only(&of_server, get_product)] {
        assert!(is_error(span), "{span:?}");
    }
    assert_eq!(text(&only(&of_server, get_product).attributes, "error.type").as_deref(), Some("UNAVAILABLE"));
    assert!(!is_error(only(&of_server, "grpc")), "an unknown method is the caller's fault");
    let unknown = attributes(only(&of_server, "grpc"));
    assert_eq!(
        unknown,
        named(&[
            ("rpc.method", "_OTHER"),
            ("rpc.method_original", "flashsale.v1.FlashSaleService/Haggle"),
            ("rpc.status_code", "UNIMPLEMENTED"),
            ("rpc.system.name", "grpc"),
        ])
    );
}
