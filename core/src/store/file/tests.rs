//! One process, and stores in it that know nothing of each other.

mod processes;

use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use super::disk::{calls, failing};
use super::*;
use crate::secret::Secret;
use crate::store::StoredRefresh;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SECOND: Duration = Duration::from_secs(1);

/// A folder for a store, on the disk or, where there is one, in memory.
fn place(disk: bool) -> (tempfile::TempDir, PathBuf) {
    let memory = Path::new("/dev/shm");
    let parent = match !disk && memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let path = parent.path().join("state/qauth");
    (parent, path)
}

fn open(path: &Path) -> FileStore {
    open_for(path, LEASE)
}

fn open_for(path: &Path, lease: Duration) -> FileStore {
    FileStore::open_with(path, Keys::default(), Clock::system(), lease).unwrap()
}

fn name() -> RecordName {
    RecordName::new(&["a".into()])
}

fn outer(store: &FileStore) -> String {
    store.0.codec.outer(&name())
}

fn file(store: &FileStore, ending: &str) -> PathBuf {
    store.0.path.join(format!("{}{ending}", outer(store)))
}

fn record(generation: u64) -> Record {
    let refresh = StoredRefresh { token: Secret::new("x".repeat(3000)), obtained_at: SECOND, lifetime: None };
    Record { generation, refresh: Some(refresh), ..Record::default() }
}

fn swap(store: &FileStore, expected: u64, generation: u64) -> Result<bool> {
    let swap = store.0.compare_and_set(&outer(store), expected, &record(generation))?;
    Ok(matches!(swap, Swap::Stored))
}

/// The generation that stands there; 0: none.
fn standing(store: &FileStore) -> Result<u64> {
    Ok(store.0.load(&outer(store))?.map_or(0, |record| record.generation))
}

fn said<T>(result: Result<T>) -> String {
    let error = result.err().expect("it fails");
    assert_eq!(error.code(), ErrorCode::Store);
    error.to_string()
}

fn on_the_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_record_lies_in_a_private_folder_under_a_name_that_tells_nothing() {
    let (_parent, path) = place(true);
    let store = open(&path);
    assert_eq!(standing(&store).unwrap(), 0);
    assert!(swap(&store, 0, 1).unwrap());
    assert!(!swap(&store, 0, 7).unwrap());
    assert!(swap(&store, 1, 2).unwrap());
    assert_eq!(standing(&open(&path)).unwrap(), 2, "another store in the same folder");
    let mut names: Vec<String> =
        std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    let outer = outer(&store);
    let mut expected =
        vec![format!("{outer}.lock"), format!("{outer}.v1"), "naming-key".into(), "naming-key.lock".into()];
    expected.sort_unstable();
    assert_eq!(names, expected);
    for name in names {
        assert_eq!(path.join(name).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn the_trait_does_its_work_on_the_engines_runtime() {
    let (_parent, path) = place(true);
    let store: Box<dyn Store> = Box::new(open(&path));
    let (one, two) = (Owner("1".into()), Owner("2".into()));
    on_the_runtime(async {
        assert!(store.shared());
        assert!(store.load(&name()).await.unwrap().is_none());
        assert!(store.lease(&name(), &one).await.unwrap());
        assert!(!store.lease(&name(), &two).await.unwrap());
        assert!(matches!(store.compare_and_set(&name(), 0, Arc::new(record(1))).await.unwrap(), Swap::Stored));
        let lost = store.compare_and_set(&name(), 0, Arc::new(record(1))).await.unwrap();
        assert!(matches!(lost, Swap::Lost(Some(winner)) if winner.generation == 1));
        store.release(&name(), &one).await.unwrap();
        assert!(store.lease(&name(), &two).await.unwrap());
        let listed = store.list().await.unwrap();
        assert!(
            matches!(&listed[..], [Listed { outer, record: Ok(record) }] if outer.len() == 40 && record.generation == 1)
        );
        assert!(store.let_go(&[name()], &|_| true));
        assert_eq!(store.load(&name()).await.unwrap().unwrap().generation, 1);
    });
}

#[test]
fn stores_that_are_opened_at_once_agree_on_one_naming_key() {
    let (_parent, path) = place(true);
    let start = Barrier::new(16);
    let names: Vec<String> = std::thread::scope(|scope| {
        let opened: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    outer(&open(&path))
                })
            })
            .collect();
        opened.into_iter().map(|opened| opened.join().unwrap()).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]));
}

