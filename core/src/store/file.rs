//! The store of one machine: a private folder with a file per record. A record is replaced whole and durably; locks of the
//! operating system keep writers apart and end with their holder (DESIGN.md 5).
//!
//! ```text
//! OUTER.v1      a record                     OUTER.v1.bad  one that could not be read, set aside
//! OUTER.v1.new  the next one, half written   OUTER.lock    the lease; the guard and the beacons are locks behind its content
//! naming-key    makes the outer names
//! ```

mod folder;
mod forked;
mod lease;
mod locks;
mod watch;

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use self::folder::{Folder, failed};
use self::lease::Leases;
use self::locks::Guard;
use super::codec::{Codec, NAMING_KEY, NamingKey, Unreadable};
use super::{BoxFuture, Keys, LEASE, Listed, MAX_RECORD, Owner, Record, Store, Swap, Told};
use crate::clock::Clock;
use crate::config::FileOptions;
use crate::error::{Error, ErrorCode, Result};
use crate::panics::guarded;
use crate::record_name::RecordName;

/// How the names of records end: the format's version stands there too, so that versions do not meet in one file.
const RECORD: &str = ".v1";
const LOCK: &str = ".lock";

/// Keeps records in a folder.
pub(crate) struct FileStore(Arc<Files>);

struct Files {
    path: PathBuf,
    keys: Keys,
    naming_key: NamingKey,
    /// The file of the naming key when it was last found to hold this one.
    known: ArcSwapOption<Version>,
    codec: Codec,
    leases: Leases,
}

/// Tells whether a file was replaced or changed.
#[derive(PartialEq)]
struct Version(u64, u64, i64, i64);

impl FileStore {
    /// Makes the folder where there is none, and tries its locks.
    ///
    /// # Errors
    /// `config`: an encryption key cannot be read. `store`: the folder cannot be used, or is not private; or its naming key
    /// is encrypted with a key that is not given.
    pub(crate) fn open(options: &FileOptions, clock: Clock) -> Result<FileStore> {
        let keys: Vec<&str> = options.encryption_keys.iter().map(|key| key.expose()).collect();
        let keys = Keys::parse(&keys, "store.encryption_key")?;
        FileStore::open_with(&folder_or_default(options.path.as_deref())?, keys, clock, LEASE)
    }

    fn open_with(path: &Path, keys: Keys, clock: Clock, lease: Duration) -> Result<FileStore> {
        // Wherever the process goes later. Without a slash at its end, behind which a link would be followed.
        let path =
            std::path::absolute(path).map_err(|error| failed(path, "used", &error))?.components().collect::<PathBuf>();
        let folder = Folder::open_or_make(&path)?;
        let naming_key = {
            let guard = Guard::take(&folder, NAMING_KEY)?;
            let (naming_key, outdated) = standing_or_new(&folder, &guard, &keys, NamingKey::generate)?;
            // Once per start only: processes that differ in which key is the first would write it in turns.
            if outdated {
                folder.write(NAMING_KEY, &naming_key.to_bytes(&keys))?;
            }
            naming_key
        };
        let codec = Codec::new(keys.clone(), false, &naming_key, clock);
        let known = ArcSwapOption::empty();
        Ok(FileStore(Arc::new(Files { path, keys, naming_key, known, codec, leases: Leases::new(lease) })))
    }

    /// All work on files is done on a thread that may wait.
    fn work<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'a, Result<T>> {
        let files = self.0.clone();
        Box::pin(async move {
            let undone = |why: &str| Error::new(ErrorCode::Store, format!("store.path: {why}")).with_retryable(true);
            // tokio panics where the system gives no thread (fault 75).
            let work = Arc::new(Mutex::new(Some(work)));
            let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
            let theirs = work.clone();
            let working = guarded(|| tokio::task::spawn_blocking(move || take(&theirs).map(|work| work(&files))));
            let working = working.map_err(|_| {
                // It may stand in a queue: what was told to be undone must not be done later.
                drop(take(&work));
                undone("the system gives no thread for the work on files")
            })?;
            let worked = working.await.ok().flatten();
            worked.unwrap_or_else(|| Err(undone("the work on a file came to no end")))
        })
    }
}

