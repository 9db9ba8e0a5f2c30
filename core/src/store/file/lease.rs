//! Who may renew: a line in the lock file, changed under the guard. It lapses when its holder's beacon is out (the holder
//! died, or gave it back) or its time is over (the holder was stopped).

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::folder::{Folder, failed};
use super::locks::{Beacon, Guard};
use crate::clock::Clock;
use crate::error::Result;
use crate::forkcell::ForkCell;
use crate::store::Owner;

/// The leases of one store, and the beacons of those that this process holds.
pub(super) struct Leases {
    duration: Duration,
    /// Which start of which machine this is.
    boot: String,
    held: ForkCell<Mutex<HashMap<(String, Owner), Held>>>,
}

struct Held {
    beacon: Beacon,
    deadline: Duration,
}

/// What stands in the lock file.
#[derive(Clone, Debug, PartialEq)]
struct Lease {
    /// A digest of the owner: as long as any other.
    owner: String,
    boot: String,
    /// On the clock that goes on while the machine sleeps; it has a meaning until the machine starts anew.
    deadline: Duration,
    slot: u32,
}

impl Leases {
    pub(super) fn new(duration: Duration) -> Leases {
        Leases { duration, boot: boot_id(), held: ForkCell::new() }
    }

    /// Takes the lease, or renews it for the same owner; `false`: somebody else has it.
    pub(super) fn take(&self, folder: &Folder, outer: &str, owner: &Owner) -> Result<bool> {
        let guard = Guard::take(folder, outer)?;
        let key = (outer.to_owned(), owner.clone());
        let now = now();
        let deadline = now + self.duration;
        let standing = Lease::read(&guard)?;
        let ours = |lease: &Lease| lease.is_of(owner) && self.slot_of(&key) == Some(lease.slot);
        if let Some(lease) = standing.as_ref().filter(|lease| ours(lease)) {
            Lease { deadline, ..lease.clone() }.write(&guard)?;
            self.with_held(|held| held.get_mut(&key).map(|held| held.deadline = deadline));
            return Ok(true);
        }
        if let Some(lease) = standing
            && !lease.is_over(&self.boot, now)
            && guard.burns(lease.slot)?
        {
            // Ours, if there is one, is of the time before.
            drop(self.with_held(|held| held.remove(&key)));
            return Ok(false);
        }
        let beacon = guard.light()?;
        Lease { owner: hex(&owner.0), boot: self.boot.clone(), deadline, slot: beacon.slot() }.write(&guard)?;
        let ended = self.with_held(|held| {
            // What nobody gave back, since its renewal was given up.
            let ended: Vec<Held> = held.extract_if(|_, held| held.deadline <= now).map(|(_, held)| held).collect();
            (held.insert(key, Held { beacon, deadline }), ended)
        });
        drop(ended);
        Ok(true)
    }

    /// Gives it back: with its beacon out it has lapsed. What stands in the file is another's by now, or means nothing.
    pub(super) fn release(&self, outer: &str, owner: &Owner) {
        if let Some(held) = self.with_held(|held| held.remove(&(outer.to_owned(), owner.clone()))) {
            held.beacon.put_out_visibly();
        }
    }

    fn slot_of(&self, key: &(String, Owner)) -> Option<u32> {
        self.with_held(|held| held.get(key).map(|held| held.beacon.slot()))
    }

