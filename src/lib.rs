//! Checkout for flash sales on plain MySQL.
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`domain`] | the rules of the sale, pure | `std` |
//! | [`error`] | the one error of the crate, plain data | `domain` |
//! | [`lane`] | requests that wait together run together | `error` |
//! | [`db`] | the only place with SQL | `domain`, `error` |
//! | [`checkout`] | one file per use case: lock, decide, write | `domain`, `lane`, `db` |
//! | [`grpc`] | the server: decode, checkout, encode | `checkout`, `pb` |
//! | [`gateway`] | the HTTP front; it knows gRPC only | `pb` |
//! | [`sweeper`] | one run of the sweep | `checkout`, `db` |
//! | [`setup`] | `server migrate` | `checkout`, `db` |
//! | [`config`], [`listener`], [`shutdown`], [`telemetry`] | what every program needs | |
//!
//! A test reads the `use` lines and fails when one crosses these borders.

pub mod checkout;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
pub mod gateway;
pub mod grpc;
pub mod lane;
pub mod listener;
pub mod pb;
pub mod setup;
pub mod shutdown;
pub mod sweeper;
pub mod telemetry;
