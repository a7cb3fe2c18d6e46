//! Shows that every program works in the database that its URL names, and in no other.

use std::{fs, os::unix::fs::symlink, time::Duration};

use flashsale::config::Account as Of;
use tempfile::TempDir;

use crate::support::{
    database::{RawConnection, TestDatabase},
    mysqld::{Account, Mysqld, SERVICE_PASSWORD, url, user},
    process::{Process, Program},
    programs::{ServerProgram, migrate, sweep},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Reads what a sale and a sweep leave in a database.
const TRACES: &str = "SELECT (SELECT COUNT(*) FROM products), (SELECT COUNT(*) FROM holds), \
    (SELECT COUNT(*) FROM orders), (SELECT runs FROM sweeper_state)";

/// Runs two servers that have a database of the same name and an account with the same password.
struct Two {
    named: TestDatabase,
    stranger: RawConnection,
    /// The socket that the named server announces, and at which the stranger listens.
    ///
    /// The named server stands for one on another machine or behind a tunnel, and the stranger for this machine's own.
    socket: String,
    _running: ([Mysqld; 2], TempDir),
}

impl Two {
    async fn start() -> Self {
        // A socket's path has at most 107 bytes, and the build's folder may have a long path.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database.sock");
        let socket = path.display().to_string();
        let named_server = Mysqld::start_private(&[&format!("--socket={socket}")]).await;
        let strange_server = Mysqld::start_private(&[]).await;
        fs::remove_file(&path).unwrap();
        symlink(strange_server.folder().join("data/server.sock"), &path).unwrap();

        let named = TestDatabase::create_on(&named_server, "named").await;
        let mut root = RawConnection::open(&url(Account::Root, strange_server.port(), "")).await.unwrap();
        root.execute(&format!("CREATE DATABASE `{}`", named.name())).await;
        // Whatever program went there would be let in.
        for account in Of::ALL {
            let user = user(Account::Of(account));
            root.execute(&format!("CREATE USER '{user}'@'localhost' IDENTIFIED BY '{SERVICE_PASSWORD}'")).await;
            for host in ["localhost", "127.0.0.1"] {
                root.execute(&format!("GRANT ALL ON `it\\_%`.* TO '{user}'@'{host}'")).await;
            }
        }
        root.close().await;
        let (code, _) = migrate(&url(Account::Owner, strange_server.port(), named.name()), &[]).await;
        assert_eq!(code, 0);
        let stranger = RawConnection::open(&url(Account::Root, strange_server.port(), named.name())).await.unwrap();
        Self { named, stranger, socket, _running: ([named_server, strange_server], folder) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_moves_to_the_socket_that_the_database_server_names() {
    let mut two = Two::start().await;
    let url = two.named.url();
    let (code, _) = migrate(&url, &["--seed"]).await;
    assert_eq!(code, 0);
    let server = ServerProgram::start(&url, &[]).await;
    let product = server.clients.create_product("Shoe", 1000, 10).await;
    let hold = server.clients.hold(product.product_id, 1).await.unwrap();
    server.clients.order(hold.hold_id).await.unwrap();
    let (code, _, _) = sweep(&url, &[]).await;
    assert_eq!(code, 0);
    let mut audit = Process::spawn(Program::Sweeper, &["audit"], &[("DATABASE_URL", &two.named.url_for(Of::Auditor))]);
    assert_eq!(audit.wait_exit(LIMIT).await, 0);
    let audited = &audit.lines_of("Audit done")[0];
    assert_eq!(audited["products"], 2, "{audited}");
    server.stop().await;
    assert_eq!(two.stranger.query_rows(TRACES).await, [["0", "0", "0", "0"]], "sold from another database");
    assert_eq!(two.named.query_rows(TRACES).await, [["2", "1", "1", "1"]]);

    // The URL itself may ask for a socket.
    let (code, _, _) = sweep(&format!("{url}?socket={}", two.socket), &[]).await;
    assert_eq!(code, 0);
    assert_eq!(two.stranger.query_rows(TRACES).await, [["0", "0", "0", "1"]]);
    two.named.assert_conserved().await;
}
