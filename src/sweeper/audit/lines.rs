//! The lines of an audit: what is off, and the report at the end.

use tracing::{error, info, warn};

use super::AuditReport;
use crate::{
    db::audit::{Finding, Untidy},
    error::Error,
};

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

pub(super) fn report(report: &AuditReport, failure: Option<&Error>) {
    let AuditReport { findings, clock_went_back, repaired, rows, untidy, complete, took } = report;
    let [holds, orders, webhooks, exceptions, adjustments, products] = rows;
    let Untidy { holds_unswept, orders_overdue } = untidy;
    let seconds = took.as_secs_f64();
    match failure {
        None if *complete => info!(
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
            "Audit done"
        ),
        None => warn!(
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
            "Audit interrupted"
        ),
        Some(error) => error!(
            %error,
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
            "Audit failed"
        ),
    }
}
