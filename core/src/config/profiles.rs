//! The profiles of an engine: those that its configuration names, and those that have come into `profiles.d` since.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::{Owner, Trust, check_profile_name, read};
use crate::error::{Error, Result};

/// One profile as it was written.
#[derive(Clone)]
pub(crate) struct ProfileInput {
    pub(crate) name: String,
    pub(crate) table: Map<String, Value>,
    pub(crate) trust: Arc<Trust>,
    /// No configuration names it: its credentials come from the process environment.
    pub(crate) implicit: bool,
}

impl std::fmt::Debug for ProfileInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProfileInput({:?})", self.name)
    }
}

/// Found by name; a file that another process has put into `profiles.d` is a profile at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profiles {
    /// As they were when the engine was made, in their order.
    written: IndexMap<String, ProfileInput>,
    /// `profiles.d` beside the configuration's file, where there is such a file and profiles beside it are read.
    folder: Option<PathBuf>,
    trust: Arc<Trust>,
}

impl Profiles {
    /// Those of one document.
    pub(crate) fn new(tables: IndexMap<String, Map<String, Value>>, trust: &Arc<Trust>) -> Result<Profiles> {
        let mut written = IndexMap::with_capacity(tables.len());
        for (name, table) in tables {
            check_profile_name(&name)?;
            let input = ProfileInput { name: name.clone(), table, trust: trust.clone(), implicit: false };
            written.insert(name, input);
        }
        Ok(Profiles { written, folder: None, trust: trust.clone() })
    }

    /// Those of `profiles.d` too, now and later.
    pub(crate) fn add_folder(&mut self, folder: PathBuf) -> Result<()> {
        for file in files_in(&folder) {
            let name = name_of(&file);
            check_profile_name(&name)?;
            let input = self.load(&file, &name)?;
            if self.written.insert(name.clone(), input).is_some() {
                return Err(Error::config(format!("profiles.{name}: is given in {} too; keep one", file.display())));
            }
        }
        self.folder = Some(folder);
        Ok(())
    }

    /// The profile of this name, if there is one.
    ///
    /// # Errors
    /// `config`: it has a file that cannot be read or is not to be trusted.
    pub(crate) fn get(&self, name: &str) -> Result<Option<ProfileInput>> {
        if let Some(input) = self.written.get(name) {
            return Ok(Some(input.clone()));
        }
        // What is no name of a profile is no name of a file either.
        let file =
            self.folder.as_ref().filter(|_| check_profile_name(name).is_ok()).map(|folder| file_in(folder, name));
        file.filter(|file| may_be_there(file)).map(|file| self.load(&file, name)).transpose()
    }

    /// Their names; those that have come since the engine was made stand last.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.written.keys().cloned().collect();
        let found = self.folder.iter().flat_map(|folder| files_in(folder)).map(|file| name_of(&file));
        names.extend(found.filter(|name| !self.written.contains_key(name) && check_profile_name(name).is_ok()));
        names
    }

    /// The file that a new profile of this name has.
    ///
    /// # Errors
    /// `config`: there is no folder for it.
    pub(crate) fn new_file(&self, name: &str) -> Result<PathBuf> {
        match (&self.folder, &self.trust.folder) {
            (Some(folder), _) => Ok(file_in(folder, name)),
            (None, Some(_)) => Err(Error::config(
                "save_as: profiles beside a qauth.toml of the working directory are not read; name the file by its path, \
                 or use the one of the XDG folder",
            )),
            (None, None) => Err(Error::config(
                "save_as: this engine has no configuration file beside which a profile could be saved; make it from a file",
            )),
        }
    }

    fn load(&self, file: &Path, name: &str) -> Result<ProfileInput> {
        match read(file, Owner::User)? {
            Value::Object(table) => {
                Ok(ProfileInput { name: name.to_owned(), table, trust: self.trust.clone(), implicit: false })
            }
            _ => Err(Error::config(format!("{}: is no table", file.display()))),
        }
    }
}

fn file_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.toml"))
}

fn name_of(file: &Path) -> String {
    file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned()
}

/// `*.toml` in the order of their names.
pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort_unstable();
    files
}

/// What cannot be looked at is no reason to take something else of that name.
fn may_be_there(file: &Path) -> bool {
    let absent = [ErrorKind::NotFound, ErrorKind::NotADirectory];
    file.metadata().err().is_none_or(|error| !absent.contains(&error.kind()))
}
