//! Each rule, shown on made-up sources that break it, or that only look as if they did.

use super::{LIB_RS, dependencies, faults_of, table::Borders};

/// Returns the faults of a made-up file.
fn faults(path: &str, text: &str) -> Vec<String> {
    let cargo_toml =
        "[package]\nname = \"x\"\n[dependencies]\n# dates\nchrono = \"0\"\ndiesel-async = { version = \"0\" }\n";
    let found = faults_of(path, text, &Borders::read(LIB_RS), &dependencies(cargo_toml));
    found.into_iter().map(|(_, fault)| fault).collect()
}

#[test]
fn a_circle_is_found_however_long_it_is() {
    let table = |rows: &[(&str, &str)]| {
        let row = |(module, allowed): &(&str, &str)| format!("//! | [`{module}`] | what it is | {allowed} |\n");
        Borders::read(&rows.iter().map(row).collect::<String>())
    };
    let straight = table(&[("a", "`b`, `c`"), ("b", "`c`"), ("c", "")]);
    assert_eq!(straight.circle(), [""; 0]);
    assert_eq!(table(&[("a", "`a`")]).circle(), ["a"]);
    assert_eq!(table(&[("a", "`b`"), ("b", "`c`, `d`"), ("c", ""), ("d", "`b`")]).circle(), ["b", "d"]);
    assert_eq!(
        table(&[("a", "`b`"), ("b", "`c`"), ("c", "`d`"), ("d", "`b`, `e`"), ("e", "")]).circle(),
        ["b", "c", "d"]
    );
}

#[test]
fn an_import_upwards_is_found() {
    for (path, text, fault) in [
        ("src/domain/hold.rs", "use crate::db::holds;", "domain may not use db"),
        ("src/db/holds.rs", "use crate::checkout::CreateHold;", "db may not use checkout"),
        ("src/db/mod.rs", "use crate::lane::Lane;", "db may not use lane"),
        ("src/checkout/create_hold.rs", "use crate::grpc::status;", "checkout may not use grpc"),
        ("src/checkout/create_hold.rs", "use crate::pb::Hold;", "checkout may not use pb"),
        ("src/lane.rs", "use crate::db::Database;", "lane may not use db"),
        ("src/error.rs", "use crate::db::Failure;", "error may not use db"),
        ("src/grpc/service.rs", "use crate::db::Database;", "grpc may not use db"),
        ("src/gateway/routes.rs", "use crate::domain::Refusal;", "gateway may not use domain"),
        ("src/gateway/mod.rs", "use crate::grpc::serve;", "gateway may not use grpc"),
        ("src/sweeper.rs", "use crate::grpc::serve;", "sweeper may not use grpc"),
        ("src/shutdown.rs", "use crate::grpc::serve;", "shutdown may not use grpc"),
        ("bin/server.rs", "use flashsale::domain::Hold;", "bin may not use domain"),
        ("src/checkout/mod.rs", "use crate::*;", "checkout may not import the whole crate"),
        ("src/config.rs", "use crate::grpc::serve;", "config may not use grpc"),
        ("src/telemetry.rs", "use crate::config::LogFormat;", "telemetry may not use config"),
        ("src/cache.rs", "", "the module cache is not in the table of src/lib.rs"),
    ] {
        assert_eq!(faults(path, text), [fault], "{path}: {text}");
    }
}

