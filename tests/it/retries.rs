//! Checks the table of retries in [`flashsale::db`] against the real servers.
//!
//! It says which failure of the database means what, and how often the transaction runs again.

mod classification;
mod connections;
mod locks;
mod unwritable;

use std::{sync::Mutex, time::Duration};

use diesel_async::SimpleAsyncConnection;
use flashsale::db::{Connection, Database, Failure, FailureKind, Plan, Script};

use crate::support::{
    database::{RawConnection, TestDatabase},
    server::database_config,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Collects the failures that a transaction's body met, in their order.
#[derive(Default)]
struct Failures(Mutex<Vec<Failure>>);

impl Failures {
    /// Runs SQL in a transaction's body, and keeps its failure.
    async fn run(&self, conn: &mut Connection, sql: &str) -> Result<(), Failure> {
        let done = conn.batch_execute(sql).await.map_err(Failure::from);
        done.inspect_err(|failure| self.0.lock().unwrap().push(failure.clone()))
    }

    fn kinds(&self) -> Vec<FailureKind> {
        self.0.lock().unwrap().iter().map(|failure| failure.kind).collect()
    }
}

/// Returns a plan that writes nothing more than the body's statements did.
fn done() -> Plan<()> {
    Plan { script: Script::default(), value: () }
}

/// Opens a pool by an account with all rights, since these tests send statements that no program does.
fn pool(database: &TestDatabase, size: usize) -> Database {
    Database::new(&database_config(&database.owner_url(), size)).unwrap()
}

/// Makes a database with three products without stock.
async fn with_products(name: &str) -> TestDatabase {
    let database = TestDatabase::create(name).await;
    insert_products(&database).await;
    database
}

async fn insert_products(database: &TestDatabase) {
    for id in 1..=3 {
        database
            .execute(&format!(
                "INSERT INTO products (id, name, price_cents, total_stock, available_stock, request_id, \
                 request_digest, created_at) VALUES ({id}, 'Shoe', 1000, 0, 0, 'p{id}', REPEAT('d', 32), NOW())"
            ))
            .await;
    }
}

/// Returns a connection that has locked product 1.
async fn holder_of_product_1(database: &TestDatabase) -> RawConnection {
    database.lock_rows("products WHERE id = 1").await
}
