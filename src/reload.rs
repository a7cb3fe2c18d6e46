//! Values that come from files, and are read anew while the program runs: certificates, principals, secrets.
//!
//! Whoever reads such a setting gives [`Reload::read`] a function that reads it, and gets a [`Current`] value. At SIGHUP,
//! and where a look at the files each minute finds another content, all functions run again. The new values are taken
//! only if every one is good. So a certificate never meets the key of another one, and a typing error changes nothing.
//!
//! A file that is no regular file, such as a pipe, can be read only once, so its value stays.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info};

use crate::startup::BadSetting;

/// Says how often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Limits the bytes of a file that are compared. What has more is no setting, and its reader says so.
const COMPARED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Holds a value that may be replaced while the program runs. Clones share it.
pub struct Current<T>(Arc<watch::Sender<Arc<T>>>);

impl<T> Current<T> {
    /// Holds a value that nothing replaces.
    pub fn fixed(value: T) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(value))))
    }

    /// Returns the value as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// Returns what is told of each new value.
    pub fn changes(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }

    fn set(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Current<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Current")
    }
}

/// Knows all values of a program that are read anew.
#[derive(Clone, Default)]
pub struct Reload {
    sources: Vec<Arc<dyn Source>>,
}

impl Reload {
    /// Reads a value now, and again whenever all values are read anew.
    ///
    /// `files` are the files that `read` opens. Its errors are shown to the operator, so they hold no secret.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<T: Send + Sync + 'static>(
        &mut self,
        files: impl IntoIterator<Item = PathBuf>,
        read: impl Fn() -> Result<T, BadSetting> + Send + Sync + 'static,
    ) -> Result<Current<T>, BadSetting> {
        let files: Vec<PathBuf> = files.into_iter().collect();
        let is_repeatable = !files.is_empty() && files.iter().all(|file| file.is_file());
        let contents = if is_repeatable { contents(&files) } else { Vec::new() };
        let current = Current::fixed(read()?);
        if is_repeatable {
            let contents = Mutex::new(contents);
            self.sources.push(Arc::new(FromFiles { files, read, current: current.clone(), contents }));
        }
        Ok(current)
    }

    /// Reads all values anew, and takes them if every one is good.
    ///
    /// # Errors
    /// Names the first setting that isn't good. All values stay as they are.
    pub fn read_anew(&self) -> Result<(), BadSetting> {
        let takes = self.sources.iter().map(|source| source.read_anew()).collect::<Result<Vec<_>, _>>()?;
        takes.into_iter().for_each(|take| take());
        Ok(())
    }

    /// Reads the values anew at each SIGHUP, and each minute if a file has changed. From this call on, SIGHUP doesn't end
    /// the process.
    ///
    /// # Errors
    /// The operating system refuses the handler of the signal.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub fn keep_fresh(self) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let mut hangups = signal(SignalKind::hangup())?;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(async move {
            loop {
                let is_asked = tokio::select! {
                    _ = hangups.recv() => true,
                    _ = looks.tick() => false,
                };
                let reload = self.clone();
                // A panic has been logged, and the values stay as they are.
                let _panicked = spawn_blocking(move || reload.look(is_asked)).await;
            }
        })
    }

    fn look(&self, is_asked: bool) {
        if !is_asked && !self.sources.iter().any(|source| source.has_changed()) {
            return;
        }
        match self.read_anew() {
            Ok(()) => info!("Credentials read anew"),
            Err(error) => error!(%error, "Credentials can't be read anew, and the old ones stay"),
        }
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reload").field("sources", &self.sources.len()).finish()
    }
}

/// Takes a value that has been read.
type Take<'s> = Box<dyn FnOnce() + 's>;

/// Is a value that can be read anew.
trait Source: Send + Sync {
    fn has_changed(&self) -> bool;

    /// Reads the value, and returns what takes it.
    fn read_anew(&self) -> Result<Take<'_>, BadSetting>;
}

struct FromFiles<T, R> {
    files: Vec<PathBuf>,
    read: R,
    current: Current<T>,
    /// What the files held before they were last taken.
    contents: Mutex<Vec<Content>>,
}

