//! Locks between processes, on bytes of a file that is never renamed or removed. They belong to the opened file (OFD), so
//! two engines of one process exclude each other too, and end with their holder. They stand far behind the file's content.

use std::fs::{File, FileTimes};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::folder::{Folder, failed, open_to_write};
use super::forked::OwnFile;
use crate::error::{Error, ErrorCode, Result};
use crate::random::random_unit;

/// Held for a compare-and-set or the change of a lease.
const GUARD: i64 = 1 << 30;
/// The first of the beacons.
const BEACONS: i64 = GUARD + 1;
/// Far more than processes that were stopped while they held one lease.
const SLOTS: u32 = 1000;
/// A guard is held for as long as a disk takes to write; only a stopped process holds one for longer. Who waits in a crowd
/// waits for as long as it moves.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the number of turns stands that were had so far: behind the lease, which is shorter.
const TURNS: u64 = 512;

/// The one who has it is alone with a record and its lease. A panic lets go of it too.
pub(super) struct Guard(LockFile);

/// Burns for as long as its process lives and holds a lease.
pub(super) struct Beacon {
    file: LockFile,
    slot: u32,
}

struct LockFile {
    path: PathBuf,
    file: OwnFile,
}

impl Guard {
    /// Waits for it, in short pauses.
    pub(super) fn take(folder: &Folder, name: &str) -> Result<Guard> {
        Guard::take_within(folder, name, PATIENCE)
    }

    pub(super) fn take_within(folder: &Folder, name: &str, patience: Duration) -> Result<Guard> {
        let path = folder.at(&format!("{name}.lock"));
        let mut file = LockFile::open(&path)?;
        let (mut turns, mut since) = (file.turns(), Instant::now());
        let mut pause = Duration::from_micros(20);
        loop {
            if file.try_lock(GUARD)? {
                let guard = Guard(file);
                if guard.0.still_has_its_name() {
                    guard.0.count_turn();
                    return Ok(guard);
                }
                // Somebody removed it by hand: a lock on what others cannot find keeps nobody out.
                file = LockFile::open(&path)?;
            }
            if file.turns() != turns {
                (turns, since) = (file.turns(), Instant::now());
            } else if since.elapsed() >= patience {
                return Err(Error::new(ErrorCode::Store, held_too_long(&path, patience)));
            }
            std::thread::sleep(pause.mul_f64(0.5 + random_unit()));
            // Long ones in a crowd: who looks takes the processor from who writes.
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Whether somebody's beacon burns there.
    pub(super) fn burns(&self, slot: u32) -> Result<bool> {
        self.0.is_locked(byte(slot))
    }

    /// A beacon in the first slot that is free: a former holder that was stopped still has its own.
    pub(super) fn light(&self) -> Result<Beacon> {
        let file = LockFile::open(&self.0.path)?;
        for slot in 0..SLOTS {
            if file.try_lock(byte(slot))? {
                return Ok(Beacon { file, slot });
            }
        }
        let message =
            format!("store.path: {}: too many processes were stopped while they held it", self.0.path.display());
        Err(Error::new(ErrorCode::Store, message))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }
}

impl Deref for Guard {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0.file
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.unlock(GUARD);
    }
}

impl Beacon {
    pub(super) fn slot(&self) -> u32 {
        self.slot
    }

    /// Puts it out, in a way that who watches the folder sees (`watch.rs`).
    pub(super) fn put_out_visibly(self) {
        self.file.unlock(byte(self.slot));
        // Both times: one alone passes for a read or a write.
        let now = SystemTime::now();
        let _ = self.file.file.set_times(FileTimes::new().set_accessed(now).set_modified(now));
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        self.file.unlock(byte(self.slot));
    }
}

fn byte(slot: u32) -> i64 {
    BEACONS + i64::from(slot)
}

fn held_too_long(path: &Path, patience: Duration) -> String {
    let (path, seconds) = (path.display(), patience.as_secs_f64());
    format!(
        "store.path: another process has held {path} for {seconds} s; is one of those that use it stopped (SIGSTOP)?"
    )
}

impl LockFile {
    fn open(path: &Path) -> Result<LockFile> {
        let file = OwnFile::open(|| open_to_write(path)).map_err(|error| failed(path, "opened", &error))??;
        Ok(LockFile { path: path.to_owned(), file })
    }

    fn still_has_its_name(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() > 0)
    }

    /// So that those who wait see it move. No more than a hint: errors are left to what needs the file.
    fn count_turn(&self) {
        let _ = self.file.write_all_at(&self.turns().wrapping_add(1).to_le_bytes(), TURNS);
    }

    fn turns(&self) -> u64 {
        let mut turns = [0; 8];
        let _ = self.file.read_exact_at(&mut turns, TURNS);
        u64::from_le_bytes(turns)
    }

    /// `false`: somebody else has it.
    fn try_lock(&self, byte: i64) -> Result<bool> {
        match ofd::set(&self.file, libc::F_WRLCK, byte) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            locked => locked.map(|()| true).map_err(|error| self.without_locks(&error)),
        }
    }

    fn is_locked(&self, byte: i64) -> Result<bool> {
        ofd::is_locked(&self.file, byte).map_err(|error| self.without_locks(&error))
    }

    /// Said outright, not left to the closing: a child of fork that has not come to close its copies yet keeps no lock.
    fn unlock(&self, byte: i64) {
        let _ = ofd::set(&self.file, libc::F_UNLCK, byte);
    }

    fn without_locks(&self, error: &io::Error) -> Error {
        match error.raw_os_error() {
            Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS) => {
                let folder = self.path.parent().unwrap_or(&self.path).display();
                let message = format!(
                    "store.path: the file system of {folder} has no locks ({error}); name a folder on a local disk"
                );
                Error::new(ErrorCode::Store, message)
            }
            _ => failed(&self.path, "locked", error),
        }
    }
}

/// `fcntl`, which neither the standard library nor rustix offers for a range of an open file.
#[allow(unsafe_code)]
mod ofd {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    fn range(kind: i32, byte: i64) -> libc::flock {
        // SAFETY: a structure of numbers, whose fields are all right as zero.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = kind as _;
        range.l_whence = libc::SEEK_SET as _;
        range.l_start = byte as _;
        range.l_len = 1;
        range
    }

    pub(super) fn set(file: &File, kind: i32, byte: i64) -> io::Result<()> {
        let range = range(kind, byte);
        // SAFETY: `range` is read for the length of the call.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &range) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    pub(super) fn is_locked(file: &File, byte: i64) -> io::Result<bool> {
        let mut range = range(libc::F_WRLCK, byte);
        // SAFETY: `range` is read and written for the length of the call.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut range) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(i32::from(range.l_type) != libc::F_UNLCK),
        }
    }
}
