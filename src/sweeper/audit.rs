//! `sweeper audit`: reads all tables during the sale, logs each fault, and repairs what is safe to repair.
//!
//! | line | level | fields |
//! |---|---|---|
//! | `Audit finding` | warn | kind, the ids, expected, found, what_to_do |
//! | `Available stock repaired` | warn | product_id, available_stock_before, available_stock |
//! | `Available stock not repaired` | warn | product_id, why |
//! | `Audit done`, `Audit interrupted`, `Audit failed` | info, warn, error | findings, repaired, rows of each table, holds_unswept, orders_overdue, seconds |
//!
//! A product's stock is repaired only where the product has no other finding. Any other finding puts the rows in doubt
//! that the repair would trust.

mod lines;

use std::{
    collections::BTreeSet,
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use tracing::warn;

use super::{is_over, traced};
use crate::{
    checkout::repair_available_stock::{Repair, repair_available_stock},
    config::{Account, DatabaseConfig},
    db::{
        Connection, Database, Failure, Plan, Script,
        audit::{
            self, CLOCK_WENT_BACK, CONFIRM_MAX, Check, Finding, Range, Rows, STOCK_NOT_CONSERVED, TABLES, Table, Untidy,
        },
        audit_state,
    },
    domain::ProductId,
    error::Error,
    spans,
};

/// Limits how long one statement may take: enough for the sums of a product with a hundred million holds.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Counts what an audit has found and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Faults. Each of them is logged.
    pub findings: u64,
    /// Rows that show that the database's clock went back. Each of them is logged, and none is a fault.
    pub clock_went_back: u64,
    /// Products whose available_stock was corrected.
    pub repaired: u64,
    /// Rows that were read, in the order of [`TABLES`].
    pub rows: [i64; TABLES.len()],
    /// What no sweep has tidied up yet. It is no fault.
    pub untidy: Untidy,
    /// Whether all rows were read. A shutdown may come before.
    pub complete: bool,
    /// Whether writing down how it ended has failed, so that the servers' metrics show the audit before.
    pub unrecorded: bool,
    /// How long the audit took.
    pub took: Duration,
}

/// Says why an audit doesn't end well although nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unclean {
    /// The audit found this number of faults.
    #[error("the audit found {0} faults: see \"Audit finding\" in its log")]
    Findings(u64),
    /// The audit found no fault, and its end could not be written down.
    #[error("the audit was not recorded: see \"Audit not recorded\" in its log")]
    NotRecorded,
    /// A shutdown interrupted the audit.
    #[error("the audit was interrupted before its end")]
    Interrupted,
}

impl AuditReport {
    /// Says whether all is well. A repaired product is not: somebody has to find out why it was wrong.
    ///
    /// # Errors
    /// [`Unclean`]: there are findings, or the audit was interrupted.
    pub fn verdict(&self) -> Result<(), Unclean> {
        match self {
            Self { findings: 1.., .. } => Err(Unclean::Findings(self.findings)),
            Self { complete: false, .. } => Err(Unclean::Interrupted),
            Self { unrecorded: true, .. } => Err(Unclean::NotRecorded),
            Self { .. } => Ok(()),
        }
    }
}

/// Audits once, and logs the report as its last line. A shutdown ends it at once, or after the current repair.
///
/// # Errors
/// The errors of [`Database::read`] and [`Database::transaction`].
pub async fn run(
    config: &DatabaseConfig,
    page: usize,
    repair: bool,
    shutdown: impl Future<Output = ()>,
) -> Result<AuditReport, Error> {
    let started = Instant::now();
    let mut audit = Audit::new(&Database::new(config)?, page, lines::finding);
    let work = async {
        let done = audit.run(repair, shutdown).await;
        audit.report.unrecorded = record(&audit).await.is_err();
        audit.report.took = started.elapsed();
        done
    };
    let (done, span) = traced("audit", work).await;
    let report = audit.report;
    spans::within(span, || lines::report(&report, done.as_ref().err()));
    done.map(|()| report)
}

/// Records how an audit ended, for the metrics of the servers.
///
/// An audit that didn't get to its end may have missed findings, so it is recorded only where it has some. An audit that
/// can't be recorded isn't done well: the servers' metrics would go on showing the one before.
async fn record<F>(audit: &Audit<F>) -> Result<(), Error> {
    let AuditReport { findings, complete, .. } = audit.report;
    if !complete && findings == 0 {
        return Ok(());
    }
    let recorded = audit.database.transaction("record_audit", async |_conn: &mut Connection, _attempt| {
        let mut script = Script::default();
        audit_state::record(&mut script, findings);
        Ok::<_, Failure>(Plan { script, value: () })
    });
    recorded
        .await
        .map(drop)
        .inspect_err(|error| warn!(%error, "Audit not recorded: the servers' metrics show the one before"))
}

/// Runs an audit.
pub struct Audit<F> {
    database: Database,
    page: usize,
    on_finding: F,
    report: AuditReport,
    /// Products whose stock doesn't add up.
    unconserved: BTreeSet<i64>,
    /// Products with another finding.
    doubtful: BTreeSet<i64>,
    /// Whether a finding may be about any product.
    all_doubtful: bool,
}