impl<T, R> Source for FromFiles<T, R>
where
    T: Send + Sync,
    R: Fn() -> Result<T, BadSetting> + Send + Sync,
{
    fn has_changed(&self) -> bool {
        *self.contents.lock().unwrap_or_else(PoisonError::into_inner) != contents(&self.files)
    }

    fn read_anew(&self) -> Result<Take<'_>, BadSetting> {
        // To open a pipe could take for ever.
        if self.files.iter().any(|file| file.exists() && !file.is_file()) {
            return Err(BadSetting::new("a file of the settings", "is no regular file any more"));
        }
        // What changes after this line differs at the next look.
        let contents = contents(&self.files);
        let value = (self.read)()?;
        Ok(Box::new(move || {
            *self.contents.lock().unwrap_or_else(PoisonError::into_inner) = contents;
            self.current.set(value);
        }))
    }
}

/// Tells contents of a file apart. `None`: it can't be read.
type Content = Option<[u8; 32]>;

fn contents(files: &[PathBuf]) -> Vec<Content> {
    files.iter().map(|file| content(file)).collect()
}

fn content(file: &Path) -> Content {
    // To open a pipe could take for ever.
    if !file.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(COMPARED_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(Sha256::digest(&bytes).into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Reads a file that holds a number.
    fn number(file: &Path) -> impl Fn() -> Result<u32, BadSetting> + use<> {
        let file = file.to_owned();
        move || {
            let text = fs::read_to_string(&file).map_err(|error| BadSetting::new("NUMBER", error.to_string()))?;
            text.parse().map_err(|_| BadSetting::new("NUMBER", "is no number"))
        }
    }

    #[test]
    fn all_values_are_taken_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        fs::write(&first, "1").unwrap();
        fs::write(&second, "2").unwrap();
        let mut reload = Reload::default();
        let ones = reload.read([first.clone()], number(&first)).unwrap();
        let twos = reload.read([second.clone()], number(&second)).unwrap();
        let values = || (*ones.get(), *twos.get());

        fs::write(&first, "10").unwrap();
        fs::write(&second, "many").unwrap();
        assert_eq!(reload.read_anew().unwrap_err().to_string(), "NUMBER is no number");
        assert_eq!(values(), (1, 2));
        fs::remove_file(&second).unwrap();
        assert!(reload.read_anew().is_err());
        assert_eq!(values(), (1, 2));
        fs::write(&second, "20").unwrap();
        reload.read_anew().unwrap();
        assert_eq!(values(), (10, 20));
        assert!(reload.read([first.clone()], || Err::<u32, _>(BadSetting::new("X", "is bad"))).is_err());
    }

    #[test]
    fn a_look_reads_only_where_a_file_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let mut reload = Reload::default();
        let reads = Arc::new(Mutex::new(0));
        let value = reload
            .read([file.clone()], {
                let (reads, number) = (Arc::clone(&reads), number(&file));
                move || {
                    *reads.lock().unwrap() += 1;
                    number()
                }
            })
            .unwrap();
        let mut changes = value.changes();
        reload.look(false);
        assert_eq!(*reads.lock().unwrap(), 1);
        reload.look(true);
        assert_eq!(*reads.lock().unwrap(), 2);
        fs::write(&file, "2").unwrap();
        reload.look(false);
        assert_eq!((*reads.lock().unwrap(), **changes.borrow_and_update()), (3, 2));
        // It is tried again as long as it is bad.
        fs::write(&file, "x").unwrap();
        reload.look(false);
        reload.look(false);
        assert_eq!((*reads.lock().unwrap(), *value.get()), (5, 2));
    }

    /// To open a pipe that nobody writes to would take for ever, and nothing would be read anew any more.
    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_and_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let mut reload = Reload::default();
        let value = reload.read([file.clone()], number(&file)).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert!(reload.read_anew().unwrap_err().to_string().contains("no regular file"));
        fs::remove_file(&file).unwrap();
        fs::write(&file, "2").unwrap();
        reload.read_anew().unwrap();
        assert_eq!(*value.get(), 2);
    }

    #[test]
    fn what_is_no_regular_file_is_read_once() {
        let mut reload = Reload::default();
        let value = reload.read([PathBuf::from("/dev/null")], || Ok(7)).unwrap();
        assert_eq!((*value.get(), reload.sources.len()), (7, 0));
        assert!(reload.read_anew().is_ok());
    }
}
