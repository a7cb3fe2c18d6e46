//! The accounts of the database: each may do what its program does, and the real server refuses everything else.

mod lacking;
mod printed;

use std::collections::BTreeSet;

use flashsale::{config::Account, db::grants::TABLES};
use mysql_async::Error;

use crate::support::{
    database::{RawConnection, TestDatabase},
    mysqld,
};

/// The numbers of the errors that mean that a right is missing.
const DENIED: [u16; 6] = [1044, 1142, 1143, 1227, 1370, 1419];

/// Tells whether the server lets the statement pass, as far as rights go.
async fn may(connection: &mut RawConnection, sql: &str) -> bool {
    match connection.try_execute(sql).await {
        Err(Error::Server(error)) if DENIED.contains(&error.code) => false,
        // Without rights, a value that a column can't have is an error as well.
        Ok(()) | Err(Error::Server(_)) => true,
        Err(error) => panic!("{error} in {sql}"),
    }
}

/// Returns the tables of the database with their columns.
async fn columns(database: &TestDatabase) -> Vec<(String, String)> {
    let columns = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()";
    database.query_rows(columns).await.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

/// A new table or column comes with a decision who may write it: in `src/db/grants.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_has_decided_who_may_write_each_column() {
    let database = TestDatabase::create("decided").await;
    let there: BTreeSet<(String, String)> = columns(&database).await.into_iter().collect();
    let decided = TABLES
        .iter()
        .flat_map(|table| table.update.iter().map(|(column, _)| (table.name.to_owned(), (*column).to_owned())));
    let decided: Vec<_> = decided.collect();
    assert_eq!(decided.len(), there.len(), "a column is listed twice, or not at all");
    assert_eq!(decided.into_iter().collect::<BTreeSet<_>>(), there);
}

/// Lists what an account may do to the rows, by the definition.
fn defined(account: Account) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for table in TABLES {
        let name = table.name;
        for (verb, accounts) in [("SELECT", table.select), ("INSERT", table.insert), ("DELETE", table.delete)] {
            rights.extend(accounts.contains(&account).then(|| format!("{verb} {name}")));
        }
        rights.extend(table.changed_by(account).iter().map(|column| format!("UPDATE {name}.{column}")));
    }
    rights
}

/// Lists what the server lets an account do to the rows, by trying everything.
async fn tried(account: &mut RawConnection, columns: &[(String, String)]) -> BTreeSet<String> {
    let mut tries = Vec::new();
    for (table, column) in columns {
        // NULL, since to read the column would take another right.
        tries.push((format!("UPDATE {table}.{column}"), format!("UPDATE {table} SET {column} = NULL WHERE FALSE")));
    }
    for table in columns.iter().map(|(table, _)| table).collect::<BTreeSet<_>>() {
        tries.push((format!("SELECT {table}"), format!("SELECT * FROM {table} LIMIT 1")));
        tries.push((format!("INSERT {table}"), format!("INSERT INTO {table} () VALUES ()")));
        tries.push((format!("DELETE {table}"), format!("DELETE FROM {table} WHERE FALSE")));
    }
    let mut allowed = BTreeSet::new();
    account.execute("BEGIN").await;
    for (right, sql) in tries {
        if may(account, &sql).await {
            allowed.insert(right);
        }
    }
    account.execute("ROLLBACK").await;
    allowed
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_may_do_what_is_defined_and_nothing_else_to_the_rows() {
    let database = TestDatabase::create("matrix").await;
    let columns = columns(&database).await;
    for account in Account::ALL.into_iter().filter(|account| *account != Account::Migrator) {
        let mut connection = RawConnection::open(&database.url_for(account)).await.unwrap();
        assert_eq!(tried(&mut connection, &columns).await, defined(account), "{account:?}");
        connection.close().await;
    }
    let mut migrator = RawConnection::open(&database.url_for(Account::Migrator)).await.unwrap();
    let allowed = tried(&mut migrator, &columns).await;
    assert!(!allowed.iter().any(|right| right.starts_with("DELETE")), "{allowed:?}");
    migrator.close().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_migrator_changes_a_table_and_nobody_locks_one_or_leaves_the_database() {
    let database = TestDatabase::create("tables").await;
    let other = TestDatabase::create_empty("other").await;
    other.execute("CREATE TABLE products (id INT)").await;
    let root = database.connect().await;
    let outside = [
        "LOCK TABLES products READ".to_owned(),
        "LOCK TABLES products WRITE".to_owned(),
        "FLUSH TABLES WITH READ LOCK".to_owned(),
        "SET GLOBAL read_only = OFF".to_owned(),
        "CREATE DATABASE it_made_by_nobody".to_owned(),
        "CREATE USER 'made_by_nobody'@'127.0.0.1'".to_owned(),
        "CREATE TRIGGER made AFTER INSERT ON holds FOR EACH ROW SET @made = 1".to_owned(),
        "CREATE PROCEDURE made() SELECT 1".to_owned(),
        "CREATE VIEW made AS SELECT * FROM products".to_owned(),
        "SELECT * FROM mysql.user".to_owned(),
        format!("SELECT * FROM `{}`.products", other.name()),
        "SELECT 1 INTO OUTFILE '/nonexistent/made'".to_owned(),
        "GRANT SELECT ON products TO 'root'@'127.0.0.1'".to_owned(),
    ];
    let of_tables = [
        "ALTER TABLE products ADD COLUMN made INT NULL",
        "CREATE INDEX made ON products (name)",
        "DROP INDEX made ON products",
        "ALTER TABLE products DROP COLUMN made",
        "CREATE TABLE made (id INT)",
        "RENAME TABLE made TO made_anew",
        "TRUNCATE TABLE made_anew",
        "DROP TABLE made_anew",
    ];
    for account in Account::ALL {
        let mut connection = RawConnection::open(&database.url_for(account)).await.unwrap();
        for sql in &outside {
            assert!(!may(&mut connection, sql).await, "{account:?} may {sql}");
        }
        for sql in of_tables {
            assert_eq!(may(&mut connection, sql).await, account == Account::Migrator, "{account:?}: {sql}");
        }
        // Each program ends its own sessions (KILL), and nobody else's.
        let killed = connection.try_execute(&format!("KILL {}", root.id())).await;
        assert!(killed.is_err(), "{account:?} may end root's session");
        connection.close().await;
    }
    root.close().await;
    database.assert_conserved().await;
    database.assert_audit_clean().await;
}

/// A run that failed is ended by KILL from another session of the same account.
#[tokio::test(flavor = "multi_thread")]
async fn each_account_may_end_its_own_sessions() {
    let database = TestDatabase::create("own_sessions").await;
    for account in Account::ALL {
        let url = database.url_for(account);
        let (mut one, other) = (RawConnection::open(&url).await.unwrap(), RawConnection::open(&url).await.unwrap());
        one.execute(&format!("KILL {}", other.id())).await;
        one.execute("DO GET_LOCK('flashsale_own_session', 0)").await;
        one.execute("DO IS_USED_LOCK('flashsale_own_session')").await;
        one.close().await;
    }
    assert_ne!(database.owner_url(), database.url(), "{}", mysqld::OWNER_USER);
}
