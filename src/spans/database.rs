//! Spans of what is sent to the database, one for each round trip.

use std::sync::OnceLock;

use opentelemetry::trace::SpanKind;

use super::{Span, are_recorded, scope};

/// Limits the bytes of a summary, as the conventions say.
const SUMMARY_MAX: usize = 255;

/// Says which database a program works on.
#[derive(Debug)]
pub struct Target {
    /// The name of the database.
    pub namespace: String,
    /// The database server's host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

static TARGET: OnceLock<Target> = OnceLock::new();

/// Says which database the spans are about. A program has one, so the first call counts.
pub fn works_on(target: Target) {
    let _first_counts = TARGET.set(target);
}

/// Holds the span of a statement, or of several that are sent together. One that is dropped took too long.
#[derive(Debug)]
pub struct Statement(Option<Span>);

impl Statement {
    /// Starts the span of a text, as a child of the current span. Without a recorded span around it, it is none.
    ///
    /// Nothing of the text is recorded but the kinds of its statements and their tables.
    pub fn start(text: &str) -> Self {
        let Some(around) = scope::current().filter(|ids| ids.is_sampled() && are_recorded()) else {
            return Self(None);
        };
        let (summary, statements) = summary(text);
        let mut span = Span::start(summary.clone(), SpanKind::Client, &around.as_parent(), Vec::new());
        // The driver speaks MySQL's protocol, also with MariaDB.
        span.set("db.system.name", "mysql");
        span.set("db.query.summary", summary);
        if let Some(operation) = scope::operation() {
            span.set("db.operation.name", operation);
        }
        if statements > 1 {
            span.set("db.operation.batch.size", i64::try_from(statements).unwrap_or(i64::MAX));
        }
        if let Some(Target { namespace, host, port }) = TARGET.get() {
            span.set("db.namespace", namespace.clone());
            span.set("server.address", host.clone());
            span.set("server.port", i64::from(*port));
        }
        Self(Some(span))
    }

    /// Ends the span. `error` is the kind of the failure, where there was one.
    pub fn ended(mut self, error: Option<&'static str>) {
        if let (Some(mut span), Some(error)) = (self.0.take(), error) {
            span.fail(error);
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        if let Some(span) = &mut self.0 {
            span.fail("timeout");
        }
    }
}

/// Returns the kinds of the statements in a text with their tables, and the number of the statements.
///
/// No text of a caller is ever part of a text with several statements, so a semicolon always ends one.
fn summary(text: &str) -> (String, usize) {
    let mut summary = String::new();
    let (mut statements, mut last, mut is_full) = (0, String::new(), false);
    for statement in text.split(';') {
        statements += 1;
        let part = part(statement);
        // A SET takes times and checks counts for the statement before it.
        if part == last || part.starts_with("SET") || is_full {
            continue;
        }
        let space = usize::from(!summary.is_empty());
        if summary.len() + space + part.len() > SUMMARY_MAX {
            is_full = true;
            continue;
        }
        if space > 0 {
            summary.push(' ');
        }
        summary.push_str(&part);
        last = part;
    }
    (summary, statements)
}

/// Returns what a statement does, and to which table first: `UPDATE products`.
fn part(statement: &str) -> String {
    let mut words = statement.split_ascii_whitespace();
    let verb = words.next().unwrap_or_default().trim_matches('(').to_ascii_uppercase();
    let mut is_target = verb == "UPDATE";
    for word in words {
        if is_target {
            let table = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            if !table.is_empty() && table != "SELECT" {
                return format!("{verb} {table}");
            }
        }
        is_target = matches!(word, "FROM" | "INTO" | "from" | "into");
    }
    verb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_kinds_and_tables_and_no_values() {
        for (text, expected) in [
            ("BEGIN", ("BEGIN", 1)),
            ("SELECT `holds`.`id` FROM `holds` WHERE (`holds`.`buyer_id` = ?) FOR UPDATE", ("SELECT holds", 1)),
            ("(SELECT `id` FROM `orders`) UNION ALL (SELECT `id` FROM `holds`)", ("SELECT orders", 1)),
            ("SELECT CAST(LAST_INSERT_ID() AS SIGNED) AS first", ("SELECT", 1)),
            ("SELECT a FROM (SELECT b FROM products) AS p", ("SELECT products", 1)),
            (
                "BEGIN;UPDATE `products` SET `available_stock` = 3 WHERE (`products`.`id` = 7);\
                 SET @rows = 18446744073709551615 + (ROW_COUNT() <> 1), @script_time = SYSDATE(6);\
                 INSERT INTO `holds` (`id`) VALUES (1), (2);COMMIT",
                ("BEGIN UPDATE products INSERT holds COMMIT", 5),
            ),
            (
                "DELETE FROM `holds` WHERE (`holds`.`id` = 1);DELETE FROM `holds` WHERE (`holds`.`id` = 2);COMMIT",
                ("DELETE holds COMMIT", 3),
            ),
        ] {
            let (summary, statements) = summary(text);
            assert_eq!((&*summary, statements), expected, "{text}");
        }
    }

    #[test]
    fn a_long_summary_ends_between_two_statements() {
        let text: Vec<String> = (0..40).map(|n| format!("DELETE FROM `table_{n:02}` WHERE `id` = 1")).collect();
        let (summary, statements) = summary(&text.join(";"));
        assert_eq!(statements, 40);
        assert!(summary.len() <= SUMMARY_MAX && summary.ends_with("DELETE table_15"), "{summary}");
    }
}