impl Files {
    /// The folder, as it must be. Removed under a running process it is made again, with the same naming key.
    fn folder(&self) -> Result<Folder> {
        let folder = Folder::open_or_make(&self.path)?;
        let version = key_version(&folder);
        if version.is_some() && self.known.load().as_deref() == version.as_ref() {
            return Ok(folder);
        }
        let guard = Guard::take(&folder, NAMING_KEY)?;
        let (standing, _) = standing_or_new(&folder, &guard, &self.keys, || self.naming_key.clone())?;
        if standing != self.naming_key {
            let message =
                format!("store.path: {} was replaced by another store; make a new engine", self.path.display());
            return Err(Error::new(ErrorCode::Store, message));
        }
        self.known.store(key_version(&folder).map(Arc::new));
        Ok(folder)
    }

    fn load(&self, outer: &str) -> Result<Option<Record>> {
        let folder = self.folder()?;
        match self.read(&folder, outer) {
            Ok(record) => Ok(record),
            Err(Unreadable::Refused(error)) => Err(error),
            Err(Unreadable::Damaged(_)) => self.load_or_set_aside(&folder, outer, &Guard::take(&folder, outer)?),
        }
    }

    fn compare_and_set(&self, outer: &str, expected: u64, record: &Record) -> Result<Swap> {
        let bytes = self.codec.encode(outer, record)?;
        let folder = self.folder()?;
        let guard = Guard::take(&folder, outer)?;
        let standing = self.load_or_set_aside(&folder, outer, &guard)?;
        if standing.as_ref().map_or(0, |standing| standing.generation) != expected {
            return Ok(Swap::Lost(standing.map(Arc::new)));
        }
        folder.write(&record_file(outer), &bytes)?;
        Ok(Swap::Stored)
    }

    fn read(&self, folder: &Folder, outer: &str) -> Result<Option<Record>, Unreadable> {
        let name = record_file(outer);
        let Some(bytes) = folder.read(&name, MAX_RECORD).map_err(Unreadable::Refused)? else { return Ok(None) };
        if bytes.len() > MAX_RECORD {
            return Err(Unreadable::Damaged("it is larger than a record can be"));
        }
        self.codec.decode(outer, &bytes).map(Some).map_err(|unreadable| match unreadable {
            Unreadable::Refused(error) => Unreadable::Refused(located(&folder.at(&name), &error)),
            damaged => damaged,
        })
    }

    /// What is damaged is of no use to anybody, but perhaps to a person.
    fn load_or_set_aside(&self, folder: &Folder, outer: &str, _guard: &Guard) -> Result<Option<Record>> {
        match self.read(folder, outer) {
            Ok(record) => Ok(record),
            Err(Unreadable::Refused(error)) => Err(error),
            Err(Unreadable::Damaged(why)) => set_aside(folder, &record_file(outer), why).map(|()| None),
        }
    }

    fn list(&self) -> Result<Vec<Listed>> {
        let folder = self.folder()?;
        let mut outers: Vec<String> =
            folder.names()?.iter().filter_map(|name| outer_of(name)).map(str::to_owned).collect();
        outers.sort_unstable();
        let listed = |outer: String| {
            let record = match self.read(&folder, &outer) {
                Ok(record) => Ok(record?),
                Err(Unreadable::Refused(error)) => Err(error),
                Err(Unreadable::Damaged(why)) => {
                    Err(located(&folder.at(&record_file(&outer)), &Error::new(ErrorCode::Store, why)))
                }
            };
            Some(Listed { outer, record })
        };
        Ok(outers.into_iter().filter_map(listed).collect())
    }
}

