//! The cache folder: where it is, its locks, and how things get into it.

use super::{Report, Result, SetupError};
use etcetera::base_strategy::{BaseStrategy, Xdg};
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{env, io};
use tempfile::TempDir;

/// The user's cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    path: PathBuf,
}

impl Cache {
    /// The user's cache folder; it is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`SetupError::NoCache`], [`SetupError::Cache`].
    pub fn open() -> Result<Self> {
        let path = match env::var_os("DAXFS_CACHE_DIR").filter(|name| !name.is_empty()) {
            // Programs that are run from other folders are given paths in it.
            Some(name) => {
                let path = PathBuf::from(name);
                std::path::absolute(&path).map_err(failed(&path, "find it"))?
            }
            None => Xdg::new().map_err(|_| SetupError::NoCache)?.cache_dir().join("daxfs"),
        };
        Self::at(path)
    }

    /// A cache in this folder.
    pub(super) fn at(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).map_err(failed(&path, "make it"))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other process holds the lock of this name, and takes it. It is given back when
    /// it is dropped, and when the process ends.
    ///
    /// # Errors
    ///
    /// [`SetupError::Cache`].
    pub fn lock(&self, name: &str, report: &dyn Report) -> Result<Lock> {
        let path = self.folder("locks")?.join(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed(&path, "open it"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                report.step(&format!("waiting for another run ({name})"));
                let locked = rustix::io::retry_on_intr(|| {
                    rustix::fs::flock(&file, FlockOperation::LockExclusive)
                });
                locked.map_err(|reason| failed(&path, "lock it")(reason.into()))?;
            }
            locked => locked.map_err(|reason| failed(&path, "lock it")(reason.into()))?,
        }
        let lock = Lock { name: name.to_owned(), _file: file };
        self.clean(&lock)?;
        Ok(lock)
    }

    /// Removes what a run left behind that was killed while it held the lock.
    fn clean(&self, lock: &Lock) -> Result<()> {
        let staging = self.folder("staging")?;
        for entry in fs::read_dir(&staging).map_err(failed(&staging, "read it"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&lock.prefix()) {
                // If it stays it is in nobody's way.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    /// A folder to make something in, gone when dropped.
    pub(super) fn staging(&self, lock: &Lock) -> Result<TempDir> {
        let staging = self.folder("staging")?;
        let made = tempfile::Builder::new().prefix(&lock.prefix()).tempdir_in(&staging);
        made.map_err(failed(&staging, "make a folder in it"))
    }

    /// Gives something that is complete its final name, in place of what has it now.
    pub(super) fn publish(&self, lock: &Lock, from: &Path, name: &Path) -> Result<PathBuf> {
        let to = self.path.join(name);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(failed(parent, "make it"))?;
        }
        self.remove(lock, name)?;
        fs::rename(from, &to).map_err(failed(&to, "rename a folder to it"))?;
        Ok(to)
    }

    /// Removes something, at once for all who look for it.
    pub(super) fn remove(&self, lock: &Lock, name: &Path) -> Result<()> {
        let path = self.path.join(name);
        let away = self.staging(lock)?;
        match fs::rename(&path, away.path().join("old")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(&path, "remove it")(error))
            }
            _ => Ok(()),
        }
    }

    /// A folder of the cache.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(failed(&path, "make it"))?;
        Ok(path)
    }
}

/// The right to make something in the cache.
#[derive(Debug)]
pub struct Lock {
    name: String,
    /// Closing it gives the lock back.
    _file: File,
}

impl Lock {
    fn prefix(&self) -> String {
        format!("{}-", self.name)
    }
}

/// Turns what the system said about a path into an error.
pub(super) fn failed(
    path: &Path,
    action: &'static str,
) -> impl FnOnce(io::Error) -> SetupError + use<> {
    let path = path.to_owned();
    move |reason| SetupError::Cache { path, action, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    fn cache() -> (TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        (folder, cache)
    }

    /// Tells a channel what it is told.
    struct Told(mpsc::Sender<String>);

    impl Report for Told {
        fn step(&self, text: &str) {
            self.0.send(text.to_owned()).unwrap();
        }
    }

    #[test]
    fn a_second_run_says_that_it_waits_and_waits() {
        let (_folder, cache) = cache();
        let first = cache.lock("thing", &()).unwrap();
        cache.lock("other", &()).unwrap();
        let (sender, told) = mpsc::channel();
        let (done, second) = mpsc::channel();
        let other = cache.clone();
        let waiter = std::thread::spawn(move || {
            let _lock = other.lock("thing", &Told(sender)).unwrap();
            done.send(()).unwrap();
        });
        let text = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(text, "waiting for another run (thing)");
        assert!(second.try_recv().is_err());
        drop(first);
        second.recv_timeout(Duration::from_secs(20)).unwrap();
        waiter.join().unwrap();
    }

    #[test]
    fn what_is_published_replaces_what_was_there() {
        let (_folder, cache) = cache();
        let lock = cache.lock("thing", &()).unwrap();
        for text in ["old", "new"] {
            let staging = cache.staging(&lock).unwrap();
            let made = staging.path().join("made");
            fs::create_dir(&made).unwrap();
            fs::write(made.join("file"), text).unwrap();
            let path = cache.publish(&lock, &made, Path::new("things/one")).unwrap();
            assert_eq!(fs::read_to_string(path.join("file")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(cache.path().join("staging")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_by_the_next_one_with_its_lock() {
        let (_folder, cache) = cache();
        let lock = cache.lock("thing", &()).unwrap();
        let left = cache.staging(&lock).unwrap().keep();
        drop(lock);
        cache.lock("other", &()).unwrap();
        assert!(left.exists());
        cache.lock("thing", &()).unwrap();
        assert!(!left.exists());
    }
}
