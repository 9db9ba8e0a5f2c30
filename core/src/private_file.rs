//! A file that holds one secret: for its owner alone, and whole at any time.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::random::random_hex;

/// Writes `text` in place of what stood there; once it returns, a power cut does not lose it. Missing folders are made.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let (mut file, temporary) = beside(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, path)) {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(folder(path))?.sync_all()
}

/// Writes a file that is not there yet, as durable as [`write`]; `AlreadyExists` where something has come there meanwhile.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    let (mut file, temporary) = beside(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // A rename would replace what stands there.
    let linked = written.and_then(|()| std::fs::hard_link(&temporary, path));
    let _ = std::fs::remove_file(&temporary);
    linked?;
    File::open(folder(path))?.sync_all()
}

/// Whether [`create`] could do its work now.
pub(crate) fn check_create(path: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let (_, temporary) = beside(path)?;
    // Some file systems know no second name.
    let mut second = temporary.clone().into_os_string();
    second.push(".link");
    let linked = std::fs::hard_link(&temporary, &second).and_then(|()| std::fs::remove_file(&second));
    std::fs::remove_file(&temporary)?;
    linked
}

/// Whether [`write`] could do its work now. What stands at `path` is not touched.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let (_, temporary) = beside(path)?;
    std::fs::remove_file(&temporary)
}

/// Removes it; `false`: it was not there.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed?,
    }
    File::open(folder(path))?.sync_all()?;
    Ok(true)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder, and those above it, to stay: its name is as durable as what is written into it.
pub(crate) fn make(new: &Path) -> io::Result<()> {
    if new.is_dir() {
        return Ok(());
    }
    make(folder(new))?;
    match std::fs::DirBuilder::new().mode(0o700).create(new) {
        // Somebody else was faster.
        Err(_) if new.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(io::ErrorKind::NotADirectory.into()),
        made => made.and_then(|()| File::open(folder(new))?.sync_all()),
    }
}

/// A new file in the same folder, its owner's alone. No two writers have the same one.
fn beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let folder = folder(path);
    make(folder)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}", random_hex(8)));
    let temporary = folder.join(name);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    Ok((file, temporary))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_its_owners_alone_and_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/login");
        write(&path, "first").unwrap();
        write(&path, "second").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_check_leaves_nothing_behind_and_tells_what_a_write_would_meet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/login");
        check(&path).unwrap();
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        write(&path, "text").unwrap();
        check(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        assert!(check(&path.join("below")).is_err(), "below a file");
        assert!(check(folder.path()).is_err(), "a folder");
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }

    #[test]
    fn a_new_file_takes_nobodys_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/profile.toml");
        check_create(&path).unwrap();
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
        create(&path, "first").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for folder in [path.parent().unwrap(), path.parent().unwrap().parent().unwrap()] {
            assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        }
        assert_eq!(check_create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(create(&path, "second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let nowhere = path.with_file_name("nowhere.toml");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &nowhere).unwrap();
        assert!(check_create(&nowhere).is_err(), "a link that leads nowhere");
        assert!(create(&nowhere, "third").is_err());
        assert!(!folder.path().join("elsewhere").exists());
    }
}
