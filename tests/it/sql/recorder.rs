//! Records what each use case sends: the database server's own log, so nothing can differ from what was sent.

use std::collections::BTreeMap;

use super::{
    plan::plan,
    text::{normal, statements},
};
use crate::support::{
    database::{RawConnection, TestDatabase},
    mysqld::Engine,
};

/// How the last statement begins that makes a new session ready.
const SESSION_END: &str = "DO GET_LOCK(";
/// The tables whose statements have a plan.
const TABLES: [&str; 8] = [
    "products",
    "holds",
    "orders",
    "payment_webhooks",
    "payment_exceptions",
    "stock_adjustments",
    "sweeper_state",
    "audit_state",
];

/// Collects the golden text of each use case.
pub(super) struct Recorder {
    root: RawConnection,
    engine: Engine,
    /// By the names of the use cases.
    texts: BTreeMap<&'static str, String>,
}

impl Recorder {
    /// Starts to record what is sent to a database on a server that logs into its table general_log.
    pub(super) async fn start(database: &TestDatabase, engine: Engine) -> Self {
        Self { root: database.connect().await, engine, texts: BTreeMap::new() }
    }

    /// Runs `call` and adds what it sent to the golden text of `use_case`, under a heading that says what is special.
    pub(super) async fn record<T>(
        &mut self,
        use_case: &'static str,
        heading: &str,
        call: impl Future<Output = T>,
    ) -> T {
        let (answer, part) = self.texts_of(use_case == "audit", call).await;
        self.add(use_case, heading, &part);
        answer
    }

    /// Runs many calls and adds each kind of statement that they sent, in the order of the texts.
    pub(super) async fn record_kinds(
        &mut self,
        use_case: &'static str,
        heading: &str,
        calls: impl Future<Output = ()>,
    ) {
        let ((), mut part) = self.texts_of(false, calls).await;
        part.sort();
        part.dedup();
        self.add(use_case, heading, &part);
    }

    fn add(&mut self, use_case: &'static str, heading: &str, part: &[String]) {
        let golden = self.texts.entry(use_case).or_default();
        if !golden.is_empty() {
            golden.push('\n');
        }
        golden.push_str(&format!("-- # {heading}\n\n{}\n", part.join("\n\n")));
    }

    /// Returns the answer of a call, and the golden texts of its statements.
    async fn texts_of<T>(&mut self, is_audit: bool, call: impl Future<Output = T>) -> (T, Vec<String>) {
        self.root.execute("TRUNCATE TABLE mysql.general_log").await;
        self.root.execute("SET @began = UNIX_TIMESTAMP(NOW(6))").await;
        let answer = call.await;
        // An optimistic script refuses itself after 2 s, and then MySQL's plan of it has no table.
        self.root.execute("SET timestamp = @began").await;
        let mut part: Vec<String> = Vec::new();
        for statement in self.sent().await {
            let mut text = format!("{};", normal(&statement));
            if reads_or_changes_rows(&statement) {
                // The same statement goes by the same plan.
                if part.iter().any(|earlier| earlier.starts_with(&text)) {
                    continue;
                }
                let tables = plan(&mut self.root, self.engine, &statement, is_audit).await;
                // MariaDB leaves out a joined table that no column is asked of, as some of the audit's are.
                if !is_audit {
                    text.extend(tables.iter().map(|table| format!("\n-- {table}")));
                }
            }
            part.push(text);
        }
        self.root.execute("SET timestamp = DEFAULT").await;
        (answer, part)
    }

    /// Returns the golden texts by use case.
    pub(super) async fn finish(self) -> BTreeMap<&'static str, String> {
        self.root.close().await;
        self.texts
    }

    /// Returns the statements of the service's account since the log was emptied.
    ///
    /// Those that make a new session ready, and those of a script that failed and was rolled back, are left out: only
    /// MariaDB logs what stands behind the statement that failed.
    async fn sent(&mut self) -> Vec<String> {
        let logged = "SELECT argument FROM mysql.general_log \
             WHERE user_host LIKE 'flashsale%' AND command_type IN ('Query', 'Execute')";
        let rows = self.root.query_rows(logged).await;
        // MariaDB logs a script as one row, MySQL each of its statements.
        let sent = rows.iter().flat_map(|row| statements(&row[0])).map(str::to_owned);
        let sent = sent.filter(|statement| !belongs_to_no_use_case(statement));
        let mut sent: Vec<String> = sent.collect();
        let session = sent.iter().position(|statement| statement.starts_with(SESSION_END));
        sent.drain(..session.map_or(0, |last| last + 1));
        while let Some(end) = sent.iter().position(|statement| statement == "ROLLBACK") {
            let start = sent[..end].iter().rposition(|statement| statement == "BEGIN").unwrap();
            sent.drain(start..=end);
        }
        sent
    }
}

/// Tells whether a statement belongs to no use case: the server itself sends it once a second, or a program when it
/// begins, to look for its rights.
fn belongs_to_no_use_case(statement: &str) -> bool {
    let reads_sweeps = statement.starts_with("SELECT") && statement.contains("sweeper_state");
    let looks_for_rights = statement.starts_with("EXPLAIN ");
    statement.contains("server_heartbeats") || looks_for_rights || reads_sweeps && !statement.contains("audit_state")
}

/// Tells whether a statement has a plan: one that inserts rows of its own text has none.
fn reads_or_changes_rows(statement: &str) -> bool {
    let verbs = ["SELECT", "(SELECT", "UPDATE", "DELETE", "WITH"];
    let selects = verbs.iter().any(|verb| statement.starts_with(verb))
        || statement.starts_with("INSERT") && statement.contains("SELECT");
    selects && TABLES.iter().any(|table| statement.contains(table))
}
