//! A client that an operation makes, saved as a profile of its own (`save_as`) before anybody sees its secret.

use std::io;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::Value;

use crate::call::{self, CallResult};
use crate::config::{check_multiline, check_profile_name, check_text, literal};
use crate::error::{Error, ErrorCode, Result};
use crate::private_file;
use crate::profile::Profile;
use crate::provider::{GrantKind, Pointer, Provider};
use crate::registry::Registry;

/// A profile that is to be made.
pub(crate) struct Saving {
    name: String,
    file: PathBuf,
    /// Whose operation has made it, for those who read the file.
    origin: String,
    grant: GrantKind,
    provider: Provider,
    /// The keys that are missing, and where the answer has them.
    fields: IndexMap<String, Pointer>,
}

impl Saving {
    /// Refuses what could not be saved, while nothing has been sent.
    pub(crate) async fn prepare(registry: &Registry, profile: &Profile, operation: &str, name: &str) -> Result<Saving> {
        let operations = &profile.provider.definition().operations;
        let Some(saves) = &call::find(profile, operation)?.saves else {
            let others = operations.iter().filter(|(_, other)| other.saves.is_some()).map(|(name, _)| name.as_str());
            let others = others.collect::<Vec<_>>().join(", ");
            let others = if others.is_empty() { "none of this provider".to_owned() } else { others };
            return Err(Error::invalid_argument(format!(
                "save_as: operation {operation} answers nothing that makes a profile; {others} does"
            )));
        };
        check_profile_name(name).map_err(|error| Error::invalid_argument(format!("save_as: {}", error.message())))?;
        let taken = || Error::invalid_argument(format!("save_as: {name} is a profile already; choose another name"));
        let config = &registry.config;
        if config.profiles.get(name)?.is_some() || registry.has(name) {
            return Err(taken());
        }
        if config.providers.contains_key(name) || Provider::built_in(name).is_ok() {
            let message =
                format!("save_as: {name} is a provider, whose name would mean the profile; choose another name");
            return Err(Error::invalid_argument(message));
        }
        let file = config.profiles.new_file(name)?;
        toml::to_string(&profile.handed_on(saves.grant)?).map_err(|_| {
            Error::config("save_as: the provider that was given in code cannot be written as TOML; name it or its file")
        })?;
        on_disk(file.clone(), |file| private_file::check_create(&file)).await.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(),
            kind => {
                Error::new(ErrorCode::Store, format!("save_as: the file {} cannot be written: {kind}", file.display()))
            }
        })?;
        Ok(Saving {
            name: name.to_owned(),
            file,
            origin: format!("{operation} of profile {}", profile.name),
            grant: saves.grant,
            provider: profile.provider.clone(),
            fields: saves.fields.clone(),
        })
    }

    /// Writes the profile, at the place of the one whose credentials have brought the answer. Whatever happens, the answer is
    /// not lost: it is the result, or goes with the error.
    pub(crate) async fn finish(self, profile: &Profile, result: CallResult) -> Result<CallResult> {
        match self.write(profile, result.value()).await {
            Ok(()) => Ok(result),
            Err(error) => Err(error.with_answer(result.into_value())),
        }
    }

    async fn write(self, profile: &Profile, answer: &Value) -> Result<()> {
        let mut table = profile.handed_on(self.grant)?;
        for (key, at) in &self.fields {
            let value = self.value(key, at, answer)?;
            table.insert(key.clone(), Value::from(literal(&value)));
        }
        let (name, file) = (&self.name, self.file.display().to_string());
        let unwritten = |why: &str| {
            let message =
                format!("profile {name} could not be written to {file} ({why}); the answer comes with this error");
            Error::new(ErrorCode::Store, message)
        };
        let table = toml::to_string(&table).map_err(|_| unwritten("no TOML can say it"))?;
        let text = format!("# Made by {}.\n{table}", self.origin);
        let written = on_disk(self.file.clone(), move |file| private_file::create(&file, &text)).await;
        written.map_err(|error| unwritten(&error.kind().to_string()))?;
        tracing::info!(profile = %name, provider = self.provider.name(), "saved");
        Ok(())
    }

    fn value(&self, key: &str, at: &Pointer, answer: &Value) -> Result<String> {
        let multiline = self.provider.definition().field(key).is_some_and(|field| field.multiline);
        let check = if multiline { check_multiline } else { check_text };
        let value = match answer.pointer(&at.0) {
            Some(Value::String(text)) => check(text, key).is_ok().then(|| text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        value.ok_or_else(|| {
            Error::protocol(format!(
                "the answer has no text at {} for {key} of profile {}, which is not saved; the answer comes with this error",
                at.0, self.name
            ))
        })
    }
}

/// Files are nothing for the thread that drives the network.
async fn on_disk(file: PathBuf, work: impl FnOnce(PathBuf) -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let done = tokio::task::spawn_blocking(move || work(file)).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}
