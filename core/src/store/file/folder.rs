//! The folder of a store: private, checked at each use, and written so that a power cut leaves the old or the new, whole.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};
use crate::private_file;

/// The folder as it was found, for one operation.
pub(super) struct Folder {
    path: PathBuf,
    opened: File,
}

impl Folder {
    /// `None`: it is not there.
    pub(super) fn open(path: &Path) -> Result<Option<Folder>> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let opened = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A link is "not a directory" here.
            Err(_) if path.is_symlink() => return Err(refused(path, "it is a symbolic link")),
            opened => opened.map_err(|error| failed(path, "opened", &error))?,
        };
        let found = opened.metadata().map_err(|error| failed(path, "opened", &error))?;
        match flaw(&found, euid(), "chmod 700") {
            Some(flaw) => Err(refused(path, &flaw)),
            None => Ok(Some(Folder { path: path.to_owned(), opened })),
        }
    }

    /// The same, made where it is not there, to stay.
    pub(super) fn open_or_make(path: &Path) -> Result<Folder> {
        if let Some(folder) = Folder::open(path)? {
            return Ok(folder);
        }
        private_file::make(path).map_err(|error| failed(path, "made", &error))?;
        Folder::open(path)?.ok_or_else(|| failed(path, "opened", &io::ErrorKind::NotFound.into()))
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What a file holds: `limit` bytes of it and one more, if it has them.
    pub(super) fn read(&self, name: &str, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.at(name);
        let file = match open(&path, OpenOptions::new().read(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| not_opened(&path, &error))?,
        };
        let found = check(&path, &file)?;
        // Room for all of it at once: what grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity((found.len() as usize).min(limit) + 2));
        let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(&path, "read", &error))?;
        Ok(Some(bytes))
    }

    /// Puts `bytes` in place of what stood there. Only who has the guard may: the temporary name is fixed, so that a crash
    /// leaves no heap of them. After an error the new content counts as lost, though readers may see it.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, new) = (self.at(name), self.at(&format!("{name}.new")));
        let mut file = open_to_write(&new)?;
        let written = file
            .set_len(0)
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&new, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&new);
            return Err(failed(&path, "written", &error));
        }
        self.sync()
    }

    /// Gives a file another name, in place of what had it.
    pub(super) fn rename(&self, name: &str, to: &str) -> Result<()> {
        let path = self.at(name);
        std::fs::rename(&path, self.at(to)).map_err(|error| failed(&path, "set aside", &error))?;
        self.sync()
    }

    /// All names in it.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let unread = |error| failed(&self.path, "read", &error);
        let entries = std::fs::read_dir(&self.path).map_err(unread)?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
        Ok(names.collect::<io::Result<Vec<_>>>().map_err(unread)?.into_iter().flatten().collect())
    }

    fn sync(&self) -> Result<()> {
        self.opened.sync_all().map_err(|error| failed(&self.path, "written", &error))
    }
}

/// A file of the store to write into, made where there is none. For reading too: only so does a FIFO open, to be refused.
pub(super) fn open_to_write(path: &Path) -> Result<File> {
    let file = open(path, OpenOptions::new().read(true).write(true).create(true).mode(0o600));
    let file = file.map_err(|error| not_opened(path, &error))?;
    check(path, &file)?;
    Ok(file)
}

/// Follows no link, and waits for nobody at the other end of a FIFO.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

fn check(path: &Path, file: &File) -> Result<Metadata> {
    let found = file.metadata().map_err(|error| failed(path, "opened", &error))?;
    let flaw = match found.is_file() {
        false => Some("it is no regular file".to_owned()),
        // None at all: it was replaced since it was opened.
        true if found.nlink() > 1 => Some("it is known under a second name (a hard link)".to_owned()),
        true => flaw(&found, euid(), "chmod 600"),
    };
    flaw.map_or(Ok(found), |flaw| Err(refused(path, &flaw)))
}

/// What keeps it from being its user's alone.
fn flaw(found: &Metadata, euid: u32, remedy: &str) -> Option<String> {
    let mode = found.mode() & 0o777;
    match found.uid() {
        owner if owner != euid => Some(format!("it belongs to user {owner}, and this is user {euid}")),
        _ if mode & 0o077 != 0 => Some(format!("its mode is {mode:o}, so that others may use it ({remedy})")),
        _ => None,
    }
}

fn euid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn not_opened(path: &Path, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => refused(path, "it is a symbolic link"),
        Some(libc::EISDIR) => refused(path, "it is a folder"),
        Some(libc::ENXIO) => refused(path, "it is no regular file"),
        _ => failed(path, "opened", error),
    }
}

/// What is not as the store made it is neither used nor put right.
fn refused(path: &Path, why: &str) -> Error {
    let message =
        format!("store.path: {} is refused: {why}; put it right, move it away, or name another folder", path.display());
    Error::new(ErrorCode::Store, message)
}

