//! Where operators call: with everybody, or at an address of their own.

use flashsale::{grpc::Front, listener::Limits, pb::RPCS};
use tokio::net::TcpListener;
use tonic::Code;

use super::{ADJUST, HOLD, REFLECT, access, bearer, call, code, denied, finish, line, token, unauthenticated};
use crate::support::{
    database::TestDatabase,
    server::{TestServer, default_settings},
    wire::Wire,
};

/// Starts a server with an address for operators, and returns the address as well.
async fn with_admin(database: &TestDatabase, front: impl FnOnce(Front) -> Front) -> (TestServer, String) {
    let admin_listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = admin_listener.local_addr().unwrap().to_string();
    let front = |listener| {
        let open = Front::for_everybody(listener, Limits::default());
        front(Front { admin_listener: Some(admin_listener), ..open })
    };
    (TestServer::start_before(&database.url(), 4, default_settings(), front).await, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_have_all_calls_at_their_own_address_and_only_there_theirs() {
    let database = TestDatabase::create("admin_address").await;
    let (server, address) = with_admin(&database, |front| front).await;
    let (main, admin) = (Wire::connect(&server.address()).await, Wire::connect(&address).await);
    for (path, _) in RPCS {
        let is_admin = path.contains("AdminService");
        for (wire, is_there) in [(&main, !is_admin), (&admin, true)] {
            let (code, reason) = call(wire, &path[1..], &[]).await;
            assert_eq!(code != Code::Unimplemented, is_there, "{path} {code:?} {reason}");
        }
    }
    for wire in [&main, &admin] {
        assert_eq!(call(wire, "grpc.health.v1.Health/Check", &[]).await.0, Code::Ok);
    }
    assert_eq!(code(&main, REFLECT, &[]).await, Code::Unimplemented);
    // It has no answer to an empty question.
    assert_eq!(code(&admin, REFLECT, &[]).await, Code::InvalidArgument);
    drop((main, admin));
    finish(server, database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn principals_count_at_both_addresses() {
    let database = TestDatabase::create("admin_principals").await;
    let file = line("ops", "operator") + &line("shop", "checkout");
    let (server, address) = with_admin(&database, |front| Front { access: access(&file), ..front }).await;
    let (main, admin) = (Wire::connect(&server.address()).await, Wire::connect(&address).await);
    let (ops, shop) = (bearer(&token("ops")), bearer(&token("shop")));
    let (ops, shop) = ([("authorization", &*ops)], [("authorization", &*shop)]);
    assert_eq!(call(&admin, ADJUST, &ops).await.0, Code::InvalidArgument);
    assert_eq!(call(&admin, ADJUST, &shop).await, denied());
    assert_eq!(call(&admin, ADJUST, &[]).await, unauthenticated());
    assert_eq!(call(&main, HOLD, &shop).await.0, Code::InvalidArgument);
    assert_eq!(call(&main, HOLD, &ops).await, denied());
    // What isn't served here is told only to those who may call it.
    assert_eq!(call(&main, ADJUST, &ops).await.0, Code::Unimplemented);
    assert_eq!(call(&main, ADJUST, &shop).await, denied());
    assert_eq!(call(&admin, REFLECT, &[]).await, unauthenticated());
    assert_eq!(code(&admin, REFLECT, &shop).await, Code::InvalidArgument);
    drop((main, admin));
    finish(server, database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_addresses_end_together() {
    let database = TestDatabase::create("admin_end").await;
    let (server, address) = with_admin(&database, |front| front).await;
    let (main, admin) = (Wire::connect(&server.address()).await, Wire::connect(&address).await);
    let main_address = server.address();
    finish(server, database).await;
    drop((main, admin));
    for address in [main_address, address] {
        assert!(tokio::net::TcpStream::connect(&address).await.is_err(), "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_can_be_off() {
    let database = TestDatabase::create("no_reflection").await;
    let front = |listener| Front { reflection: false, ..Front::for_everybody(listener, Limits::default()) };
    let server = TestServer::start_before(&database.url(), 4, default_settings(), front).await;
    let wire = Wire::connect(&server.address()).await;
    for version in ["v1", "v1alpha"] {
        let path = format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        assert_eq!(call(&wire, &path, &[]).await.0, Code::Unimplemented);
    }
    assert_eq!(call(&wire, ADJUST, &[]).await.0, Code::InvalidArgument);
    drop(wire);
    finish(server, database).await;
}
