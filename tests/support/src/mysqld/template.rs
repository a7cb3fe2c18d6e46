//! Copies each server's data folder from a template: an initialised folder that no server was started on.
//!
//! To initialise a folder takes seconds, to copy it a fraction of a second. The template outlives the run. It is kept
//! in the build's folder for tests, under a name that depends on the server's version, so a newer server makes a new one.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Account, OWNER_USER, SERVICE_PASSWORD,
    engine::{Engine, Program, data_option},
    user,
};

/// Returns the SQL that makes the accounts of [`super::Account`].
///
/// The service's accounts have the engine's default login, and no right to write to a read-only server. Each gets its
/// rights on a database when the database is made.
fn accounts() -> String {
    let mut sql = format!(
        "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';\n\
         GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n\
         CREATE USER '{OWNER_USER}'@'127.0.0.1' IDENTIFIED BY '{SERVICE_PASSWORD}';\n\
         GRANT ALL ON `it\\_%`.* TO '{OWNER_USER}'@'127.0.0.1';\n"
    );
    for account in flashsale::config::Account::ALL {
        let user = user(Account::Of(account));
        sql.push_str(&format!("CREATE USER '{user}'@'127.0.0.1' IDENTIFIED BY '{SERVICE_PASSWORD}';\n"));
    }
    sql
}

/// Makes `data` a copy of the template, and makes the template first if there is none.
///
/// `scratch` and the template are on one file system.
pub(super) fn copy(program: &Program, folder: &Path, scratch: &Path, data: &Path) -> Result<(), String> {
    let template = folder.join(format!("{}{:016x}", super::TEMPLATE_PREFIX, key(program)));
    if !template.is_dir() {
        let new = scratch.join("template");
        make(program, scratch, &new)?;
        // If another test process was faster, its template is used, and this one is removed with `scratch`.
        if let Err(error) = fs::rename(&new, &template)
            && !template.is_dir()
        {
            return Err(format!("{}: {error}", template.display()));
        }
    }
    run(Command::new("cp").arg("-R").arg(&template).arg(data), &scratch.join("copy.log"))
}

fn key(program: &Program) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&program.path, &program.version, program.base_options()).hash(&mut hasher);
    accounts().hash(&mut hasher);
    hasher.finish()
}

fn make(program: &Program, scratch: &Path, data: &Path) -> Result<(), String> {
    let sql = scratch.join("accounts.sql");
    let log = scratch.join("initialise.log");
    let mut install = program.install_command(data)?;
    match program.engine {
        Engine::MySql => {
            fs::write(&sql, accounts()).map_err(|error| error.to_string())?;
            let mut option = std::ffi::OsString::from("--init-file=");
            option.push(&sql);
            run(install.arg(option), &log)
        }
        Engine::MariaDb => {
            // Accounts can be made only after the grant tables are loaded.
            fs::write(&sql, format!("FLUSH PRIVILEGES;\n{}", accounts())).map_err(|error| error.to_string())?;
            run(&mut install, &log)?;
            let mut bootstrap = Command::new(&program.path);
            bootstrap
                .args(program.base_options())
                .arg(data_option(data))
                .arg("--bootstrap")
                .stdin(File::open(&sql).map_err(|error| error.to_string())?);
            run(&mut bootstrap, &log)
        }
    }
}

fn run(command: &mut Command, log: &PathBuf) -> Result<(), String> {
    let output = File::create(log).map_err(|error| error.to_string())?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    let status = command.stdout(output).stderr(errors).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        status => Err(format!("{command:?}: {status:?}\n{}", fs::read_to_string(log).unwrap_or_default())),
    }
}
