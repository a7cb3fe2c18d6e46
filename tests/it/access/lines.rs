//! What a principal leaves behind: lines in the log, and rows of what was changed.

use std::fs;

use flashsale::pb::{
    AdjustStockRequest, CreateProductRequest, ListOperatorActionsRequest, ListOperatorActionsResponse,
};
use serde_json::Value;
use tonic::Code;

use super::{ADJUST, HOLD, bearer, call, denied, line, token, unauthenticated};
use crate::support::{
    database::TestDatabase,
    programs::{ServerProgram, lines_of},
    sale::product,
    wire::{Wire, framed},
};

const CREATE: &str = "flashsale.v1.AdminService/CreateProduct";

/// Returns the fields of the log's lines about operators' calls: principal, method, outcome.
fn admin_calls(log: &[Value]) -> Vec<[String; 3]> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let calls = lines_of(log, "Admin call").into_iter();
    calls.map(|line| ["principal", "method", "outcome"].map(|field| text(line, field))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principals_name_is_in_the_log_and_beside_what_it_changed() {
    let database = TestDatabase::create("access_lines").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("principals");
    fs::write(&file, line("ops.anna", "operator") + &line("shop", "checkout")).unwrap();
    let setting = ("FLASHSALE_PRINCIPALS_FILE", file.to_str().unwrap());
    let server = ServerProgram::start(&database.url(), &[setting]).await;
    let wire = Wire::connect(&server.address).await;
    let (anna, shop) = (bearer(&token("ops.anna")), bearer(&token("shop")));
    let (as_anna, as_shop) = ([("authorization", &*anna)], [("authorization", &*shop)]);

    let request = CreateProductRequest { request_id: Some("first".to_owned()), ..product(10) };
    wire.call::<flashsale::pb::CreateProductResponse>(CREATE, &as_anna, &request).await.unwrap();
    let bad = AdjustStockRequest { product_id: 1, ..Default::default() };
    wire.call::<flashsale::pb::AdjustStockResponse>(ADJUST, &as_anna, &bad).await.unwrap_err();
    wire.send(ADJUST, &as_anna, framed(&[0xff; 40])).await.unwrap_err();
    assert_eq!(call(&wire, ADJUST, &as_shop).await, denied());
    assert_eq!(call(&wire, HOLD, &[]).await, unauthenticated());
    let secret = bearer(&token("nobody"));
    assert_eq!(call(&wire, "flashsale.v1.Secret/Call", &[("authorization", &secret)]).await, unauthenticated());
    for _ in 0..500 {
        assert_eq!(call(&wire, HOLD, &[]).await.0, Code::Unauthenticated);
    }
    let list = "flashsale.v1.AdminService/ListOperatorActions";
    let request = ListOperatorActionsRequest { page_size: 10, ..Default::default() };
    let actions: ListOperatorActionsResponse = wire.call(list, &as_anna, &request).await.unwrap();
    let written: Vec<(&str, &str)> =
        actions.actions.iter().map(|action| (&*action.principal, &*action.method)).collect();
    assert_eq!(written, [("ops.anna", CREATE)]);

    drop(wire);
    let log = server.stop().await;
    let expected = [(CREATE, "ok"), (ADJUST, "invalid_argument"), (ADJUST, "invalid_argument")];
    assert_eq!(admin_calls(&log), expected.map(|(method, outcome)| ["ops.anna", method, outcome].map(str::to_owned)));
    let refused = lines_of(&log, "Call refused");
    let fields = |line: &Value| {
        let peer = line["peer"].as_str().unwrap();
        assert!(peer.starts_with("127.0.0.1:"), "{peer}");
        ["level", "method", "principal", "cause"].map(|field| line[field].as_str().unwrap_or("-").to_owned())
    };
    assert_eq!(
        [fields(refused[0]), fields(refused[1]), fields(refused[2])],
        [
            ["WARN", ADJUST, "shop", "no role for this method"],
            ["WARN", HOLD, "-", "no credentials"],
            ["WARN", "flashsale.v1.Secret/Call", "-", "an unknown token"],
        ]
        .map(|line| line.map(str::to_owned))
    );
    let left_out: u64 = refused.iter().map(|line| line["left_out"].as_u64().unwrap()).sum();
    assert!(refused.len() + usize::try_from(left_out).unwrap() <= 503 && refused.len() < 503, "{}", refused.len());
    let text = serde_json::to_string(&log).unwrap();
    for name in ["ops.anna", "shop", "nobody"] {
        assert!(!text.contains(&token(name)), "the log has the token of {name}");
    }
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_call_that_is_no_command_leaves_a_line_without_principals_too() {
    let database = TestDatabase::create("access_early_lines").await;
    let server = ServerProgram::start(&database.url(), &[]).await;
    let wire = Wire::connect(&server.address).await;
    let calls = ["CreateProduct", "UpdateProduct", "AdjustStock", "AcceptPayment", "ResolvePaymentException"]
        .map(|rpc| format!("flashsale.v1.AdminService/{rpc}"));
    for path in &calls {
        assert_eq!(call(&wire, path, &[]).await.0, Code::InvalidArgument, "{path}");
    }
    assert_eq!(call(&wire, "flashsale.v1.AdminService/GetSaleStats", &[]).await.0, Code::InvalidArgument);
    drop(wire);
    let log = server.stop().await;
    let expected = calls.map(|path| ["unknown".to_owned(), path, "invalid_argument".to_owned()]);
    assert_eq!(admin_calls(&log), expected);
    database.assert_conserved().await;
}
