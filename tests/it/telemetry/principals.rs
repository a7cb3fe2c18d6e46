//! Who called is in the spans of calls, done or refused.

use sha2::{Digest, Sha256};

use super::collector::{Collector, text};
use crate::support::{
    database::TestDatabase,
    programs::ServerProgram,
    wire::{Wire, framed},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_span_has_the_principals_name_also_where_the_call_is_refused() {
    let (collector, url) = Collector::start("grpc").await;
    let database = TestDatabase::create("spans_principals").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("principals");
    let token = "0123456789abcdef".repeat(4);
    let hash = base16ct::lower::encode_string(&Sha256::digest(&token));
    std::fs::write(&file, format!("anna token:sha256:{hash} viewer\n")).unwrap();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("FLASHSALE_PRINCIPALS_FILE", file.to_str().unwrap())];
    let server = ServerProgram::start(&database.url(), &settings).await;
    let wire = Wire::connect(&server.address).await;
    let (list, hold) = ("flashsale.v1.AdminService/ListProducts", "flashsale.v1.FlashSaleService/CreateHold");
    let anna = format!("Bearer {token}");
    wire.send(list, &[("authorization", &anna)], framed(&[])).await.unwrap();
    wire.send(hold, &[("authorization", &anna)], framed(&[])).await.unwrap_err();
    let pay = "flashsale.v1.PaymentService/HandlePaymentWebhook";
    wire.send(pay, &[], framed(&[])).await.unwrap_err();
    drop(wire);
    server.stop().await;

    let spans = collector.spans_of("flashsale-server");
    for (rpc, code, principal) in
        [(list, "OK", Some("anna")), (hold, "PERMISSION_DENIED", Some("anna")), (pay, "UNAUTHENTICATED", None)]
    {
        let span = spans.iter().find(|span| span.name == rpc).expect(rpc);
        assert_eq!(text(&span.attributes, "rpc.status_code").as_deref(), Some(code));
        assert_eq!(text(&span.attributes, "enduser.id").as_deref(), principal);
    }
    database.assert_conserved().await;
}