impl<F: FnMut(&Finding)> Audit<F> {
    /// Makes an audit that reads `page` rows in a statement, and reports each finding once it is confirmed.
    pub fn new(database: &Database, page: usize, on_finding: F) -> Self {
        Self {
            database: database.clone(),
            page,
            on_finding,
            report: AuditReport::default(),
            unconserved: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            all_doubtful: false,
        }
    }

    /// Returns what was found so far.
    pub fn report(&self) -> &AuditReport {
        &self.report
    }

    /// Reads all tables, and then repairs where that is asked for.
    ///
    /// # Errors
    /// The errors of [`Database::read`] and [`Database::transaction`]. Findings before an error are reported.
    pub async fn run(&mut self, repair: bool, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut shutdown = pin!(shutdown);
        // What an account may not see would look like a fault, such as a key that is missing.
        let account = if repair { Account::Repairer } else { Account::Auditor };
        let check = async {
            self.database.check_rights(account).await?;
            self.check_tables().await
        };
        // Reading may end anywhere: the connection closes, and nothing was changed.
        tokio::select! {
            biased;
            () = shutdown.as_mut() => return Ok(()),
            checked = check => checked?,
        }
        if repair {
            for product_id in std::mem::take(&mut self.unconserved) {
                if is_over(shutdown.as_mut()).await {
                    return Ok(());
                }
                self.repair(product_id).await?;
            }
        }
        self.report.complete = true;
        Ok(())
    }

    async fn check_tables(&mut self) -> Result<(), Error> {
        let (findings, readable) = self
            .database
            .read("audit_keys", async |conn: &mut Connection, _attempt| audit::key_faults(conn).await)
            .await?;
        findings.iter().for_each(|finding| self.add(finding));
        if !readable {
            return Ok(());
        }
        for (index, table) in TABLES.iter().enumerate() {
            self.check_table(index, table).await?;
        }
        let untidy =
            self.database.read_within(STATEMENT_LIMIT, "audit_untidy", async |conn: &mut Connection, _attempt| {
                audit::untidy(conn).await
            });
        self.report.untidy = untidy.await?;
        Ok(())
    }

    /// Reads a table page by page, up to the row that was its last at the start.
    async fn check_table(&mut self, index: usize, table: &'static Table) -> Result<(), Error> {
        let last = self
            .database
            .read("audit_last_id", async |conn: &mut Connection, _attempt| audit::last_id(conn, table).await);
        let mut rest = Range { after: i64::MIN, up_to: last.await? };
        let limit = match table.rows {
            Rows::One => 1,
            Rows::Page => self.page,
        };
        loop {
            let page = self.database.read("audit_page", async |conn: &mut Connection, _attempt| {
                audit::page(conn, table, rest, limit).await
            });
            let Some((up_to, count)) = page.await? else { return Ok(()) };
            self.check_range(table, Range { up_to, ..rest }).await?;
            self.report.rows[index] += count;
            rest.after = up_to;
        }
    }

    async fn check_range(&mut self, table: &'static Table, range: Range) -> Result<(), Error> {
        let suspects =
            self.database.read_within(STATEMENT_LIMIT, "audit_suspects", async |conn: &mut Connection, _attempt| {
                audit::suspects(conn, table, range).await
            });
        for (check, ids) in suspects.await? {
            for ids in ids.chunks(CONFIRM_MAX) {
                self.confirm(table, check, ids).await?;
            }
        }
        Ok(())
    }

    async fn confirm(&mut self, table: &'static Table, check: &'static Check, ids: &[i64]) -> Result<(), Error> {
        let confirmed =
            self.database.read_within(STATEMENT_LIMIT, "audit_confirm", async |conn: &mut Connection, _attempt| {
                audit::confirm(conn, table, check, ids).await
            });
        confirmed.await?.iter().for_each(|finding| self.add(finding));
        Ok(())
    }

    fn add(&mut self, finding: &Finding) {
        let counter = match finding.kind {
            CLOCK_WENT_BACK => &mut self.report.clock_went_back,
            _ => &mut self.report.findings,
        };
        *counter += 1;
        let products = finding.product_id.into_iter().chain(finding.related_product_id);
        match finding.kind {
            // This finding says nothing about stock.
            CLOCK_WENT_BACK => {}
            STOCK_NOT_CONSERVED => self.unconserved.extend(products),
            _ if finding.product_id.is_none() => self.all_doubtful = true,
            _ => self.doubtful.extend(products),
        }
        (self.on_finding)(finding);
    }

    async fn repair(&mut self, product_id: i64) -> Result<(), Error> {
        let not_repaired = |why| warn!(product_id, why, "Available stock not repaired");
        if self.all_doubtful || self.doubtful.contains(&product_id) {
            not_repaired("other findings put its holds or orders in doubt: deal with them first");
            return Ok(());
        }
        match repair_available_stock(&self.database, ProductId::stored(product_id)).await? {
            Repair::Repaired(before, available_stock) => {
                self.report.repaired += 1;
                let available_stock_before = before.available_stock;
                warn!(product_id, available_stock_before, available_stock, "Available stock repaired");
            }
            Repair::Unneeded => not_repaired("it adds up by now"),
            Repair::Refused => not_repaired("more is held and ordered by now than there is"),
        }
        Ok(())
    }
}
