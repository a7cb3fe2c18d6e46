//! Finds the database server's program, and knows what differs between MariaDB and MySQL.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Names the database engines that the service runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// MariaDB.
    MariaDb,
    /// MySQL.
    MySql,
}

impl Engine {
    /// Returns the name of the view of the server's connections.
    ///
    /// MySQL's information_schema.processlist also shows each connection's statement as text. While any statement has
    /// bytes that are no text, every read of it fails (error 3854), whatever the columns and the sql_mode.
    /// MariaDB has performance_schema off by default.
    pub fn processlist(self) -> &'static str {
        match self {
            Self::MariaDb => "information_schema.processlist",
            Self::MySql => "performance_schema.processlist",
        }
    }
}

/// Describes a database server's program.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) engine: Engine,
    pub(super) path: PathBuf,
    /// What `--version` prints.
    pub(super) version: String,
}

impl Program {
    /// Finds the program in `FLASHSALE_TEST_MYSQLD`, or mariadbd or mysqld in PATH and the systems' folders for daemons.
    pub(super) fn find() -> Result<Self, String> {
        let path = match env::var_os("FLASHSALE_TEST_MYSQLD") {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => find_executable(&["mariadbd", "mysqld"], &[]).ok_or(
                "no mariadbd and no mysqld in PATH: install one (Debian: apt-get install mariadb-server) or set \
                 FLASHSALE_TEST_MYSQLD",
            )?,
        };
        let output = Command::new(&path)
            .args(["--no-defaults", "--version"])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("{} does not run: {error}", path.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            return Err(format!("{} --version failed: {version}", path.display()));
        }
        let engine = if version.contains("MariaDB") { Engine::MariaDb } else { Engine::MySql };
        Ok(Self { engine, path, version })
    }

    /// Returns the options of every start, the first one that makes the system tables included.
    ///
    /// The log is small because the template is copied often.
    pub(super) fn base_options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> = vec!["--no-defaults".into()];
        options.extend(runs_as_root().then(|| "--user=root".into()));
        match self.engine {
            Engine::MariaDb => options.push("--innodb-log-file-size=32M".into()),
            Engine::MySql => options.extend([
                "--innodb-redo-log-capacity=32M".into(),
                "--mysqlx=OFF".into(),
                // The default of a packaged server is a folder that other users can't read.
                "--secure-file-priv=NULL".into(),
            ]),
        }
        options
    }

    /// Returns the command that makes the system tables in `data`.
    pub(super) fn install_command(&self, data: &Path) -> Result<Command, String> {
        let mut command = match self.engine {
            Engine::MySql => {
                let mut command = Command::new(&self.path);
                command.args(self.base_options()).arg("--initialize-insecure");
                command
            }
            Engine::MariaDb => {
                let beside = |folder: &str| Some(self.path.parent()?.join(folder));
                let places = ["../bin", "../scripts", "."].map(beside);
                let places: Vec<PathBuf> = places.into_iter().flatten().collect();
                let installer = find_executable(&["mariadb-install-db", "mysql_install_db"], &places).ok_or(
                    "no mariadb-install-db in PATH or beside mariadbd (Debian: apt-get install mariadb-server)",
                )?;
                let mut command = Command::new(installer);
                command.args(self.base_options()).args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                command
            }
        };
        command.arg(data_option(data));
        Ok(command)
    }
}

/// Returns the option `--datadir=…`.
pub(super) fn data_option(data: &Path) -> OsString {
    let mut option = OsString::from("--datadir=");
    option.push(data);
    option
}

fn find_executable(names: &[&str], first_places: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from);
    let places: Vec<PathBuf> = first_places.iter().cloned().chain(env::split_paths(&path)).chain(daemons).collect();
    names.iter().find_map(|name| places.iter().map(|place| place.join(name)).find(|file| file.is_file()))
}

/// Tells whether this process runs as root, under which both engines start only when an option says so.
fn runs_as_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}
