//! `src/db/schema.rs` against a database that was just migrated, on the engine under test.

use std::{collections::BTreeMap, fs};

use crate::support::database::TestDatabase;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/db/schema.rs");

/// The SQL types that stand for an enum's column, and its words in the order of the migrations.
const ENUMS: [(&str, &str); 7] = [
    ("HoldsStatusEnum", "enum('active','used','expired','cancelled')"),
    ("OrdersSettledByEnum", "enum('payment','acceptance','no_charge','failure','caller','overdue')"),
    ("OrdersStatusEnum", "enum('pending','paid','cancelled')"),
    ("PaymentExceptionsKindEnum", "enum('late_success','duplicate_success','amount_mismatch')"),
    ("PaymentWebhooksOrderStatusEnum", "enum('pending','paid','cancelled')"),
    (
        "PaymentWebhooksResultEnum",
        "enum('applied','unchanged','late_success','duplicate_success','amount_mismatch','attempt_failed')",
    ),
    ("PaymentWebhooksStatusEnum", "enum('success','failure','attempt_failed')"),
];

/// Holds the tables by name: the lines that diesel's macro has for each, from `holds (id) {` on.
type Tables = BTreeMap<String, Vec<String>>;

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_in_the_code_is_the_migrated_databases() {
    let database = TestDatabase::create("schema").await;
    let text = fs::read_to_string(FILE).unwrap();
    let written = written(&text);
    let migrated = migrated(&database, &written).await;
    assert_eq!(written, migrated, "{FILE} differs from the migrations: left is the file");
    let joinable = text.split_once("allow_tables_to_appear_in_same_query!").unwrap().1;
    for table in migrated.keys() {
        assert!(joinable.contains(&format!(" {table},")), "{table} can't be joined");
    }
}

/// Reads the tables of the file, as `diesel print-schema` writes it.
fn written(text: &str) -> Tables {
    let mut tables = Tables::new();
    for body in text.split("diesel::table! {").skip(1) {
        let lines = body.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines = lines.skip_while(|line| !line.ends_with(") {")).take_while(|line| *line != "}");
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        let (name, _key) = lines[0].split_once(' ').unwrap();
        tables.insert(name.to_owned(), lines);
    }
    tables
}

/// Describes the database's tables in the same way.
async fn migrated(database: &TestDatabase, written: &Tables) -> Tables {
    let columns = "SELECT table_name, column_name, column_type, is_nullable, column_key, character_maximum_length \
          FROM information_schema.columns \
         WHERE table_schema = DATABASE() AND table_name <> '__diesel_schema_migrations' \
         ORDER BY table_name, ordinal_position";
    let mut tables = Tables::new();
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in database.query_rows(columns).await {
        let [table, name, sql_type, nullable, key, length] = row.as_slice() else { unreachable!("six columns") };
        if key == "PRI" {
            keys.entry(table.clone()).or_default().push(name.clone());
        }
        let lines = tables.entry(table.clone()).or_default();
        if length != "NULL" {
            lines.push(format!("#[max_length = {length}]"));
        }
        // Two enums may have the same words.
        let in_file =
            written.get(table).and_then(|lines| lines.iter().find(|line| line.starts_with(&format!("{name} -> "))));
        let diesel_type = diesel_type(sql_type, in_file.map_or("", String::as_str));
        let diesel_type = if nullable == "YES" { format!("Nullable<{diesel_type}>") } else { diesel_type };
        lines.push(format!("{name} -> {diesel_type},"));
    }
    for (table, lines) in &mut tables {
        lines.insert(0, format!("{table} ({}) {{", keys[table].join(", ")));
    }
    tables
}

/// Returns the type by which diesel knows a column's type. Of several enums with the same words it is the file's.
fn diesel_type(sql_type: &str, in_file: &str) -> String {
    if sql_type.starts_with("enum(") {
        let names = ENUMS.iter().filter(|(_, words)| *words == sql_type).map(|(name, _)| *name);
        let names: Vec<&str> = names.collect();
        let named = names.iter().find(|name| in_file.contains(*name));
        return named.map_or_else(|| format!("one of {names:?} for {sql_type}"), |name| (*name).to_owned());
    }
    let (signed, wrap) = match sql_type.strip_suffix(" unsigned") {
        Some(signed) => (signed, true),
        None => (sql_type, false),
    };
    let (name, _length) = signed.split_once('(').unwrap_or((signed, ""));
    let name = match name {
        _ if signed == "tinyint(1)" => "Bool".to_owned(),
        "int" => "Integer".to_owned(),
        name => name[..1].to_uppercase() + &name[1..],
    };
    if wrap { format!("Unsigned<{name}>") } else { name }
}
