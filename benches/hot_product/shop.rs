//! Starts the measured processes: a private database, the service's own programs, and the references.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use flashsale::config::Account;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    reference,
    support::{
        database::TestDatabase,
        mysqld::{Mysqld, free_port},
        place,
        process::Program,
        programs, signal, wait,
    },
};

const START_MAX: Duration = Duration::from_secs(60);
/// The settings that an operator would choose on a machine of this size, with the engine's default durability.
///
/// Each engine takes its own settings and passes over the other's.
const OPTIONS: [&str; 3] =
    ["--innodb-buffer-pool-size=2G", "--loose-innodb-log-file-size=1G", "--loose-innodb-redo-log-capacity=1G"];
/// The settings that the report shows.
const SETTINGS: [&str; 8] = [
    "innodb_flush_log_at_trx_commit",
    "sync_binlog",
    "log_bin",
    "innodb_doublewrite",
    "innodb_flush_method",
    "innodb_buffer_pool_size",
    "innodb_log_file_size",
    "innodb_redo_log_capacity",
];

/// Holds a process under measurement; a drop kills it.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: String,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process by SIGTERM.
    pub(crate) async fn stop(&mut self) {
        signal::send(self.pid(), "TERM");
        let child = &mut self.child;
        wait::eventually(programs::STOP_LIMIT, "the end of a program", async || child.try_wait().unwrap().is_some())
            .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Holds the database, and the folder of the processes' logs.
pub(crate) struct Shop {
    // The database stands before the server that it is dropped from.
    pub(crate) database: TestDatabase,
    pub(crate) mysqld: Mysqld,
    pub(crate) version: String,
    pub(crate) settings: BTreeMap<String, String>,
    folder: TempDir,
}

impl Shop {
    /// Starts the database.
    pub(crate) async fn open() -> Self {
        let mysqld = Mysqld::start_private(&OPTIONS).await;
        let database = TestDatabase::create_on(&mysqld, "bench").await;
        let version = database.query_rows("SELECT CONCAT(@@version_comment, ' ', VERSION())").await[0][0].clone();
        let list = SETTINGS.map(|name| format!("'{name}'")).join(",");
        let rows = database.query_rows(&format!("SHOW GLOBAL VARIABLES WHERE variable_name IN ({list})")).await;
        let settings = rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(place::scratch()).unwrap();
        Self { database, mysqld, version, settings, folder }
    }

    /// Returns the folder of what the run writes and nobody keeps.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the real server.
    pub(crate) async fn server(&self) -> Process {
        self.server_at(&format!("127.0.0.1:{}", free_port())).await
    }

    /// Starts the real server on a known address.
    pub(crate) async fn server_at(&self, address: &str) -> Process {
        self.server_of(&Program::Server.path(), address, &[]).await
    }

    /// Starts a server of any build, with further settings.
    pub(crate) async fn server_of(&self, program: &Path, address: &str, env: &[(String, String)]) -> Process {
        let mut command = Command::new(program);
        command.env("DATABASE_URL", self.database.url()).env("FLASHSALE_LISTEN", address);
        command.envs(env.iter().map(|(key, value)| (key, value)));
        self.start(command, address).await
    }

    /// Starts the real gateway, or another build's, in front of the server of any design.
    pub(crate) async fn gateway(&self, program: Option<&Path>, server: &str) -> Process {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program.map_or_else(|| Program::Gateway.path(), Path::to_owned));
        command
            .env("FLASHSALE_GATEWAY_LISTEN", &address)
            .env("FLASHSALE_SERVER_URL", format!("http://{server}"))
            .env("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");
        self.start(command, &address).await
    }

    /// Returns the command of the real sweeper.
    pub(crate) fn sweeper(&self) -> Command {
        let mut command = Command::new(Program::Sweeper.path());
        command.env("DATABASE_URL", self.database.url_for(Account::Sweeper));
        command
    }

    /// Starts a reference, which is this program again.
    pub(crate) async fn reference(&self, kind: &str, url: &str) -> Process {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([reference::COMMAND, kind, &address, url]);
        self.start(command, &address).await
    }

    /// Starts a collector of spans.
    pub(crate) async fn collector(&self) -> Process {
        self.reference(reference::COLLECTOR, "").await
    }

    /// Starts a Redis that keeps only its append-only file, synced as said; `None` where Redis isn't installed.
    pub(crate) async fn redis(&self, appendfsync: &str) -> Option<Process> {
        let port = free_port();
        let folder = self.folder.path().join(format!("redis-{appendfsync}"));
        fs::create_dir(&folder).unwrap();
        let mut command = Command::new(redis_server()?);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"]).arg(&folder);
        command.args(["--appendonly", "yes", "--appendfsync", appendfsync, "--save", ""]);
        Some(self.start(command, &format!("127.0.0.1:{port}")).await)
    }

    /// Starts a process with its output in a file, and waits until it accepts connections.
    async fn start(&self, mut command: Command, address: &str) -> Process {
        let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.folder.path().join(format!("{program}-{}.log", address.replace(':', "-")));
        let log = File::options().create(true).append(true).open(&path).unwrap();
        command.env("FLASHSALE_METRICS_LISTEN", format!("127.0.0.1:{}", free_port()));
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut process = Process { child, address: address.to_owned() };
        wait::eventually(START_MAX, &program, async || {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{program}: {}", fs::read_to_string(&path).unwrap_or_default());
            TcpStream::connect(address).await.is_ok()
        })
        .await;
        process
    }

    /// Reads counters of the database server.
    pub(crate) async fn status(&self, names: &[&str]) -> Vec<u64> {
        let list: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        let query = format!("SHOW GLOBAL STATUS WHERE variable_name IN ({})", list.join(","));
        let rows = self.database.query_rows(&query).await;
        let find = |name: &&str| rows.iter().find(|row| row[0].eq_ignore_ascii_case(name));
        names.iter().map(|name| find(name).and_then(|row| row[1].parse().ok()).unwrap_or(0)).collect()
    }

    /// Empties the tables of the sale.
    ///
    /// Products are deleted, not truncated, so that no id comes back that a server still knows.
    pub(crate) async fn empty(&self) {
        for table in ["holds", "orders", "payment_webhooks"] {
            self.database.execute(&format!("TRUNCATE {table}")).await;
        }
        self.database.execute("DELETE FROM products").await;
    }

    /// Returns the process id of the database.
    pub(crate) fn database_pid(&self) -> u32 {
        self.mysqld.pid().unwrap()
    }
}

/// Returns the program, where it is installed.
fn redis_server() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|place| place.join("redis-server")).find(|file| file.is_file())
}

/// Returns the version that Redis tells.
pub(crate) fn redis_version() -> Option<String> {
    let output = Command::new(redis_server()?).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
