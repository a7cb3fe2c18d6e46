//! Private database servers: one for all tests of the process, and more for the tests that stop, kill or reconfigure
//! theirs. Never a system's own server.
//!
//! Each has its own folder and port, and the engine's default durability (a commit is on disk). Two settings are traps
//! on purpose: the default time zone isn't UTC, and the default isolation is the engine's own REPEATABLE READ; both
//! are for the service's sessions to set.

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

pub(crate) use self::engine::Engine;
use self::{
    engine::{Program, data_option},
    supervisor::Supervised,
};
use crate::support::{signal, wait};

/// With a password, so that logging in is tested too; it has characters that a URL must escape.
pub(crate) const SERVICE_USER: &str = "flashsale";
pub(crate) const SERVICE_PASSWORD: &str = "p@ss/w:rd";
const SERVICE_PASSWORD_IN_URL: &str = "p%40ss%2Fw%3Ard";

/// Generous: the machine may be building something else meanwhile.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Another program may take a port between the look and the start.
const START_TRIES: usize = 3;

const FOLDER_PREFIX: &str = "mysqld-";
const TEMPLATE_PREFIX: &str = "template-";

/// Who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// What the service uses: all rights on the tests' databases, none on the server.
    Service,
    /// What the tests use to look and to disturb: all rights, no password.
    Root,
}

/// A database server. Dropped: killed, and its folder removed.
pub(crate) struct Mysqld {
    instance: Arc<Instance>,
}

struct Instance {
    program: Program,
    port: u16,
    options: Mutex<Vec<String>>,
    /// Before `folder`, so that the process is gone when the folder is removed.
    running: Mutex<Option<Supervised>>,
    folder: TempDir,
}

impl Mysqld {
    /// The server that the tests of this process share; the first caller starts it. Blocks meanwhile.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Mysqld, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            remove_leftovers(Path::new(env!("CARGO_TARGET_TMPDIR")));
            Self::create(&[])
        });
        match shared {
            Ok(mysqld) => mysqld,
            Err(error) => panic!("the database server did not start: {error}"),
        }
    }

    /// A server of the caller's own, with `options` beside the usual ones.
    pub(crate) async fn start_private(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let created = tokio::task::spawn_blocking(move || Self::create(&options)).await;
        created.unwrap().unwrap()
    }

    /// Shuts the server down in order, and waits for its end.
    pub(crate) async fn stop(&self) {
        self.end("TERM").await;
    }

    /// Kills the server in the middle of whatever it does, and waits for its end.
    pub(crate) async fn kill(&self) {
        self.end("KILL").await;
    }

    async fn end(&self, signal: &'static str) {
        let instance = Arc::clone(&self.instance);
        let ended = tokio::task::spawn_blocking(move || instance.end(signal)).await;
        ended.unwrap();
    }

    /// Starts the server again after [`Self::stop`] or [`Self::kill`]: same port, same data, same options.
    pub(crate) async fn start(&self) {
        let instance = Arc::clone(&self.instance);
        let started = tokio::task::spawn_blocking(move || instance.start()).await;
        started.unwrap().unwrap();
    }

    /// As [`Self::start`], from now on with other `options`.
    pub(crate) async fn start_with(&self, options: &[&str]) {
        *self.instance.options.lock().unwrap() = options.iter().map(|&option| option.to_owned()).collect();
        self.start().await;
    }

    /// Which of the two it is.
    pub(crate) fn engine(&self) -> Engine {
        self.instance.program.engine
    }

    /// On 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.instance.port
    }

    /// Its process id; `None` while it is stopped.
    pub(crate) fn pid(&self) -> Option<u32> {
        let running = self.instance.running.lock().unwrap();
        running.as_ref().map(|running| running.pid)
    }

    /// Its folder, which goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.instance.folder.path()
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        self.instance.log()
    }

    fn create(options: &[String]) -> Result<Self, String> {
        let program = Program::find()?;
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
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
                // In the data folder: an absolute path may be longer than a socket's name can be.
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
            // Keeps the folder for another try: killed here, not by the supervisor.
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

/// The address of `database` on the server, or on a proxy in front of it, at `port`.
pub(crate) fn url(account: Account, port: u16, database: &str) -> String {
    let login = match account {
        Account::Service => format!("{SERVICE_USER}:{SERVICE_PASSWORD_IN_URL}"),
        Account::Root => "root".to_owned(),
    };
    format!("mysql://{login}@127.0.0.1:{port}/{database}")
}

fn pid_option(folder: &Path) -> OsString {
    let mut option = OsString::from("--pid-file=");
    option.push(pid_file(folder));
    option
}

/// A folder for the server's temporary tables. In a common one, such as /tmp, MariaDB deletes at its start those of every
/// other server.
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

/// Whether a database server says hello: a packet whose first byte is the protocol version, 10.
fn greets(port: u16) -> bool {
    let mut packet = [0; 5];
    TcpStream::connect(("127.0.0.1", port)).is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.read_exact(&mut packet).is_ok() && packet[4] == 10
    })
}

/// A port below those that systems give to outgoing connections: one of these could take it while a stopped server is
/// to come back, or even connect to itself there.
pub(crate) fn free_port() -> u16 {
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

/// Removes from `place` the folders of earlier test processes that were killed together with their supervisors, or while their
/// server was stopped.
pub(crate) fn remove_leftovers(place: &Path) {
    let entries = fs::read_dir(place).unwrap();
    for folder in entries.flatten().map(|entry| entry.path()) {
        let owner = folder
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix(FOLDER_PREFIX)?.split_once('-'))
            .and_then(|(pid, _)| pid.parse().ok());
        if owner.is_some_and(|pid| !signal::is_alive(pid)) {
            kill_server_of(&folder);
            // Its supervisor may be at it too.
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// Only if the process of that number is still this folder's server.
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
