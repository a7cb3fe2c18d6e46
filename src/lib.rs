//! Checkout for flash sales on plain MySQL.
//!
//! A module may use only the modules that its row names, and nothing else of this crate:
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | `bin` | the three programs | [`config`], [`gateway`], [`grpc`], [`listener`], [`metrics`], [`probes`], [`setup`], [`shutdown`], [`startup`], [`sweeper`], [`telemetry`] |
//! | [`grpc`] | the server: decode, call the checkout, encode | [`access`], [`checkout`], [`config`], [`domain`], [`error`], [`listener`], [`metrics`], [`pb`], [`probes`], [`rpc_codes`], [`shares`], [`spans`], [`telemetry`], `fuzz` |
//! | [`sweeper`] | one run of the sweep, of the audit, or of the purge | [`checkout`], [`config`], [`db`], [`domain`], [`error`], [`spans`], [`telemetry`] |
//! | [`setup`] | `server migrate` | [`checkout`], [`config`], [`db`], [`domain`], [`error`], [`startup`] |
//! | [`checkout`] | one file for each use case: lock, decide, write | [`config`], [`db`], [`domain`], [`error`], [`lane`], [`metrics`] |
//! | [`db`] | the only place with SQL | [`config`], [`domain`], [`error`], [`metrics`], [`reload`], [`spans`], `fuzz` |
//! | [`config`] | the settings of the programs | [`access`], [`certificates`], [`gateway`], [`listener`], [`reload`], [`shares`], [`startup`], [`telemetry`] |
//! | [`gateway`] | the HTTP front, which knows nothing but gRPC of the rest | [`access`], [`listener`], [`metrics`], [`pb`], [`reload`], [`seldom`], [`spans`], [`telemetry`], `fuzz` |
//! | [`access`] | who calls, and what they may call | [`listener`], [`pb`], [`reload`], `fuzz` |
//! | [`probes`] | the metrics address | [`listener`], [`metrics`] |
//! | [`telemetry`] | logs, traces and metrics | [`metrics`], [`rpc_codes`], [`seldom`], [`spans`], [`startup`] |
//! | [`lane`] | requests that wait together run together | [`error`], [`metrics`], [`shares`], [`spans`] |
//! | [`error`] | the one error of a call | [`domain`] |
//! | [`domain`] | the rules of the sale, pure functions | only `std` |
//! | [`spans`] | what requests, batches and statements were, and how long they took | [`rpc_codes`] |
//! | [`shares`] | how much of what is scarce one caller may have | – |
//! | [`startup`] | why a program ends before its work begins | – |
//! | [`metrics`] | what is counted and measured, and the page of it | [`pb`], [`rpc_codes`] |
//! | [`listener`] | taking connections, and serving HTTP on them | [`certificates`], [`reload`], [`seldom`], [`spans`] |
//! | [`certificates`] | certificates and keys in files | – |
//! | [`reload`] | values that come from files and are read anew | [`startup`] |
//! | [`rpc_codes`] | the status codes of gRPC by name | – |
//! | [`seldom`] | when a line may be written that could come very often | – |
//! | `fuzz` | inputs of the fuzz targets, in tests alone | – |
//! | [`shutdown`] | the end of a program's work | – |
//! | [`pb`] | the code generated from the service definition | – |
//!
//! These crates, and those whose names begin with theirs, may be named in few modules:
//!
//! | crates | modules |
//! |---|---|
//! | `diesel`, `deadpool`, `mysql_async` | [`db`] |
//! | `tonic` | [`gateway`], [`grpc`] |
//! | `prost` | [`gateway`], [`grpc`], [`telemetry`] |
//! | `opentelemetry` | [`metrics`], [`spans`], [`telemetry`] |
//! | `prometheus` | [`metrics`] |
//! | `flashsale_proto` | [`pb`] |
//! | `flashsale_client` | [`gateway`] |
//!
//! The test `borders` reads both tables. It fails where a path in a source file crosses a border, and where the modules
//! use each other in a circle.

pub mod access;
pub mod certificates;
pub mod checkout;
pub mod config;
pub mod db;
pub mod domain;
pub mod error;
#[cfg(test)]
pub mod fuzz;
pub mod gateway;
pub mod grpc;
pub mod lane;
pub mod listener;
pub mod metrics;
pub mod pb;
pub mod probes;
pub mod reload;
pub mod rpc_codes;
pub mod seldom;
pub mod setup;
pub mod shares;
pub mod shutdown;
pub mod spans;
pub mod startup;
pub mod sweeper;
pub mod telemetry;