#[test]
fn a_crate_in_the_wrong_module_is_found() {
    for (path, text, fault) in [
        ("src/checkout/mod.rs", "use diesel::prelude::*;", "checkout may not use the crate diesel"),
        ("src/sweeper.rs", "use diesel_async::RunQueryDsl;", "sweeper may not use the crate diesel_async"),
        ("src/error.rs", "use ::diesel::result;", "error may not use the crate diesel"),
        ("src/error.rs", "use tonic::Status;", "error may not use the crate tonic"),
        ("src/db/mod.rs", "use tonic_types::StatusExt;", "db may not use the crate tonic_types"),
        ("src/checkout/mod.rs", "use prost_types::Timestamp;", "checkout may not use the crate prost_types"),
        ("src/grpc/layer.rs", "use deadpool::managed;", "grpc may not use the crate deadpool"),
        ("bin/server.rs", "use mysql_async::Conn;", "bin may not use the crate mysql_async"),
        ("src/grpc/convert.rs", "use flashsale_proto::Hold;", "grpc may not use the crate flashsale_proto"),
        ("src/grpc/health.rs", "use flashsale_client::Client;", "grpc may not use the crate flashsale_client"),
        ("src/domain/hold.rs", "use chrono::DateTime;", "domain may use std only, not chrono"),
        ("src/domain/hold.rs", "use diesel_async::x;", "domain may use std only, not diesel_async"),
    ] {
        assert_eq!(faults(path, text), [fault], "{path}: {text}");
    }
}

#[test]
fn a_crossing_is_found_however_it_is_written() {
    let fault = "checkout may not use grpc";
    for text in [
        "use crate::{db, grpc};",
        "use crate::{\n    db::holds::{self, lock},\n    grpc::status as other,\n};",
        "pub(crate) use crate::grpc::status;",
        "use super::super::grpc::status;",
        "use super::{super::grpc, *};",
        "fn f() { crate::grpc::status(1) }",
        "fn f(x: crate :: grpc :: Status) {}",
        "fn f<'a>(x: &'a str) -> Option<crate::grpc::Status> { '\"'; None }",
        "fn f() { select! { _ = crate::grpc::serve() => {} } }",
        "mod tests { use super::super::super::grpc; }",
        "mod tests { mod deep { fn f() {} } use super::super::super::grpc; }",
        "mod tests { fn f() {} } use super::super::grpc;",
        "impl From<<X as crate::grpc::Y>::Z> for W {}",
        "const A: &str = r#\"\"#; use crate::grpc; const B: &str = \"\\\"\";",
        "use crate::r#grpc;",
    ] {
        assert_eq!(faults("src/checkout/create_hold.rs", text), [fault], "{text}");
    }
}

#[test]
fn what_is_allowed_or_no_code_is_let_through() {
    for (path, text) in [
        ("src/lib.rs", "pub mod grpc; use crate::grpc::serve; use diesel::x;"),
        ("src/domain/hold.rs", "use std::fmt; use super::ids::HoldId; use crate::domain::Order;"),
        ("src/domain/hold.rs", "use Status::*; mod tests { use super::*; }"),
        ("src/domain/hold.rs", "//! use crate::db;\n/* crate::db::x /* */ crate::db */ fn f() {}"),
        ("src/domain/hold.rs", "const A: &str = \"crate::db::x\"; const B: &str = r##\"\"# crate::db::x\"##;"),
        ("src/domain/hold.rs", "const C: char = '\"'; const D: char = '\\''; const E: &str = \"crate::db::x\";"),
        ("src/checkout/mod.rs", "use crate::{db::{self, Database}, domain::Hold, lane::Lane};"),
        ("src/checkout/create_hold.rs", "mod tests { use super::super::grpc; }"),
        ("src/db/holds.rs", "use diesel::prelude::*; use crate::error::Error;"),
        ("src/grpc/service.rs", "use tonic::Status; use crate::checkout::Checkout;"),
        ("src/gateway/reply.rs", "use crate::pb; fn f(s: tonic::Status) { tonic_types::x(s) }"),
        ("src/telemetry/trace.rs", "use opentelemetry_otlp::tonic_types::x;"),
        ("src/checkout/mod.rs", "fn f(tonic: u8) -> u8 { self.diesel + tonic }"),
        ("bin/server.rs", "use flashsale::{config::ServerConfig, grpc};"),
    ] {
        assert_eq!(faults(path, text), [""; 0], "{path}: {text}");
    }
}