    /// No call panics or waits while it holds the lock.
    fn with_held<R>(&self, with: impl FnOnce(&mut HashMap<(String, Owner), Held>) -> R) -> R {
        let held = self.held.get_or_init(Mutex::default);
        with(&mut held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Its length never changes, so that one write replaces it.
const LENGTH: usize = "qauth-lease ".len() + 64 + 1 + 36 + 1 + 20 + 1 + 4 + 1 + 64 + 1;

impl Lease {
    /// `None`: none was ever written, or it is damaged.
    fn read(guard: &Guard) -> Result<Option<Lease>> {
        let mut line = [0; LENGTH];
        match guard.read_exact_at(&mut line, 0) {
            Ok(()) => Ok(std::str::from_utf8(&line).ok().and_then(Lease::parse)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(failed(guard.path(), "read", &error)),
        }
    }

    fn write(&self, guard: &Guard) -> Result<()> {
        guard.write_all_at(self.line().as_bytes(), 0).map_err(|error| failed(guard.path(), "written", &error))
    }

    fn is_of(&self, owner: &Owner) -> bool {
        self.owner == hex(&owner.0)
    }

    /// Another machine's clock, or one before the last start, says nothing: there the beacon alone does.
    fn is_over(&self, boot: &str, now: Duration) -> bool {
        self.boot == boot && self.deadline <= now
    }

    fn line(&self) -> String {
        let Lease { owner, boot, deadline, slot } = self;
        let text = format!("qauth-lease {owner} {boot} {:020} {slot:04}", deadline.as_nanos());
        format!("{text} {}\n", hex(&text))
    }

    fn parse(line: &str) -> Option<Lease> {
        let (text, checksum) = line.strip_suffix('\n')?.rsplit_once(' ')?;
        if hex(text) != checksum {
            return None;
        }
        let mut words = text.split(' ').skip(1);
        let (owner, boot) = (words.next()?.to_owned(), words.next()?.to_owned());
        let deadline = Duration::from_nanos(words.next()?.parse().ok()?);
        Some(Lease { owner, boot, deadline, slot: words.next()?.parse().ok()? })
    }
}

fn now() -> Duration {
    Duration::from_nanos(Clock::system().now().boot_ns())
}

/// Where the system does not say, all such systems are one.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim() {
        id if id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_graphic()) => id.to_owned(),
        _ => "-".repeat(36),
    }
}

fn hex(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease() -> Lease {
        Lease { owner: hex("a"), boot: "b".repeat(36), deadline: 7 * SECOND, slot: 12 }
    }

    #[test]
    fn a_lease_is_read_as_it_was_written_and_not_at_all_once_it_was_changed() {
        let line = lease().line();
        assert_eq!(line.len(), LENGTH);
        assert_eq!(Lease { slot: 999, deadline: Duration::from_nanos(u64::MAX), ..lease() }.line().len(), LENGTH);
        assert_eq!(Lease::parse(&line), Some(lease()));
        for at in 0..line.len() {
            let mut changed = line.clone().into_bytes();
            changed[at] ^= 1;
            assert_eq!(std::str::from_utf8(&changed).ok().and_then(Lease::parse), None, "byte {at}");
        }
    }

    #[test]
    fn a_time_means_nothing_on_another_machine_or_after_a_start() {
        let (here, elsewhere) = ("b".repeat(36), "c".repeat(36));
        assert!(!lease().is_over(&here, 6 * SECOND));
        assert!(lease().is_over(&here, 7 * SECOND));
        assert!(!lease().is_over(&elsewhere, 100 * SECOND));
        assert_eq!(boot_id().len(), 36);
    }

    fn store() -> (tempfile::TempDir, Folder) {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open_or_make(&parent.path().join("s")).unwrap();
        (parent, folder)
    }

    fn owner(name: &str) -> Owner {
        Owner(name.to_owned())
    }

    #[test]
    fn one_owner_holds_it_and_only_it_can_give_it_back() {
        let (_parent, folder) = store();
        // Two engines of one process are as strange to each other as two processes.
        let (here, there) = (Leases::new(10 * SECOND), Leases::new(10 * SECOND));
        let (one, two) = (owner("1"), owner("2"));
        assert!(here.take(&folder, "a", &one).unwrap());
        assert!(here.take(&folder, "a", &one).unwrap(), "renewed");
        assert!(here.take(&folder, "b", &two).unwrap(), "another record's");
        for (leases, owner) in [(&here, &two), (&there, &two), (&there, &one)] {
            assert!(!leases.take(&folder, "a", owner).unwrap());
            leases.release("a", owner);
            assert!(!there.take(&folder, "a", owner).unwrap());
        }
        here.release("a", &one);
        assert!(there.take(&folder, "a", &two).unwrap());
        assert!(!here.take(&folder, "a", &one).unwrap());
    }

    #[test]
    fn it_lapses_at_its_time_and_the_late_holder_harms_nobody() {
        // fault 66; a lease of no length is one whose holder was stopped for longer.
        let (_parent, folder) = store();
        let (stopped, live) = (Leases::new(Duration::ZERO), Leases::new(100 * SECOND));
        let (one, two, three) = (owner("1"), owner("2"), owner("3"));
        assert!(stopped.take(&folder, "a", &one).unwrap());
        assert!(live.take(&folder, "a", &two).unwrap(), "its beacon still burns, its time is over");
        stopped.release("a", &one);
        assert!(!live.take(&folder, "a", &three).unwrap());
        assert!(live.take(&folder, "a", &two).unwrap());

        // The other way for it to go: it tries to renew.
        live.release("a", &two);
        assert!(stopped.take(&folder, "a", &one).unwrap());
        assert!(live.take(&folder, "a", &two).unwrap());
        assert!(!stopped.take(&folder, "a", &one).unwrap());
        assert!(stopped.with_held(|held| held.is_empty()), "a former holder's beacon is put out");
        assert!(!live.take(&folder, "a", &three).unwrap());
    }

    #[test]
    fn what_a_renewal_that_was_given_up_left_goes_with_the_next_one() {
        let (_parent, folder) = store();
        let leases = Leases::new(Duration::ZERO);
        for number in 0..20 {
            assert!(leases.take(&folder, "a", &owner(&number.to_string())).unwrap());
        }
        assert_eq!(leases.with_held(|held| held.len()), 1);
    }

    #[test]
    fn a_lock_file_that_was_damaged_or_removed_by_hand_holds_nobody_up() {
        let (_parent, folder) = store();
        let (here, there) = (Leases::new(100 * SECOND), Leases::new(100 * SECOND));
        let (one, two) = (owner("1"), owner("2"));
        for harm in [
            (|path| std::fs::write(path, "x").unwrap()) as fn(std::path::PathBuf),
            |path| std::fs::write(path, [0xff; 1000]).unwrap(),
            |path| std::fs::remove_file(path).unwrap(),
        ] {
            assert!(here.take(&folder, "a", &one).unwrap());
            harm(folder.at("a.lock"));
            assert!(there.take(&folder, "a", &two).unwrap());
            assert!(!here.take(&folder, "a", &one).unwrap());
            there.release("a", &two);
            here.release("a", &one);
        }
    }
}
