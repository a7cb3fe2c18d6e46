//! Runs `sweeper audit` in the test's process and names each finding by one word and one id.

use flashsale::{
    config::Account,
    db::{Database, audit::Finding},
    sweeper::audit::{Audit, AuditReport},
};

use super::{database::TestDatabase, server::database_config};

/// The default of FLASHSALE_AUDIT_PAGE.
pub const DEFAULT_PAGE: usize = 10_000;

/// Findings about times that don't agree, which a test causes when it makes rows older by SQL.
const MOVED_TIME_KINDS: [&str; 4] = ["hold_times", "order_times", "order_after_hold_expired", "clock_went_back"];

/// Holds what an audit found.
pub struct Audited {
    /// All findings, in the order of the audit.
    pub findings: Vec<Finding>,
    /// The audit's own summary.
    pub report: AuditReport,
}

impl Audited {
    /// Returns kind and id of each finding, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.findings.iter().map(name).collect();
        names.sort();
        names
    }
}

/// Returns a finding's kind and the id of the row that it is about.
pub fn name(finding: &Finding) -> String {
    let Finding { kind, product_id, hold_id, order_id, webhook_id, exception_id, adjustment_id, .. } = finding;
    let ids = [exception_id, webhook_id, adjustment_id, order_id, hold_id, product_id];
    match ids.into_iter().flatten().next() {
        Some(id) => format!("{kind} {id}"),
        None => format!("{kind} {}", finding.expected),
    }
}

impl TestDatabase {
    /// Audits with `page` rows in each statement.
    pub async fn audit(&self, page: usize, repair: bool) -> Audited {
        let account = if repair { Account::Repairer } else { Account::Auditor };
        let database = Database::new(&database_config(&self.url_for(account), 1)).unwrap();
        let mut findings = Vec::new();
        let mut audit = Audit::new(&database, page, |finding: &Finding| findings.push(finding.clone()));
        audit.run(repair, std::future::pending()).await.unwrap();
        let report = audit.report().clone();
        Audited { findings, report }
    }

    /// Fails the test if the audit finds anything, and prints the findings.
    ///
    /// After [`TestDatabase::move_times`] the times of a row need not agree with each other.
    pub async fn assert_audit_clean(&self) {
        let mut findings = self.audit(DEFAULT_PAGE, false).await.findings;
        if self.has_moved_times() {
            findings.retain(|finding| !MOVED_TIME_KINDS.contains(&finding.kind));
        }
        assert!(findings.is_empty(), "the audit of {} found {findings:#?}", self.name());
    }
}
