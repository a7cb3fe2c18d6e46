//! A collector gets the metrics by OTLP, and what is read from the database with them, though nobody asks for a page.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, routing::post};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    metrics::v1::{Metric, metric::Data, number_data_point::Value},
};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use super::LIMIT;
use crate::support::{database::TestDatabase, programs::ServerProgram, wait};

/// Keeps what it got last.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<ExportMetricsServiceRequest>>);

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        *self.0.lock().unwrap() = request.into_inner();
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    async fn start(protocol: &str) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        if protocol == "grpc" {
            let router = tonic::transport::Server::builder().add_service(MetricsServiceServer::new(collector.clone()));
            tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
            return (collector, format!("http://{address}"));
        }
        let kept = Arc::clone(&collector.0);
        let metrics = post(async move |body: Bytes| {
            *kept.lock().unwrap() = ExportMetricsServiceRequest::decode(body).unwrap();
        });
        let router = Router::new().route("/v1/metrics", metrics);
        tokio::spawn(async move { axum::serve(listener, router).await });
        // A signal's own endpoint is taken as it stands.
        (collector, format!("http://{address}/v1/metrics"))
    }

    /// Returns the sum of a metric's points.
    fn sum(&self, name: &str) -> Option<i64> {
        let received = self.0.lock().unwrap();
        let metrics = received.resource_metrics.iter().flat_map(|of| &of.scope_metrics).flat_map(|of| &of.metrics);
        let metric: &Metric = metrics.into_iter().find(|metric| metric.name == name)?;
        let points = match metric.data.as_ref()? {
            Data::Gauge(gauge) => &gauge.data_points,
            Data::Sum(sum) => &sum.data_points,
            other => panic!("{name}: {other:?}"),
        };
        Some(points.iter().map(|point| if let Some(Value::AsInt(value)) = point.value { value } else { 0 }).sum())
    }

    fn service(&self) -> String {
        format!("{:?}", self.0.lock().unwrap().resource_metrics[0].resource)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_metrics_and_the_last_of_them_at_the_end() {
    let database = TestDatabase::create("metrics_otlp").await;
    for protocol in ["grpc", "http/protobuf"] {
        let (collector, url) = Collector::start(protocol).await;
        let settings = [
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &*url),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", protocol),
            ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ];
        let server = ServerProgram::start(&database.url(), &settings).await;
        let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
        wait::eventually(LIMIT, "the stock", async || collector.sum("flashsale.stock.limit") > Some(0)).await;
        assert!(collector.service().contains("flashsale-server"), "{}", collector.service());
        assert!(collector.sum("process.cpu.seconds").is_none(), "only the page has the process");
        for _ in 0..3 {
            server.clients.hold(product_id, 1).await.unwrap();
        }
        let lines = server.stop().await;
        assert_eq!(collector.sum("flashsale.hold.requests"), Some(3), "{protocol}: {lines:#?}");
    }
    database.assert_conserved().await;
}
