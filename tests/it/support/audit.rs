//! `sweeper audit` in the test's process: what it finds, in one word and one id each.

use flashsale::{
    db::{Database, audit::Finding},
    sweeper::audit::{Audit, AuditReport},
};

use super::{database::TestDatabase, server::database_config};

/// The default of FLASHSALE_AUDIT_PAGE.
pub(crate) const DEFAULT_PAGE: usize = 10_000;

/// A test that makes rows older by SQL doesn't care about the other times of such a row.
const OF_MOVED_TIMES: [&str; 4] = ["hold_times", "order_times", "order_after_hold_expired", "clock_went_back"];

/// An audit: what it found, and its report.
pub(crate) struct Audited {
    pub(crate) findings: Vec<Finding>,
    pub(crate) report: AuditReport,
}

impl Audited {
    /// Kind and id of each finding, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.findings.iter().map(name).collect();
        names.sort();
        names
    }
}

/// Kind and id of a finding: the id of the row that is off.
pub(crate) fn name(finding: &Finding) -> String {
    let Finding { kind, product_id, hold_id, order_id, webhook_id, exception_id, adjustment_id, .. } = finding;
    let ids = [exception_id, webhook_id, adjustment_id, order_id, hold_id, product_id];
    match ids.into_iter().flatten().next() {
        Some(id) => format!("{kind} {id}"),
        None => format!("{kind} {}", finding.expected),
    }
}

impl TestDatabase {
    /// Audits, `page` rows a statement.
    pub(crate) async fn audit(&self, page: usize, repair: bool) -> Audited {
        let database = Database::new(&database_config(&self.url(), 1)).unwrap();
        let mut findings = Vec::new();
        let mut audit = Audit::new(&database, page, |finding: &Finding| findings.push(finding.clone()));
        audit.run(repair, std::future::pending()).await.unwrap();
        let report = audit.report().clone();
        Audited { findings, report }
    }

    /// Fails the test, and prints all that is off, if the audit finds anything. Only a test that moved times by SQL
    /// ([`TestDatabase::move_times`]) isn't asked whether the times of a row agree.
    pub(crate) async fn assert_audit_clean(&self) {
        let mut findings = self.audit(DEFAULT_PAGE, false).await.findings;
        if self.has_moved_times() {
            findings.retain(|finding| !OF_MOVED_TIMES.contains(&finding.kind));
        }
        assert!(findings.is_empty(), "the audit of {} found {findings:#?}", self.name());
    }
}
