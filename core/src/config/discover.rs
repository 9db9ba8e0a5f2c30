//! Where a configuration is looked for.

use std::path::{Path, PathBuf};

use super::profiles::files_in;
use crate::error::Result;

/// Where to look when no file is named.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// By argument or `QAUTH_CONFIG`: a file that must exist.
    pub named: Option<PathBuf>,
    /// A `qauth.toml` in the working directory; the command line only.
    pub working_directory: Option<PathBuf>,
    /// The XDG folder: its `qauth.toml` and `profiles.d/*.toml`.
    pub folder: Option<PathBuf>,
}

pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) exists: bool,
    /// The caller chose it, and answers for what it says.
    pub(crate) named: bool,
    /// `profiles.d` beside it, where profiles there are read.
    pub(crate) profiles: Option<PathBuf>,
}

impl Discovery {
    /// `QAUTH_CONFIG`, then `$XDG_CONFIG_HOME/qauth` or `~/.config/qauth`.
    pub fn from_env() -> Discovery {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        Discovery {
            named: std::env::var_os("QAUTH_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from),
            working_directory: None,
            folder: folder.map(|folder| folder.join("qauth")),
        }
    }

    /// This file and `profiles.d` beside it, nothing else.
    pub fn file(path: impl Into<PathBuf>) -> Discovery {
        Discovery { named: Some(path.into()), working_directory: None, folder: None }
    }

    /// Also `./qauth.toml`, before the XDG folder.
    pub fn with_working_directory(mut self, folder: impl Into<PathBuf>) -> Discovery {
        self.working_directory = Some(folder.into());
        self
    }

    pub(crate) fn find(&self) -> Result<Option<Found>> {
        let beside = |path: &Path| path.parent().unwrap_or(Path::new("")).join("profiles.d");
        if let Some(path) = &self.named {
            return Ok(Some(Found { path: path.clone(), exists: true, named: true, profiles: Some(beside(path)) }));
        }
        let local = self.working_directory.as_ref().map(|folder| folder.join("qauth.toml"));
        if let Some(path) = local.filter(|path| path.exists()) {
            return Ok(Some(Found { path, exists: true, named: false, profiles: None }));
        }
        let Some(path) = self.folder.as_ref().map(|folder| folder.join("qauth.toml")) else { return Ok(None) };
        let (exists, profiles) = (path.exists(), beside(&path));
        let found = exists || !files_in(&profiles).is_empty();
        Ok(found.then_some(Found { path, exists, named: false, profiles: Some(profiles) }))
    }
}
