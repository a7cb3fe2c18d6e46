//! The values of labels that are known beforehand.

use std::sync::LazyLock;

use crate::pb::RPCS;

/// Stands for all values that are not in a list.
pub(super) const OTHER: &str = "_OTHER";

/// Lists the reasons of refusals. A test holds them against the table of all errors.
pub const REASONS: &[&str] = &[
    "INVALID_ARGUMENT",
    "PRODUCT_NOT_FOUND",
    "HOLD_NOT_FOUND",
    "ORDER_NOT_FOUND",
    "PAYMENT_EXCEPTION_NOT_FOUND",
    "OUT_OF_STOCK",
    "SALE_NOT_STARTED",
    "SALE_ENDED",
    "SALE_PAUSED",
    "BUYER_LIMIT",
    "HOLD_EXPIRED",
    "HOLD_CANCELLED",
    "HOLD_USED",
    "PRICE_CHANGED",
    "ORDER_PAID",
    "PAYMENT_NOT_ACCEPTABLE",
    "REQUEST_ID_REUSED",
    "IDEMPOTENCY_KEY_REUSED",
    "LOCK_CONTENTION",
    "DATABASE_UNAVAILABLE",
    "OVERLOADED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "UNIMPLEMENTED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
];

/// Lists what a request for a hold may come to: made, made before, or refused for one of these reasons.
pub(super) const HOLD_OUTCOMES: &[&str] = &[
    "created",
    "replayed",
    "INVALID_ARGUMENT",
    "PRODUCT_NOT_FOUND",
    "OUT_OF_STOCK",
    "SALE_NOT_STARTED",
    "SALE_ENDED",
    "SALE_PAUSED",
    "BUYER_LIMIT",
    "PRICE_CHANGED",
    "REQUEST_ID_REUSED",
    "LOCK_CONTENTION",
    "DATABASE_UNAVAILABLE",
    "OVERLOADED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
];

/// Lists what may become of a payment webhook.
pub(super) const WEBHOOK_OUTCOMES: &[&str] = &[
    "applied",
    "replayed",
    "unchanged",
    "late_success",
    "duplicate_success",
    "amount_mismatch",
    "attempt_failed",
    "refused",
    "failed",
];

/// Lists why a webhook's signature was not accepted.
pub(super) const SIGNATURE_CAUSES: &[&str] = &["header", "timestamp", "too_old", "too_new", "mismatch"];

/// Lists the states that an order comes to.
pub(super) const ORDER_STATES: &[&str] = &["pending", "paid", "cancelled"];

/// Lists the conflicts over locks that the database reports.
pub(super) const CONFLICTS: &[&str] = &["deadlock", "lock_wait"];

/// Lists the failures after which a transaction is run again. A test holds them against the budgets of the retries.
pub const RETRY_REASONS: &[&str] = &["deadlock", "away", "no_connection", "too_long", "duplicate", "other"];

/// Lists the kinds of payment exceptions.
pub(super) const EXCEPTION_KINDS: &[&str] = &["late_success", "duplicate_success", "amount_mismatch"];

/// Lists what a server runs beside the transactions that have the name of their use case.
const OTHER_TRANSACTIONS: &[&str] = &["create_hold_buyers", "create_hold_without_lock", "product_is_free", "take_back"];

/// Lists the transactions of a server.
pub(super) static TRANSACTIONS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| RPCS.iter().map(|(_, use_case)| *use_case).chain(OTHER_TRANSACTIONS.iter().copied()).collect());
