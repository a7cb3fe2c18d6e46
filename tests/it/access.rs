//! Tests who may call what: the verdict on each call, on a real server.

mod certificates;
mod gateway;
mod lines;
mod listeners;
mod programs;

use std::time::Duration;

use flashsale::{
    access::{
        Access, Principals,
        methods::{RPCS, Role},
    },
    grpc::Front,
    listener::Limits,
    reload::Current,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tonic::{Code, Status};

use crate::support::{
    client::reason,
    database::TestDatabase,
    server::{TestServer, default_settings},
    wire::{Wire, framed},
};

const LIMIT: Duration = Duration::from_secs(30);
const HOLD: &str = "flashsale.v1.FlashSaleService/CreateHold";
const ADJUST: &str = "flashsale.v1.AdminService/AdjustStock";
const REFLECT: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Returns a token that only this name has.
fn token(name: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(name))
}

/// Returns the header of a caller with a token.
fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Returns a line of the file of principals, for a principal with a token.
fn line(name: &str, roles: &str) -> String {
    let hash = base16ct::lower::encode_string(&Sha256::digest(token(name)));
    format!("{name} token:sha256:{hash} {roles}\n")
}

/// Returns a file with a principal for each role, of the role's name.
fn one_of_each_role() -> String {
    Role::ALL.iter().map(|role| line(role.as_str(), role.as_str())).collect()
}

fn access(file: &str) -> Access {
    Access::for_principals(Current::fixed(Principals::parse(file.as_bytes()).unwrap()))
}

fn front(listener: TcpListener, file: &str) -> Front {
    Front { access: access(file), ..Front::for_everybody(listener, Limits::default()) }
}

async fn start(database: &TestDatabase, file: &str) -> TestServer {
    TestServer::start_before(&database.url(), 4, default_settings(), |listener| front(listener, file)).await
}

async fn finish(server: TestServer, database: TestDatabase) {
    server.stop().await;
    database.assert_no_open_transactions().await;
    database.assert_conserved().await;
}

/// Calls with an empty message, and returns the answer's code and, of an error, its reason.
async fn call(wire: &Wire, path: &str, headers: &[(&str, &str)]) -> (Code, String) {
    match wire.send(path, headers, framed(&[])).await {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), reason(&status)),
    }
}

/// Calls with an empty message, and returns the answer's code. Not every service explains its errors.
async fn code(wire: &Wire, path: &str, headers: &[(&str, &str)]) -> Code {
    wire.send(path, headers, framed(&[])).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

fn unauthenticated() -> (Code, String) {
    (Code::Unauthenticated, "UNAUTHENTICATED".to_owned())
}

fn denied() -> (Code, String) {
    (Code::PermissionDenied, "PERMISSION_DENIED".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_let_in_to_its_calls_and_to_no_other() {
    let database = TestDatabase::create("access_matrix").await;
    let server = start(&database, &one_of_each_role()).await;
    let wire = Wire::connect(&server.address()).await;
    for (path, roles) in RPCS {
        let path = &path[1..];
        for role in Role::ALL {
            let answer = call(&wire, path, &[("authorization", &bearer(&token(role.as_str())))]).await;
            if roles.contains(&role) {
                // An empty message is invalid, finds nothing, or is a list.
                assert!(
                    matches!(answer.0, Code::Ok | Code::InvalidArgument | Code::NotFound),
                    "{role:?} {path} {answer:?}"
                );
            } else {
                assert_eq!(answer, denied(), "{role:?} {path}");
            }
        }
        for nobody in [&[][..], &[("authorization", &*bearer(&token("nobody")))]] {
            assert_eq!(call(&wire, path, nobody).await, unauthenticated(), "{path}");
        }
    }
    assert_eq!(code(&wire, "grpc.health.v1.Health/Check", &[]).await, Code::Ok);
    assert_eq!(code(&wire, "grpc.health.v1.Health/List", &[]).await, Code::Unimplemented);
    finish(server, database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_the_same_bytes_whatever_exists() {
    let database = TestDatabase::create("access_bytes").await;
    let server = start(&database, &one_of_each_role()).await;
    let wire = Wire::connect(&server.address()).await;
    let payments = bearer(&token("payments"));
    let wrong = bearer(&token("nobody"));
    let refused =
        async |path: &str, headers: &[(&str, &str)], message: &[u8]| -> (Code, String, Vec<u8>, Vec<String>) {
            let status: Status = wire.send(path, headers, framed(message)).await.unwrap_err();
            let names = status.metadata().keys().map(|key| format!("{key:?}")).collect();
            (status.code(), status.message().to_owned(), status.details().to_vec(), names)
        };
    let calls = [
        (HOLD, &[][..]),
        (ADJUST, &[8, 1]),
        (ADJUST, &[0xff; 10]),
        ("flashsale.v1.FlashSaleService/Secret", &[]),
        ("flashsale.v1.SecretService/Call", &[]),
        ("secret", &[]),
        ("", &[]),
    ];
    let nobody = refused(HOLD, &[], &[]).await;
    let unentitled = refused(HOLD, &[("authorization", &payments)], &[]).await;
    assert_eq!((nobody.0, unentitled.0), (Code::Unauthenticated, Code::PermissionDenied));
    for (path, message) in calls {
        assert_eq!(refused(path, &[], message).await, nobody, "{path}");
        assert_eq!(refused(path, &[("authorization", &wrong)], message).await, nobody, "{path}");
        assert_eq!(refused(path, &[("authorization", "Bearer short")], message).await, nobody, "{path}");
        assert_eq!(refused(path, &[("authorization", &payments)], message).await, unentitled, "{path}");
    }
    assert_eq!(refused(REFLECT, &[], &[]).await, nobody);
    finish(server, database).await;
}

/// The test would wait for ever for an answer that waits for the body.
#[tokio::test(flavor = "multi_thread")]
async fn the_verdict_comes_before_the_body() {
    let database = TestDatabase::create("access_no_body").await;
    let server = start(&database, &one_of_each_role()).await;
    let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let viewer = bearer(&token("viewer"));
    for (authorization, code) in [(None, Code::Unauthenticated), (Some(&viewer), Code::PermissionDenied)] {
        let mut request = http::Request::post(format!("http://{}/{ADJUST}", server.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        requests = requests.ready().await.unwrap();
        let (answer, body) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        let head = tokio::time::timeout(LIMIT, answer).await.expect("an answer before the body").unwrap();
        assert_eq!(Status::from_header_map(head.headers()).unwrap().code(), code);
        drop(body);
    }
    connection.abort();
    finish(server, database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tokens_of_one_name_are_the_same_principal() {
    let database = TestDatabase::create("access_rotation").await;
    let old = line("old", "operator").replacen("old", "ops", 1);
    let new = line("new", "operator").replacen("new", "ops", 1);
    let server = start(&database, &(old + &new)).await;
    let wire = Wire::connect(&server.address()).await;
    for name in ["old", "new"] {
        assert_eq!(call(&wire, ADJUST, &[("authorization", &bearer(&token(name)))]).await.0, Code::InvalidArgument);
    }
    finish(server, database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_lets_nobody_in_but_to_health() {
    let database = TestDatabase::create("access_nobody").await;
    let server = start(&database, "# nobody yet\n").await;
    let wire = Wire::connect(&server.address()).await;
    for (path, _) in RPCS {
        assert_eq!(call(&wire, &path[1..], &[("authorization", &bearer(&token("ops")))]).await, unauthenticated());
    }
    assert_eq!(call(&wire, "grpc.health.v1.Health/Check", &[]).await.0, Code::Ok);
    finish(server, database).await;
}
