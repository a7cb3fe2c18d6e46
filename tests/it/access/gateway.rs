//! Who may use the gateway's shop routes.

use std::fs;

use flashsale::access::methods::Role;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::{bearer, one_of_each_role, token};
use crate::support::{
    database::TestDatabase,
    programs::{GatewayProgram, ServerProgram, lines_of},
};

const UNSIGNED: (&str, &str) = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");

/// Sends a request, and returns the status, the body, and the header that says how to authenticate.
async fn send(request: RequestBuilder) -> (u16, Value, Option<String>) {
    let answer = request.send().await.unwrap();
    let asked = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), answer.json().await.unwrap(), asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shops_routes_are_for_those_who_may_call_what_is_behind_them() {
    let database = TestDatabase::create("access_gateway").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("principals");
    fs::write(&file, one_of_each_role()).unwrap();
    let server = ServerProgram::start(&database.url(), &[]).await;
    let product_id = server.clients.create_product("Shoe", 1000, 10).await.product_id;
    let principals = ("FLASHSALE_PRINCIPALS_FILE", file.to_str().unwrap());
    let gateway = GatewayProgram::start(&server.address, &[UNSIGNED, principals]).await;
    let http = Client::builder().no_proxy().build().unwrap();
    let product = format!("/api/products/{product_id}");
    let hold = json!({"product_id": product_id, "qty": 1});
    // Roles that may use a route, and the status that they get.
    let routes = [
        (Method::GET, &*product, None, &[Role::Checkout, Role::Gateway, Role::Operator, Role::Viewer][..], 200),
        (Method::GET, "/api/products/none", None, &[Role::Checkout, Role::Gateway, Role::Operator, Role::Viewer], 404),
        (Method::POST, "/api/holds", Some(&hold), &[Role::Checkout, Role::Gateway], 201),
        (Method::POST, "/api/orders", Some(&Value::Null), &[Role::Checkout, Role::Gateway], 422),
    ];
    let unauthenticated = json!({"message": "Unauthenticated", "reason": "UNAUTHENTICATED"});
    let denied = json!({"message": "Permission denied", "reason": "PERMISSION_DENIED"});
    for (method, path, body, roles, status) in routes {
        let request = || {
            let request = http.request(method.clone(), format!("http://{}{path}", gateway.address));
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        for role in Role::ALL {
            let answer = send(request().header("authorization", bearer(&token(role.as_str())))).await;
            if roles.contains(&role) {
                assert_eq!(answer.0, status, "{path} {role:?} {answer:?}");
            } else {
                assert_eq!(answer, (403, denied.clone(), None), "{path} {role:?}");
            }
        }
        for wrong in [None, Some(bearer(&token("nobody"))), Some("Basic eDp4".to_owned())] {
            let request = wrong.iter().fold(request(), |request, wrong| request.header("authorization", wrong));
            let expected = (401, unauthenticated.clone(), Some("Bearer".to_owned()));
            assert_eq!(send(request).await, expected, "{path} {wrong:?}");
        }
    }
    // A webhook is known by its signature, or not at all.
    let event = json!({"idempotency_key": "k", "order_id": 1, "status": "success"});
    let webhook = http.post(format!("http://{}/api/payments/webhook", gateway.address)).json(&event);
    assert_eq!(send(webhook).await.1["reason"], "ORDER_NOT_FOUND");
    assert_eq!(http.get(format!("http://{}/healthz", gateway.address)).send().await.unwrap().status(), 200);

    let log = gateway.stop().await;
    let refused = lines_of(&log, "Request refused");
    assert!((1..=40).contains(&refused.len()), "{refused:#?}");
    assert_eq!(refused[0]["principal"], "payments");
    let text = serde_json::to_string(&log).unwrap();
    assert!(Role::ALL.iter().all(|role| !text.contains(&token(role.as_str()))), "the log has a token");
    server.stop().await;
    database.assert_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_file_is_empty_says_so_and_lets_nobody_in() {
    let database = TestDatabase::create("access_gateway_nobody").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("principals");
    fs::write(&file, "").unwrap();
    let server = ServerProgram::start(&database.url(), &[]).await;
    let principals = ("FLASHSALE_PRINCIPALS_FILE", file.to_str().unwrap());
    let gateway = GatewayProgram::start(&server.address, &[UNSIGNED, principals]).await;
    let http = Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/api/products/1", gateway.address);
    assert_eq!(send(http.get(&url)).await.0, 401);
    assert_eq!(send(http.get(&url).header("authorization", bearer(&token("nobody")))).await.0, 401);
    let log = gateway.stop().await;
    let warned = "The file of principals has nobody: no request for the shop's routes is let in";
    assert_eq!(lines_of(&log, warned).len(), 1);
    server.stop().await;
    database.assert_conserved().await;
}
