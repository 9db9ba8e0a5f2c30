//! Who may renew: a line in the lock file, changed under the guard. It lapses when its holder's beacon is out (the holder
//! died, or gave it back) or its time is over (the holder was stopped).

use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::folder::failed;
use super::locks::Guard;
use crate::clock::Clock;
use crate::error::Result;
use crate::store::Owner;

/// What stands in the lock file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lease {
    /// A digest of the owner: as long as any other.
    owner: String,
    boot: String,
    /// On the clock that goes on while the machine sleeps; it has a meaning until the machine starts anew.
    deadline: Duration,
    slot: u32,
}

/// Its length never changes, so that one write replaces it.
const LENGTH: usize = 12 + 64 + 1 + 36 + 1 + 20 + 1 + 4 + 1 + 64 + 1;

impl Lease {
    pub(super) fn new(owner: &Owner, duration: Duration, slot: u32) -> Lease {
        Lease { owner: hex(owner.0.as_bytes()), boot: boot_id().to_owned(), deadline: now() + duration, slot }
    }

    /// `None`: none was ever written, or it is damaged.
    pub(super) fn read(guard: &Guard) -> Result<Option<Lease>> {
        let mut line = [0; LENGTH];
        match guard.read_exact_at(&mut line, 0) {
            Ok(()) => Ok(std::str::from_utf8(&line).ok().and_then(Lease::parse)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(failed(guard.path(), "read", &error)),
        }
    }

    pub(super) fn write(&self, guard: &Guard) -> Result<()> {
        guard.write_all_at(self.line().as_bytes(), 0).map_err(|error| failed(guard.path(), "written", &error))
    }

    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        self.owner == hex(owner.0.as_bytes())
    }

    pub(super) fn slot(&self) -> u32 {
        self.slot
    }

    /// Whether anybody may take it. `duration`: what a lease is given for.
    pub(super) fn has_lapsed(&self, guard: &Guard, duration: Duration) -> Result<bool> {
        Ok(self.is_over(boot_id(), now(), duration) || !guard.burns(self.slot)?)
    }

    /// Another machine's clock, and that of a container with a time of its own, say nothing here: only its beacon does.
    fn is_over(&self, boot: &str, now: Duration, duration: Duration) -> bool {
        self.boot == boot && self.deadline <= now
            // TODO
            && self.deadline <= now + duration
    }

    fn line(&self) -> String {
        let Lease { owner, boot, deadline, slot } = self;
        let text = format!("qauth-lease {owner} {boot} {:020} {slot:04} ", deadline.as_nanos());
        let line = format!("{text}{}\n", hex(text.as_bytes()));
        debug_assert_eq!(line.len(), LENGTH);
        line
    }

    fn parse(line: &str) -> Option<Lease> {
        let (text, checksum) = line.trim_end().rsplit_once(' ')?;
        if hex(format!("{text} ").as_bytes()) != checksum {
            return None;
        }
        let mut words = text.split(' ').skip(1);
        let owner = words.next()?.to_owned();
        let boot = words.next()?.to_owned();
        let deadline = Duration::from_nanos(words.next()?.parse().ok()?);
        let slot = words.next()?.parse().ok()?;
        Some(Lease { owner, boot, deadline, slot })
    }
}

/// The clock of deadlines.
pub(super) fn now() -> Duration {
    Duration::from_nanos(Clock::system().now().boot_ns())
}

/// Which start of which machine this is; where the system does not say, nobody's.
fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        match id.trim() {
            id if id.len() == 36 && id.is_ascii() => id.to_owned(),
            _ => "-".repeat(36),
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
