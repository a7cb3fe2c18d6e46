//! Starts private database servers, never a system's own server.
//!
//! All tests of the process share one server. A test that stops, kills or reconfigures its server starts another one.
//! Each server has its own folder and port, and the engine's default durability: a commit is on disk.
//!
//! Two defaults are traps on purpose: the time zone isn't UTC, and the isolation is the engine's REPEATABLE READ. The
//! service's sessions have to set both.

mod engine;
mod supervisor;
mod template;

use std::{
    ffi::OsString,
    fs,
    io::Read,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

pub use self::engine::Engine;
use self::{
    engine::{Program, data_option},
    supervisor::Supervised,
};
use crate::{place, signal, wait};

/// What stands before the names of the service's accounts.
pub const USER_PREFIX: &str = "flashsale_";
/// The user of an installation that has one account for all programs.
pub const OWNER_USER: &str = "flashsale";
/// The password of each of the service's accounts, with characters that a URL must escape.
pub const SERVICE_PASSWORD: &str = "p@ss/w:rd";
const SERVICE_PASSWORD_IN_URL: &str = "p%40ss%2Fw%3Ard";

/// How long a server may take to start: the machine may be compiling at the same time.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How often a start is tried: another program may take the port that was found free.
const START_TRIES: usize = 3;

const FOLDER_PREFIX: &str = "mysqld-";
const TEMPLATE_PREFIX: &str = "template-";

/// Says who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// One of the service's accounts, with the rights that `server grants` prints.
    Of(flashsale::config::Account),
    /// The account of an installation that has one for all programs: all rights on the tests' databases.
    Owner,
    /// The tests' account, to look and to disturb: all rights, no password.
    Root,
}

/// Runs a database server; a drop kills it and removes its folder.
pub struct Mysqld {
    instance: Arc<Instance>,
}

struct Instance {
    program: Program,
    port: u16,
    options: Mutex<Vec<String>>,
    /// Stands before `folder`, so that the process has ended when the folder is removed.
    running: Mutex<Option<Supervised>>,
    folder: TempDir,
}

impl Mysqld {
    /// Returns the server that the tests of this process share. The first call starts it and blocks meanwhile.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Mysqld, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            remove_leftovers(&place::scratch());
            Self::create(&[])
        });
        match shared {
            Ok(mysqld) => mysqld,
            Err(error) => panic!("the database server did not start: {error}"),
        }
    }

    /// Starts a server for the caller alone, with `options` beside the usual ones.
    pub async fn start_private(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let created = tokio::task::spawn_blocking(move || Self::create(&options)).await;
        created.unwrap().unwrap()
    }

    /// Shuts the server down by SIGTERM and waits for its end.
    pub async fn stop(&self) {
        self.end("TERM").await;
    }

    /// Kills the server by SIGKILL and waits for its end.
    pub async fn kill(&self) {
        self.end("KILL").await;
    }

    async fn end(&self, signal: &'static str) {
        let instance = Arc::clone(&self.instance);
        let ended = tokio::task::spawn_blocking(move || instance.end(signal)).await;
        ended.unwrap();
    }

    /// Starts the server again after [`Self::stop`] or [`Self::kill`], with the same port, data and options.
    pub async fn start(&self) {
        let instance = Arc::clone(&self.instance);
        let started = tokio::task::spawn_blocking(move || instance.start()).await;
        started.unwrap().unwrap();
    }

    /// Starts the server again with other `options`, which it keeps.
    pub async fn start_with(&self, options: &[&str]) {
        *self.instance.options.lock().unwrap() = options.iter().map(|&option| option.to_owned()).collect();
        self.start().await;
    }

    /// Returns the server's engine.
    pub fn engine(&self) -> Engine {
        self.instance.program.engine
    }

    /// Returns the server's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.instance.port
    }

    /// Returns the server's process id, or `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        let running = self.instance.running.lock().unwrap();
        running.as_ref().map(|running| running.pid)
    }

    /// Returns the server's folder, which is removed with the server.
    pub fn folder(&self) -> &Path {
        self.instance.folder.path()
    }

    /// Returns what the server has logged.
    pub fn log(&self) -> String {
        self.instance.log()
    }

    fn create(options: &[String]) -> Result<Self, String> {
        let program = Program::find()?;
        let place = &place::scratch();
        let folder = tempfile::Builder::new()
            .prefix(&format!("{FOLDER_PREFIX}{}-", process::id()))
            .tempdir_in(place)
            .map_err(|error| format!("{}: {error}", place.display()))?;
        template::copy(&program, place, folder.path(), &folder.path().join("data"))?;

        let mut instance =
            Instance { program, port: 0, options: Mutex::new(options.to_vec()), running: Mutex::new(None), folder };
        for try_number in 1..=START_TRIES {
            instance.port = free_port();
            match instance.start() {
                Err(error) if try_number < START_TRIES && error.contains("Address already in use") => {}
                started => {
                    started?;
                    break;
                }
            }
        }
        Ok(Self { instance: Arc::new(instance) })
    }
}

