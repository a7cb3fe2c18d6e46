//! What an answer weighs, whatever is sent: every RPC of the definition, health and reflection.

mod hostile;

use flashsale::pb::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::{FieldMask, FileDescriptorSet};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{
    client::{details, reason},
    server::Sale,
    wire::{Wire, WireAnswer, framed},
};

/// Limits the headers and trailers of an answer.
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Limits the bytes of a status as a message.
const STATUS_BYTES_MAX: usize = 4 * 1024;
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// Fails the test unless an answer is light. Returns its code.
fn assert_light(answer: &WireAnswer, what: &str) -> Code {
    let status = answer.status();
    assert!(answer.header_bytes() <= HEADER_BYTES_MAX, "{what}: {} bytes of headers", answer.header_bytes());
    assert!(status.details().len() <= STATUS_BYTES_MAX, "{what}: {} bytes of status", status.details().len());
    let violations = status.get_details_bad_request().map_or(0, |bad| bad.field_violations.len());
    assert!(violations <= 16, "{what}: {violations} fields are named");
    if status.code() != Code::Ok {
        assert!(answer.body.is_empty(), "{what}: {} bytes beside the status", answer.body.len());
    }
    status.code()
}

/// Lists the RPCs of the definition with the names of their requests, so that a new one is tested as well.
fn rpcs(set: &FileDescriptorSet) -> Vec<(String, String)> {
    let files = set.file.iter().filter(|file| file.package() == "flashsale.v1");
    let services = files.flat_map(|file| &file.service);
    services
        .flat_map(|service| {
            let path = |rpc: &str| format!("flashsale.v1.{}/{rpc}", service.name());
            service.method.iter().map(move |rpc| (path(rpc.name()), rpc.input_type().to_owned()))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_of_256_kib_gets_a_heavy_answer_from_any_rpc() {
    let sale = Sale::start("heavy").await;
    let wire = Wire::connect(&sale.server.address()).await;
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let rpcs = rpcs(&set);
    assert_eq!(rpcs.len(), flashsale::pb::RPCS.len());
    for (path, request) in rpcs {
        let messages = hostile::messages(&set, &request, REQUEST_BYTES_MAX);
        assert!(messages.len() >= 8, "{path}: {} messages", messages.len());
        let mut codes = Vec::new();
        for (what, message) in messages {
            assert!(message.len() <= REQUEST_BYTES_MAX, "{path}: {what} has {} bytes", message.len());
            let answer = wire.answer(&path, &[], framed(&message)).await;
            let answer = answer.unwrap_or_else(|error| panic!("{path}, {what}: {error}"));
            let code = assert_light(&answer, &format!("{path}, {what}"));
            assert!(matches!(code, Code::Ok | Code::InvalidArgument | Code::NotFound), "{path}, {what}: {code:?}");
            codes.push(code);
        }
        assert!(codes.contains(&Code::InvalidArgument), "{path}: nothing of it is hostile");
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_mask_of_131000_empty_paths_is_one_bad_field() {
    const UPDATE_PRODUCT: &str = "flashsale.v1.AdminService/UpdateProduct";
    let sale = Sale::start("heavy_mask").await;
    let product = sale.clients().create_product("Shoe", 1000, 10).await;
    let wire = Wire::connect(&sale.server.address()).await;
    let request = |paths: Vec<String>| flashsale::pb::UpdateProductRequest {
        product: Some(product.clone()),
        update_mask: Some(FieldMask { paths }),
    };
    let message = request(vec![String::new(); 131_000]).encode_to_vec();
    let answer = wire.answer(UPDATE_PRODUCT, &[], framed(&message)).await.unwrap();
    assert_eq!(assert_light(&answer, "131,000 paths"), Code::InvalidArgument);
    let named = details(&answer.status()).bad_request().unwrap().field_violations.clone();
    assert!(named.len() <= 7 && named.iter().all(|violation| violation.field == "update_mask"), "{named:?}");
    // As many paths as there are fields are taken.
    let paths = ["name", "price_cents", "max_per_buyer", "starts_at", "ends_at", "paused"].map(str::to_owned);
    let message = request(paths.to_vec()).encode_to_vec();
    let answer = wire.answer(UPDATE_PRODUCT, &[], framed(&message)).await.unwrap();
    assert_eq!(assert_light(&answer, "6 paths"), Code::Ok);
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_writes_into_headers_does_not_come_back_at_length() {
    let sale = Sale::start("heavy_headers").await;
    let wire = Wire::connect(&sale.server.address()).await;
    let (long, odd) = ("x".repeat(12_000), "\u{e9}".repeat(4000));
    for (what, path, headers) in [
        ("an encoding", "flashsale.v1.FlashSaleService/GetProduct", &[("grpc-encoding", &*long)][..]),
        ("an encoding of odd characters", "flashsale.v1.FlashSaleService/GetProduct", &[("grpc-encoding", &*odd)]),
        ("a timeout", "flashsale.v1.FlashSaleService/GetProduct", &[("grpc-timeout", &*long)]),
        ("a trace", "flashsale.v1.FlashSaleService/GetProduct", &[("traceparent", &*long)]),
        ("a method", &format!("flashsale.v1.FlashSaleService/{long}"), &[]),
    ] {
        let answer = wire.answer(path, headers, framed(&[])).await.unwrap();
        assert_light(&answer, what);
    }
    sale.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_take_small_messages_only() {
    let sale = Sale::start("heavy_health").await;
    let wire = Wire::connect(&sale.server.address()).await;
    for path in [
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        for (character, field) in [("x", 1), ("\u{1F600}", 4), ("%", 4)] {
            let large = hostile::text(field, &character.repeat(1100 / character.len()));
            let answer = wire.answer(path, &[], framed(&large)).await.unwrap();
            assert_light(&answer, path);
            let status = answer.status();
            assert_ne!(status.code(), Code::NotFound, "{path}: {status:?}");
            if path.ends_with("Watch") {
                // A watch of what isn't known goes on, in case it becomes known.
                continue;
            }
            // The largest that is taken, whose text the answer may repeat.
            let largest = hostile::text(field, &character.repeat(1000 / character.len()));
            let answer = wire.answer(path, &[], framed(&largest)).await.unwrap();
            assert!(answer.header_bytes() <= HEADER_BYTES_MAX, "{path}: {} bytes of headers", answer.header_bytes());
        }
    }
    // They are refused like all messages that are too large.
    let large = hostile::text(1, &"x".repeat(100_000));
    let answer = wire.answer("grpc.health.v1.Health/Check", &[], framed(&large)).await.unwrap();
    assert_eq!(reason(&answer.status()), "INVALID_ARGUMENT");
    sale.finish().await;
}
