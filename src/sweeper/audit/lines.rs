//! The log lines of an audit: one for each finding, and the report at the end.

use tracing::{error, info, warn};

use super::AuditReport;
use crate::{
    db::audit::{Finding, Untidy},
    error::Error,
};

/// Logs a finding.
pub(super) fn finding(finding: &Finding) {
    let Finding { kind, product_id, hold_id, order_id, webhook_id, exception_id, adjustment_id, .. } = finding;
    let Finding { expected, found, what_to_do, .. } = finding;
    warn!(
        kind,
        product_id,
        hold_id,
        order_id,
        webhook_id,
        exception_id,
        adjustment_id,
        expected,
        found,
        what_to_do,
        "Audit finding"
    );
}

/// Logs the last line of an audit.
pub(super) fn report(report: &AuditReport, failure: Option<&Error>) {
    let AuditReport { findings, clock_went_back, repaired, rows, untidy, complete, unrecorded: _, took } = report;
    let [holds, orders, webhooks, exceptions, adjustments, products] = rows;
    let Untidy { holds_unswept, orders_overdue } = untidy;
    let (error, seconds) = (failure.map(tracing::field::display), took.as_secs_f64());
    // `tracing` fixes the level of a line when it is compiled.
    macro_rules! log {
        ($level:ident, $message:literal) => {
            $level!(
                error,
                findings,
                clock_went_back,
                repaired,
                products,
                holds,
                orders,
                webhooks,
                exceptions,
                adjustments,
                holds_unswept,
                orders_overdue,
                seconds,
                $message
            )
        };
    }
    match failure {
        None if *complete => log!(info, "Audit done"),
        None => log!(warn, "Audit interrupted"),
        Some(_) => log!(error, "Audit failed"),
    }
}
