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

/// A new file in the same folder, its owner's alone. No two writers have the same one.
fn beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let folder = folder(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
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
}