impl Instance {
    fn start(&self) -> Result<(), String> {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "the database server is running already");
        let folder = self.folder.path();
        let mut options = self.program.base_options();
        options.push(data_option(&folder.join("data")));
        options.push(pid_option(folder));
        options.push(tmpdir_option(folder)?);
        options.extend(
            [
                // The socket is in the data folder, since an absolute path may be too long for a socket's name.
                "--socket=server.sock",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--max-connections=1000",
                "--default-time-zone=+05:30",
            ]
            .map(OsString::from),
        );
        options.push(format!("--port={}", self.port).into());
        options.extend(self.options.lock().unwrap().iter().map(OsString::from));

        let mut server = Supervised::start(folder, self.program.path.as_os_str(), &options)?;
        let ready = wait::look_until(START_LIMIT, || {
            if server.has_ended() {
                return Some(Err("it ended"));
            }
            greets(self.port).then_some(Ok(()))
        });
        if let Err(problem) = ready.unwrap_or(Err("it answered no connection in time")) {
            let log = self.log();
            // The supervisor would remove the folder, which the next try needs.
            signal::send(server.pid, "KILL");
            server.wait_end(STOP_LIMIT);
            return Err(format!("{}: {problem}; its log:\n{log}", self.program.path.display()));
        }
        *running = Some(server);
        Ok(())
    }

    fn end(&self, signal: &str) {
        let mut running = self.running.lock().unwrap();
        let server = running.as_mut().unwrap();
        signal::send(server.pid, signal);
        assert!(server.wait_end(STOP_LIMIT), "the database server did not end; its log:\n{}", self.log());
        *running = None;
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }
}

/// Returns the URL of `database` on the server, or on a proxy in front of it, at `port`.
pub fn url(account: Account, port: u16, database: &str) -> String {
    let login = match account {
        Account::Of(_) | Account::Owner => format!("{}:{SERVICE_PASSWORD_IN_URL}", user(account)),
        Account::Root => user(account),
    };
    format!("mysql://{login}@127.0.0.1:{port}/{database}")
}

/// Returns the user of an account.
pub fn user(account: Account) -> String {
    match account {
        Account::Of(account) => format!("{USER_PREFIX}{}", account.name()),
        Account::Owner => OWNER_USER.to_owned(),
        Account::Root => "root".to_owned(),
    }
}

/// Returns the server's URL with the login of another of the service's accounts. Any other URL stays as it is.
pub fn as_account(account: flashsale::config::Account, server_url: &str) -> String {
    let server = user(Account::Of(flashsale::config::Account::Server));
    server_url.replacen(&format!("://{server}:"), &format!("://{}:", user(Account::Of(account))), 1)
}

fn pid_option(folder: &Path) -> OsString {
    let mut option = OsString::from("--pid-file=");
    option.push(pid_file(folder));
    option
}

/// Makes a folder for the server's temporary tables.
///
/// In a shared folder MariaDB would delete the temporary tables of every other server when it starts.
fn tmpdir_option(folder: &Path) -> Result<OsString, String> {
    let tmpdir = folder.join("tmp");
    fs::create_dir_all(&tmpdir).map_err(|error| format!("{}: {error}", tmpdir.display()))?;
    let mut option = OsString::from("--tmpdir=");
    option.push(tmpdir);
    Ok(option)
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("server.pid")
}

/// Tells whether a database server greets: its first packet begins with the protocol version, 10.
fn greets(port: u16) -> bool {
    let mut packet = [0; 5];
    TcpStream::connect(("127.0.0.1", port)).is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.read_exact(&mut packet).is_ok() && packet[4] == 10
    })
}

/// Returns a free port below those that systems give to outgoing connections.
///
/// An outgoing connection could otherwise take the port of a stopped server, or even connect to itself there.
pub fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 15_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = process::id() % u32::from(COUNT);
    (0..COUNT)
        .map(|_| {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            FIRST + u16::try_from((start * 7 + step) % u32::from(COUNT)).unwrap()
        })
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .unwrap()
}

/// Removes from `place` the folders that earlier test processes have left.
///
/// They stay when a test process is killed together with its supervisor, or while its server is stopped.
pub fn remove_leftovers(place: &Path) {
    let entries = fs::read_dir(place).unwrap();
    for folder in entries.flatten().map(|entry| entry.path()) {
        let owner = folder
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix(FOLDER_PREFIX)?.split_once('-'))
            .and_then(|(pid, _)| pid.parse().ok());
        if owner.is_some_and(|pid| !signal::is_alive(pid)) {
            kill_server_of(&folder);
            // The folder's supervisor may be removing it at the same time.
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// Kills the process that the folder's pid file names, if it is still the folder's server.
fn kill_server_of(folder: &Path) {
    let Ok(pid) = fs::read_to_string(pid_file(folder)) else {
        return;
    };
    let Ok(pid) = pid.trim().parse() else { return };
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if String::from_utf8_lossy(&command_line).contains(&*folder.to_string_lossy()) {
        signal::send(pid, "KILL");
    }
}
