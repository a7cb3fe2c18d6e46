//! The suite: each test talks to a real database and, where it calls the service, to a real server.
//!
//! It is one binary, so that all tests share one private database server, in which each has its own database.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed; clippy knows #[test] functions only, not their helpers"
)]

use flashsale_test_support as support;

mod accept_payment;
mod access;
mod accounts;
mod adjust_stock;
mod audit;
mod batches;
mod binaries;
mod borders;
mod busy_rows;
mod canary;
mod cancel_order;
mod cancellation;
mod client;
mod clock;
mod commit;
mod create_hold;
mod create_order;
mod create_product;
mod database_tls;
mod examples;
mod exposure;
mod gateway;
mod gateway_credentials;
mod gateway_end_to_end;
mod gateway_face;
mod gateway_renewals;
mod gateway_server_away;
mod gateway_stripe;
mod gateway_webhook;
mod get_hold;
mod get_order;
mod get_product;
mod get_sale_stats;
mod given_up;
mod handle_payment_webhook;
mod harness;
mod heavy;
mod lapsed;
mod listener_tls;
mod lists;
mod literals;
mod metrics;
mod migrations;
mod operator_actions;
mod other_programs;
mod outage;
mod payment_exceptions;
mod payments_as_sent;
mod protocol;
mod purge;
mod races;
mod readiness;
mod refused_webhooks;
mod release_hold;
mod retries;
mod sale_day;
mod schema;
mod session;
mod settings;
mod shares;
mod sql;
mod sweep;
mod take_back_overdue;
mod telemetry;
mod too_late;
mod update_product;
mod wrong_writes;
