//! Who else changes records: told by inotify; where that is not to be had, by looking at the folder. Both are hints.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::forked::OwnFile;
use super::{LOCK, RECORD};

/// How often the folder is looked at where nobody tells.
const LOOK: Duration = Duration::from_millis(40);
/// After so many looks inotify is tried again: the user's instances are limited, and others give theirs back.
const LOOKS: u32 = 250;

/// Tells the outer name of each record that was replaced, and of each lease that was given back. Never ends.
pub(super) async fn watch(folder: PathBuf, told: impl Fn(&str)) {
    // What there is when it begins is nobody's change.
    let mut seen = look(&folder, None).await;
    loop {
        if let Ok(inotify) = Inotify::on(&folder) {
            // What was changed while nobody looked.
            seen = seen.changes(look(&folder, None).await, &told);
            inotify.follow(&folder, &told).await;
        }
        seen = look_often(&folder, seen, &told).await;
    }
}

/// Without inotify, for a while.
async fn look_often(folder: &Path, mut seen: Seen, told: &impl Fn(&str)) -> Seen {
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK).await;
        seen = seen.changes(look(folder, Some(seen.clone())).await, told);
    }
    seen
}

struct Inotify(AsyncFd<OwnFile>);

impl Inotify {
    fn on(folder: &Path) -> io::Result<Inotify> {
        let opened = OwnFile::open(|| {
            let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            // A record is moved into its place, and the time of a lock is set when a lease is given back.
            let flags = WatchFlags::MOVED_TO | WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
            inotify::add_watch(&inotify, folder, flags | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW)?;
            io::Result::Ok(File::from(inotify))
        });
        let opened = opened??;
        #[allow(unsafe_code)]
        // SAFETY: the descriptor is owned by the registration, and stays open as long as it lives.
        let registered = unsafe { AsyncFd::register(opened) };
        Ok(Inotify(registered.map_err(io::Error::from)?))
    }

    /// Ends with the folder.
    async fn follow(&self, folder: &Path, told: &impl Fn(&str)) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        loop {
            let Ok(mut ready) = self.0.readable().await else { return };
            let mut events = inotify::Reader::new(&**self.0.get_ref(), &mut buffer);
            loop {
                match events.next() {
                    Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                        names(folder).for_each(|name| name_told(&name, told));
                    }
                    Ok(event) => match event.file_name().map(|name| name.to_str()) {
                        Some(name) => name.iter().for_each(|name| name_told(name, told)),
                        // The folder itself was moved, removed or changed.
                        None => return,
                    },
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
            ready.clear_ready();
        }
    }
}

fn name_told(name: &str, told: &impl Fn(&str)) {
    if let Some(outer) = name.strip_suffix(RECORD).or_else(|| name.strip_suffix(LOCK)) {
        told(outer);
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|name| name.ends_with(RECORD))
}

/// The folder at one look.
#[derive(Clone, Default)]
struct Seen {
    folder: Option<Version>,
    /// Another change may have the same time.
    too_new: bool,
    records: HashMap<String, Version>,
}

/// What changes whenever it is replaced: number and time.
#[derive(Clone, Copy, PartialEq)]
struct Version(u64, i64, i64);

impl Version {
    fn of(found: &std::fs::Metadata) -> Version {
        Version(found.ino(), found.mtime(), found.mtime_nsec())
    }
}

/// Looks into the folder, unless its time says that nothing was moved there since.
async fn look(folder: &Path, before: Option<Seen>) -> Seen {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || Seen::at(&folder, before)).await.unwrap_or_default()
}

impl Seen {
    fn at(folder: &Path, before: Option<Seen>) -> Seen {
        let Ok(found) = folder.symlink_metadata() else { return Seen::default() };
        let version = Some(Version::of(&found));
        if let Some(before) = before
            && before.folder == version
            && !before.too_new
        {
            return before;
        }
        // The clock of files ticks a few times in 10 ms.
        let age = found.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        let too_new = age.is_none_or(|age| age < Duration::from_millis(20));
        let version_of = |name: &String| folder.join(name).symlink_metadata().ok().map(|found| Version::of(&found));
        let records = names(folder).filter_map(|name| version_of(&name).map(|version| (name, version))).collect();
        Seen { folder: version, too_new, records }
    }

    /// Tells what is not as it was; gives back what is.
    fn changes(&self, now: Seen, told: &impl Fn(&str)) -> Seen {
        let changed = now.records.iter().filter(|(name, version)| self.records.get(*name) != Some(version));
        changed.for_each(|(name, _)| name_told(name, told));
        now
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Instant;

    use super::*;

    /// What is told of the step from one look to the next.
    fn told(before: &Seen, folder: &Path) -> (Seen, Vec<String>) {
        let told = RefCell::new(Vec::new());
        let seen =
            before.changes(Seen::at(folder, Some(before.clone())), &|name: &str| told.borrow_mut().push(name.into()));
        let mut told = told.into_inner();
        told.sort_unstable();
        (seen, told)
    }

    /// As a record is written.
    fn replace(folder: &Path, name: &str) {
        std::fs::write(folder.join("new"), "x").unwrap();
        std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }

    #[test]
    fn without_inotify_each_record_that_was_replaced_is_seen_however_fast() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), "a.v1");
        let (mut seen, first) = told(&Seen::default(), folder.path());
        assert_eq!(first, ["a"]);
        // Many within one tick of the clock of files.
        for _ in 0..100 {
            replace(folder.path(), "a.v1");
            replace(folder.path(), "b.v1");
            replace(folder.path(), "notes.txt");
            let (now, told_now) = told(&seen, folder.path());
            assert_eq!(told_now, ["a", "b"]);
            assert!(told(&now, folder.path()).1.is_empty());
            seen = now;
        }
        std::fs::remove_dir_all(folder.path()).unwrap();
        let (seen, none) = told(&seen, folder.path());
        assert!(none.is_empty());
        std::fs::create_dir(folder.path()).unwrap();
        replace(folder.path(), "b.v1");
        assert_eq!(told(&seen, folder.path()).1, ["b"]);
    }

    #[test]
    fn a_folder_at_rest_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        replace(folder.path(), "a.v1");
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::open(folder.path()).unwrap().set_modified(hour_ago).unwrap();
        let seen = Seen { records: HashMap::new(), ..Seen::at(folder.path(), None) };
        assert!(!seen.too_new);
        assert!(told(&seen, folder.path()).1.is_empty(), "its time says that there is nothing to see");
        replace(folder.path(), "a.v1");
        assert_eq!(told(&seen, folder.path()).1, ["a"]);
    }

    #[test]
    fn where_inotify_is_not_to_be_had_the_folder_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let start = Instant::now();
        let looking = runtime.block_on(async {
            replace(folder.path(), "a.v1");
            let told_here = |name: &str| tell.send(name.to_owned()).unwrap();
            tokio::select! {
                _ = look_often(folder.path(), Seen::default(), &told_here) => false,
                _ = async { while told.try_recv().is_err() { tokio::task::yield_now().await } } => true,
            }
        });
        assert!(looking && start.elapsed() >= LOOK);
    }
}
