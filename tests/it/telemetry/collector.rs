//! A collector of traces that keeps what it gets, by OTLP over gRPC and over HTTP.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// The values of OTEL_EXPORTER_OTLP_PROTOCOL.
pub(crate) const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

/// Keeps what it gets.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Received>>);

#[derive(Default)]
struct Received {
    requests: Vec<ExportTraceServiceRequest>,
    authorization: String,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let authorization = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.keep(request.into_inner(), authorization);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts a collector, and returns its URL.
    pub(crate) async fn start(protocol: &str) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        if protocol == "grpc" {
            let service = TraceServiceServer::new(collector.clone()).max_decoding_message_size(64 * 1024 * 1024);
            let router = tonic::transport::Server::builder().add_service(service);
            tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
        } else {
            let kept = collector.clone();
            let traces = post(async move |headers: HeaderMap, body: Bytes| {
                assert_eq!(headers["content-type"], "application/x-protobuf");
                let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
                kept.keep(ExportTraceServiceRequest::decode(body).unwrap(), authorization);
            });
            let router = Router::new().route("/v1/traces", traces);
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        (collector, url)
    }

    fn keep(&self, request: ExportTraceServiceRequest, authorization: Option<String>) {
        let mut received = self.0.lock().unwrap();
        received.requests.push(request);
        received.authorization = authorization.unwrap_or_default();
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans_of("")
    }

    /// Returns the spans of a service, by a part of its name.
    pub(crate) fn spans_of(&self, service: &str) -> Vec<Span> {
        let received = self.0.lock().unwrap();
        let resources = received.requests.iter().flat_map(|request| &request.resource_spans);
        let of_service = resources.filter(|spans| format!("{:?}", spans.resource).contains(service));
        of_service.flat_map(|spans| &spans.scope_spans).flat_map(|spans| spans.spans.clone()).collect()
    }

    /// Returns an attribute of the resource of the last spans.
    pub(crate) fn resource(&self, key: &str) -> String {
        let received = self.0.lock().unwrap();
        let resource = received.requests.last().unwrap().resource_spans[0].resource.clone().unwrap();
        text(&resource.attributes, key).unwrap_or_else(|| panic!("no {key} in {resource:?}"))
    }

    /// Returns the header `authorization` of the last request.
    pub(crate) fn authorization(&self) -> String {
        self.0.lock().unwrap().authorization.clone()
    }
}

/// Returns an attribute as text.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match attribute.value.clone()?.value? {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}