pub(super) fn failed(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::new(ErrorCode::Store, format!("store.path: {} cannot be {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn private() -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state/qauth");
        (parent, path)
    }

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn fifo(path: &Path) {
        use rustix::fs::{CWD, Mode, mkfifoat};
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    }

    fn why<T>(result: Result<T>) -> String {
        let error = result.err().expect("it is refused");
        assert_eq!(error.code(), ErrorCode::Store);
        error.to_string()
    }

    #[test]
    fn what_is_made_is_its_owners_alone() {
        let (_parent, path) = private();
        assert!(Folder::open(&path).unwrap().is_none());
        let folder = Folder::open_or_make(&path).unwrap();
        folder.write("a", b"first").unwrap();
        folder.write("a", b"2nd").unwrap();
        assert_eq!(**folder.read("a", 100).unwrap().unwrap(), *b"2nd");
        assert_eq!(folder.names().unwrap(), ["a"], "nothing is left over");
        let bits = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!((bits(&path), bits(path.parent().unwrap()), bits(&path.join("a"))), (0o700, 0o700, 0o600));
        assert!(folder.read("b", 100).unwrap().is_none());
    }

    #[test]
    fn a_folder_that_others_can_use_is_refused() {
        // fault 63
        let (_parent, path) = private();
        Folder::open_or_make(&path).unwrap();
        for bits in [0o777, 0o750, 0o701] {
            mode(&path, bits);
            let said = why(Folder::open_or_make(&path));
            assert!(said.contains(&format!("mode is {bits:o}")) && said.contains("chmod 700"), "{said}");
            assert!(said.contains(path.to_str().unwrap()));
            assert_eq!(path.metadata().unwrap().mode() & 0o777, bits, "it is not put right");
        }
    }

    #[test]
    fn a_folder_that_is_none_is_refused() {
        // fault 63
        let (parent, path) = private();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let elsewhere = parent.path().join("elsewhere");
        Folder::open_or_make(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(why(Folder::open_or_make(&path)).contains("symbolic link"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(why(Folder::open_or_make(&path)).contains("symbolic link"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(why(Folder::open_or_make(&path)).contains("Not a directory"));
        std::fs::remove_file(&path).unwrap();
        fifo(&path);
        assert!(why(Folder::open_or_make(&path)).contains("Not a directory"));
    }

    #[test]
    fn a_file_that_is_not_as_it_was_made_is_refused_and_left_alone() {
        // fault 63
        let (parent, path) = private();
        let folder = Folder::open_or_make(&path).unwrap();
        let strange = path.join("a");
        let outside = parent.path().join("outside");
        std::fs::write(&outside, "outside").unwrap();
        mode(&outside, 0o600);
        let refused_both_ways = |reason: &str| {
            let said = why(folder.read("a", 100));
            assert!(said.contains(reason) && said.contains(strange.to_str().unwrap()), "{said}");
            let said = why(open_to_write(&strange));
            assert!(said.contains(reason), "{said}");
        };

        std::os::unix::fs::symlink(&outside, &strange).unwrap();
        refused_both_ways("symbolic link");
        std::fs::remove_file(&strange).unwrap();

        std::fs::hard_link(&outside, &strange).unwrap();
        refused_both_ways("hard link");
        std::fs::remove_file(&strange).unwrap();

        fifo(&strange);
        refused_both_ways("no regular file");
        std::fs::remove_file(&strange).unwrap();

        let socket = UnixListener::bind(&strange).unwrap();
        refused_both_ways("no regular file");
        drop(socket);
        std::fs::remove_file(&strange).unwrap();

        std::fs::write(&strange, "readable").unwrap();
        for bits in [0o644, 0o620, 0o604] {
            mode(&strange, bits);
            refused_both_ways(&format!("mode is {bits:o}"));
        }
        std::fs::remove_file(&strange).unwrap();

        std::fs::create_dir(&strange).unwrap();
        mode(&strange, 0o700);
        assert!(why(folder.read("a", 100)).contains("no regular file"));
        assert!(why(open_to_write(&strange)).contains("a folder"));
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside");
    }

    #[test]
    fn what_stands_at_the_temporary_name_is_written_over_only_if_it_is_ours() {
        // faults 60, 63
        let (parent, path) = private();
        let folder = Folder::open_or_make(&path).unwrap();
        std::fs::write(path.join("a.new"), "half of a long record that a crash left behind").unwrap();
        mode(&path.join("a.new"), 0o600);
        folder.write("a", b"whole").unwrap();
        assert_eq!(**folder.read("a", 100).unwrap().unwrap(), *b"whole");

        let outside = parent.path().join("outside");
        std::fs::write(&outside, "outside").unwrap();
        std::os::unix::fs::symlink(&outside, path.join("a.new")).unwrap();
        assert!(why(folder.write("a", b"next")).contains("symbolic link"));
        assert!(path.join("a.new").is_symlink(), "it is not ours to remove");
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside");
        assert_eq!(**folder.read("a", 100).unwrap().unwrap(), *b"whole");
    }

    #[test]
    fn anothers_file_is_refused() {
        // fault 63
        let (_parent, path) = private();
        let folder = Folder::open_or_make(&path).unwrap();
        let found = folder.opened.metadata().unwrap();
        assert_eq!(flaw(&found, euid(), ""), None);
        let said = flaw(&found, euid() + 1, "").unwrap();
        assert_eq!(said, format!("it belongs to user {}, and this is user {}", euid(), euid() + 1));
    }

    #[test]
    fn no_more_is_read_than_asked_for() {
        // fault 69, for files
        let (_parent, path) = private();
        let folder = Folder::open_or_make(&path).unwrap();
        folder.write("a", &[7; 1000]).unwrap();
        assert_eq!(folder.read("a", 10).unwrap().unwrap().len(), 11);
        assert_eq!(folder.read("a", 1000).unwrap().unwrap().len(), 1000);
    }
}