#[test]
fn a_damaged_record_is_set_aside_and_counts_as_none() {
    // fault 61
    let (_parent, path) = place(true);
    let store = open(&path);
    assert!(swap(&store, 0, 5).unwrap());
    let whole = std::fs::read(file(&store, ".v1")).unwrap();
    let mut flipped = whole.clone();
    flipped[1000] ^= 1;
    let other = store.0.codec.encode(&"0".repeat(40), &record(9)).unwrap();
    for damaged in [Vec::new(), whole[..whole.len() / 2].to_vec(), flipped, other, vec![b'x'; MAX_RECORD + 1]] {
        std::fs::write(file(&store, ".v1"), &damaged).unwrap();
        let listed = store.0.list().unwrap();
        assert!(matches!(&listed[..], [Listed { record: Err(error), .. }] if error.code() == ErrorCode::Store));
        assert_eq!(standing(&store).unwrap(), 0);
        assert_eq!(std::fs::read(file(&store, ".v1.bad")).unwrap(), damaged);
        assert!(!file(&store, ".v1").exists());
        assert_eq!(standing(&store).unwrap(), 0);
        // Found by a writer, it is set aside too.
        std::fs::write(file(&store, ".v1"), &damaged).unwrap();
        std::fs::set_permissions(file(&store, ".v1"), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(swap(&store, 0, 6).unwrap());
        assert_eq!(standing(&store).unwrap(), 6);
    }
}

#[test]
fn a_record_that_only_others_can_read_is_left_alone() {
    // fault 72
    let (_parent, path) = place(true);
    let sealed = FileStore::open_with(&path, Keys::parse(&[KEY], "k").unwrap(), Clock::system(), LEASE).unwrap();
    assert!(swap(&sealed, 0, 5).unwrap());
    let newer = b"qauth/2 something new\n{}".to_vec();
    for (bytes, reason) in [(std::fs::read(file(&sealed, ".v1")).unwrap(), "other key"), (newer, "newer version")] {
        std::fs::write(file(&sealed, ".v1"), &bytes).unwrap();
        let reader = match reason {
            "newer version" => sealed.0.clone(),
            _ => {
                let codec = Codec::new(Keys::default(), false, &sealed.0.naming_key, Clock::system());
                let (naming_key, leases) = (sealed.0.naming_key.clone(), Leases::new(LEASE));
                let keys = sealed.0.keys.clone();
                Arc::new(Files { path: path.clone(), keys, naming_key, known: ArcSwapOption::empty(), codec, leases })
            }
        };
        let reader = FileStore(reader);
        assert!(said(standing(&reader)).contains(".v1"));
        assert!(said(swap(&reader, 0, 6)).contains(".v1"));
        assert_eq!(std::fs::read(file(&sealed, ".v1")).unwrap(), bytes);
        assert!(!file(&sealed, ".v1.bad").exists());
    }
    // Without the key nothing of the store can be found.
    let without = FileStore::open_with(&path, Keys::default(), Clock::system(), LEASE);
    assert!(said(without.map(|_| ())).contains("naming-key"));
}

#[test]
fn a_naming_key_is_written_anew_by_a_new_encryption_key_and_one_that_is_damaged_replaced() {
    let (_parent, path) = place(true);
    let name = outer(&open(&path));
    let sealed = FileStore::open_with(&path, Keys::parse(&[KEY], "k").unwrap(), Clock::system(), LEASE).unwrap();
    assert_eq!(outer(&sealed), name);
    assert!(String::from_utf8_lossy(&std::fs::read(path.join(NAMING_KEY)).unwrap()).contains("sealed"));
    let other = KEY.replace("00", "ff");
    let [one, two] = [[KEY, &other], [&other, KEY]]
        .map(|keys| FileStore::open_with(&path, Keys::parse(&keys, "k").unwrap(), Clock::system(), LEASE).unwrap());
    let written = std::fs::read(path.join(NAMING_KEY)).unwrap();
    for store in [&one, &two, &one] {
        assert_eq!(standing(store).unwrap(), 0);
    }
    assert!(written == std::fs::read(path.join(NAMING_KEY)).unwrap(), "not in turns, for ever");

    // fault 61
    std::fs::write(path.join(NAMING_KEY), "half").unwrap();
    assert_ne!(outer(&open(&path)), name);
    assert_eq!(std::fs::read_to_string(path.join("naming-key.bad")).unwrap(), "half");
}

#[test]
fn what_is_not_ours_in_the_folder_harms_nobody() {
    // fault 63
    let (parent, path) = place(true);
    let store = open(&path);
    assert!(swap(&store, 0, 5).unwrap());
    let outside = parent.path().join("outside");
    std::fs::write(&outside, "outside").unwrap();
    std::fs::create_dir(path.join("folder.v1")).unwrap();
    std::fs::create_dir(path.join(format!("{}.v1", "a".repeat(40)))).unwrap();
    std::os::unix::fs::symlink(&outside, path.join(format!("{}.v1", "b".repeat(40)))).unwrap();
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    std::fs::write(path.join("not\u{1f511}.v1"), "mine").unwrap();
    assert_eq!(standing(&store).unwrap(), 5);
    let listed = store.0.list().unwrap();
    let read: Vec<u64> = listed.iter().filter_map(|one| Some(one.record.as_ref().ok()?.generation)).collect();
    assert_eq!((listed.len(), read), (3, vec![5]));
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside");
    assert_eq!(std::fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");

    // In the place of a lock or record of ours.
    std::fs::remove_file(file(&store, ".lock")).unwrap();
    std::os::unix::fs::symlink(&outside, file(&store, ".lock")).unwrap();
    let said = said(store.0.leases.take(&store.0.folder().unwrap(), &outer(&store), &Owner("1".into())));
    assert!(said.contains("symbolic link") && said.contains(".lock"), "{said}");
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside");
}

#[test]
fn a_folder_that_is_removed_under_a_running_process_is_made_again_with_the_same_names() {
    let (_parent, path) = place(true);
    let (store, other) = (open(&path), open(&path));
    assert!(swap(&store, 0, 5).unwrap());
    std::fs::remove_dir_all(&path).unwrap();
    assert_eq!(standing(&store).unwrap(), 0);
    assert!(swap(&store, 0, 6).unwrap());
    assert_eq!(standing(&other).unwrap(), 6);
    assert_eq!(standing(&open(&path)).unwrap(), 6);
    std::fs::remove_file(path.join(NAMING_KEY)).unwrap();
    assert_eq!(standing(&store).unwrap(), 6);
    assert_eq!(standing(&open(&path)).unwrap(), 6);

    // Made by others meanwhile, it is another store.
    std::fs::remove_dir_all(&path).unwrap();
    let stranger = open(&path);
    assert!(swap(&stranger, 0, 1).unwrap());
    assert!(said(standing(&store)).contains("replaced by another store"));
    assert_eq!(standing(&stranger).unwrap(), 1);
}

#[test]
fn a_disk_that_fails_is_said_and_what_was_not_surely_written_counts_as_lost() {
    // fault 62
    let (_parent, path) = place(true);
    let store = open(&path);
    assert!(swap(&store, 0, 5).unwrap());
    for (call, error, text) in [
        ("write", libc::ENOSPC, "No space left on device"),
        ("write", libc::EDQUOT, "uota exceeded"),
        ("truncate", libc::EIO, "Input/output error"),
        ("fsync", libc::EIO, "Input/output error"),
        ("rename", libc::EROFS, "Read-only file system"),
        ("open", libc::EROFS, "Read-only file system"),
        ("open", libc::EMFILE, "Too many open files"),
    ] {
        let said = failing(call, error, || said(swap(&store, 5, 6)));
        assert!(said.contains(text) && said.contains(path.to_str().unwrap()), "{said}");
        assert_eq!(standing(&store).unwrap(), 5, "{call}: the old one stands");
        assert!(!file(&store, ".v1.new").exists());
    }
    let said = failing("fsync folder", libc::EIO, || said(swap(&store, 5, 6)));
    assert!(said.contains("Input/output error"), "{said}");
    assert_eq!(standing(&store).unwrap(), 6, "it may be seen, but it was not promised");
    assert!(swap(&store, 6, 7).unwrap(), "the disk works again");

    let take = || store.0.leases.take(&store.0.folder()?, &outer(&store), &Owner("1".into()));
    for error in [libc::EMFILE, libc::EROFS] {
        assert!(failing("open", error, || take().is_err()));
    }
    assert!(take().unwrap());
}

#[test]
fn content_is_on_the_disk_before_its_name_and_the_name_before_the_answer() {
    // fault 60: what a power cut leaves depends on this order alone.
    let (_parent, path) = place(true);
    let store = open(&path);
    assert!(swap(&store, 0, 5).unwrap());
    let made = calls(|| assert!(swap(&store, 5, 6).unwrap()));
    let writing: Vec<_> = made.into_iter().filter(|call| !["open", "lock", "fcntl"].contains(call)).collect();
    assert_eq!(writing, ["truncate", "write", "fsync", "rename", "fsync folder"]);
}

#[test]
fn a_guard_goes_with_a_thread_that_panics_and_is_waited_for_in_bounds() {
    let (_parent, path) = place(true);
    let store = open(&path);
    let outer = outer(&store);
    let held = Guard::take(&store.0.folder().unwrap(), &outer).unwrap();
    let waited = Guard::take_within(&store.0.folder().unwrap(), &outer, Duration::from_millis(5)).err().unwrap();
    assert_eq!(waited.code(), ErrorCode::Store);
    assert!(waited.to_string().contains(&format!("{outer}.lock")) && waited.to_string().contains("SIGSTOP"));
    let panicked = std::thread::spawn(move || {
        let _held = held;
        panic!("as planned");
    });
    assert!(panicked.join().is_err());
    assert!(Guard::take_within(&store.0.folder().unwrap(), &outer, Duration::ZERO).is_ok());
}

#[test]
fn a_file_system_without_locks_is_named() {
    // fault 64
    let (_parent, path) = place(true);
    for error in [libc::ENOLCK, libc::EOPNOTSUPP, libc::EINVAL] {
        let opened = failing("lock", error, || FileStore::open_with(&path, Keys::default(), Clock::system(), LEASE));
        let said = said(opened.map(|_| ()));
        assert!(said.contains("has no locks") && said.contains(path.to_str().unwrap()), "{said}");
    }
}

#[test]
fn the_folder_is_found_by_the_rules_of_xdg() {
    let found = |path: Option<&str>, state: Option<&str>, home: Option<&str>| {
        choose_folder(path.map(Path::new), state.map(OsString::from), home.map(OsString::from))
    };
    let path = |text: &str| PathBuf::from(text);
    assert_eq!(found(Some("here"), Some("/s"), Some("/h")).unwrap(), path("here"));
    assert_eq!(found(None, Some("/s"), Some("/h")).unwrap(), path("/s/qauth"));
    for ignored in [None, Some(""), Some("relative")] {
        assert_eq!(found(None, ignored, Some("/h")).unwrap(), path("/h/.local/state/qauth"));
        let error = found(None, ignored, None).unwrap_err();
        assert!(error.message().starts_with("store.path: "));
    }
}

#[test]
fn a_slash_at_the_end_lets_no_link_through() {
    // fault 63
    let (parent, path) = place(true);
    open(&path);
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for spelling in ["link", "link/", "link//", "link/."] {
        let opened = FileStore::open_with(&parent.path().join(spelling), Keys::default(), Clock::system(), LEASE);
        assert!(said(opened.map(|_| ())).contains("symbolic link"), "{spelling}");
    }
}

#[test]
fn where_the_system_gives_no_thread_a_later_try_can_succeed() {
    // fault 75
    let (_parent, path) = place(true);
    let store = open(&path);
    on_the_runtime(async {
        let name = name();
        let mut loading = std::pin::pin!(store.load(&name));
        let refused = failing("thread", libc::EAGAIN, || {
            loading.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        });
        let std::task::Poll::Ready(Err(error)) = refused else { panic!("it was given one") };
        assert!(error.code() == ErrorCode::Store && error.retryable(), "{error}");
        assert!(store.load(&name).await.unwrap().is_none());
    });
}