/// The naming key that stands there, else this one, written to stay: two processes that begin at once agree on one. `true`: it
/// was encrypted with an old key.
fn standing_or_new(
    folder: &Folder,
    _guard: &Guard,
    keys: &Keys,
    new: impl FnOnce() -> NamingKey,
) -> Result<(NamingKey, bool)> {
    let bytes = folder.read(NAMING_KEY, MAX_RECORD)?;
    match bytes.map(|bytes| NamingKey::from_bytes(keys, &bytes)) {
        Some(Ok(standing)) => return Ok(standing),
        Some(Err(Unreadable::Refused(error))) => return Err(located(&folder.at(NAMING_KEY), &error)),
        Some(Err(Unreadable::Damaged(why))) => set_aside(folder, NAMING_KEY, why)?,
        None => {}
    }
    let key = new();
    folder.write(NAMING_KEY, &key.to_bytes(keys))?;
    Ok((key, false))
}

fn key_version(folder: &Folder) -> Option<Version> {
    let found = folder.at(NAMING_KEY).symlink_metadata().ok()?;
    Some(Version(found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

/// The old one goes: a folder does not fill up with them.
fn set_aside(folder: &Folder, name: &str, why: &str) -> Result<()> {
    let file = folder.at(name);
    tracing::warn!(file = %file.display(), why, "a file of the store is damaged: it is set aside as .bad, and counts as none");
    folder.rename(name, &format!("{name}.bad"))
}

fn record_file(outer: &str) -> String {
    format!("{outer}{RECORD}")
}

/// The rest in the folder is not for us to read.
fn outer_of(name: &str) -> Option<&str> {
    let outer = name.strip_suffix(RECORD)?;
    (outer.len() == 40 && outer.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(outer)
}

fn located(file: &Path, error: &Error) -> Error {
    Error::new(error.code(), format!("store.path: {}: {}", file.display(), error.message()))
}

/// The folder of this user, where the configuration names none: the XDG one, whose name counts only if it is absolute.
fn folder_or_default(path: Option<&Path>) -> Result<PathBuf> {
    choose_folder(path, std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

fn choose_folder(path: Option<&Path>, state: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let absolute = |variable: Option<OsString>| variable.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = || absolute(state).or_else(|| absolute(home).map(|home| home.join(".local/state")));
    path.map(Path::to_owned).or_else(|| state().map(|state| state.join("qauth"))).ok_or_else(|| {
        Error::config(
            "store.path: is missing, and neither XDG_STATE_HOME nor HOME is set to find a folder by; name one",
        )
    })
}

impl Store for FileStore {
    fn shared(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, name: &'a RecordName) -> BoxFuture<'a, Result<Option<Arc<Record>>>> {
        let outer = self.0.codec.outer(name);
        self.work(move |files| Ok(files.load(&outer)?.map(Arc::new)))
    }

    fn compare_and_set<'a>(
        &'a self,
        name: &'a RecordName,
        expected: u64,
        record: Arc<Record>,
    ) -> BoxFuture<'a, Result<Swap>> {
        let outer = self.0.codec.outer(name);
        self.work(move |files| files.compare_and_set(&outer, expected, &record))
    }

    fn lease<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<bool>> {
        let (outer, owner) = (self.0.codec.outer(name), owner.clone());
        self.work(move |files| files.leases.take(&files.folder()?, &outer, &owner))
    }

    fn release<'a>(&'a self, name: &'a RecordName, owner: &'a Owner) -> BoxFuture<'a, Result<()>> {
        let (outer, owner) = (self.0.codec.outer(name), owner.clone());
        self.work(move |files| {
            files.leases.release(&outer, &owner);
            Ok(())
        })
    }

    fn watch<'a>(&'a self, told: Told<'a>) -> BoxFuture<'a, ()> {
        Box::pin(watch::watch(self.0.path.clone(), move |outer| {
            if let Some(name) = self.0.codec.inner(outer) {
                told(&name, None);
            }
        }))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>>> {
        self.work(|files| files.list())
    }

    fn let_go(&self, names: &[RecordName], _keep: &dyn Fn(&Record) -> bool) -> bool {
        // The records stay: others use them.
        self.0.codec.forget(names);
        true
    }
}

#[cfg(test)]
mod disk;
#[cfg(test)]
mod tests;
