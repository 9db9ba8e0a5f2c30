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
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK).await;
            seen = seen.changes(look(&folder, Some(seen.clone())).await, &told);
        }
    }
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
                        // The folder's own: its mode and time say nothing.
                        None if event.events() == ReadFlags::ATTRIB => {}
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
