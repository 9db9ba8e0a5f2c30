//! Several credentials in one profile: each a whole profile of its own, with one identity and one record, tried in their
//! order (DESIGN.md 4).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Profile;
use super::builder::{Builder, Entry};
use crate::config::{ProfileInput, Trust};
use crate::error::Result;
use crate::provider::{PROFILE_KEYS, Provider};
use crate::record_name::RecordName;

/// The profile's key for them.
pub(super) const KEY: &str = "credentials";

/// The profile of the first of the list, or of the one that a profile without a list has.
pub(super) fn build(input: &ProfileInput, provider: &Provider, call_timeout: Duration) -> Result<Profile> {
    let Some(given) = input.table.get(KEY) else {
        return Builder { input, provider, entry: None }.build(call_timeout);
    };
    let entries = entries(&Builder { input, provider, entry: None }, given)?;
    // Half of a pair must not come from elsewhere: the environment's is of other credentials.
    let trust = Arc::new(Trust { alone: true, ..Trust::clone(&input.trust) });
    let alternative = |(index, entry): (usize, &&Map<String, Value>)| {
        let mut table = input.table.clone();
        table.remove(KEY);
        table.extend(entry.iter().map(|(key, value)| (key.clone(), value.clone())));
        let merged = ProfileInput { table, trust: trust.clone(), ..input.clone() };
        let entry = Some(Entry { index, given: entry, shared: &input.table });
        let profile = Builder { input: &merged, provider, entry }.build(call_timeout)?;
        Ok(Profile { input: input.clone(), chosen: index, ..profile })
    };
    let list: Arc<[Profile]> = entries.iter().enumerate().map(alternative).collect::<Result<_>>()?;
    Ok(Profile { alternatives: list.clone(), ..list[0].clone() })
}

/// The list as it was written: its shape, and that each of its keys says something.
fn entries<'a>(builder: &Builder<'_>, given: &'a Value) -> Result<Vec<&'a Map<String, Value>>> {
    let wrong = |index: usize, why: &str| Err(builder.wrong(&format!("{KEY}[{index}]"), why));
    let Value::Array(list) = given else {
        return Err(builder.wrong(KEY, "has the wrong type; expected a list of tables"));
    };
    if list.is_empty() {
        return Err(builder.wrong(KEY, "is empty: give one table for each, or leave it out"));
    }
    let mut entries = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        let Value::Object(entry) = entry else {
            return wrong(index, "has the wrong type; expected a table of credentials");
        };
        if let Some(key) = entry.keys().find(|key| PROFILE_KEYS.contains(&key.as_str())) {
            let at = format!("{KEY}[{index}].{key}");
            return Err(builder.wrong(&at, "is no credential: it is the whole profile's; give it there"));
        }
        if let Some(same) = entries.iter().position(|earlier| *earlier == entry) {
            return wrong(index, &format!("is the same as {KEY}[{same}]; remove one"));
        }
        entries.push(entry);
    }
    let idle = builder.fields().find(|name| {
        let everywhere = entries.iter().all(|entry| entry.contains_key(*name));
        everywhere && builder.input.table.contains_key(*name)
    });
    match idle {
        Some(name) => Err(builder.wrong(name, &format!("is not used: all of {KEY} give their own; change it there"))),
        None => Ok(entries),
    }
}

impl Profile {
    /// The credentials in the order in which a renewal tries them: those in use first, then round the list.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Profile> {
        let others = self.alternatives.iter().cycle().skip(self.chosen + 1);
        std::iter::once(self).chain(others.take(self.alternatives.len().saturating_sub(1)))
    }

    /// All of them in the order in which they were written.
    pub(crate) fn all(&self) -> &[Profile] {
        match self.alternatives.is_empty() {
            true => std::slice::from_ref(self),
            false => &self.alternatives,
        }
    }

    /// What these give beside the profile's own keys, as it was written.
    pub(super) fn entry(&self) -> Option<&Map<String, Value>> {
        self.input.table.get(KEY)?.get(self.chosen)?.as_object()
    }

    /// Which of the list these are.
    pub(crate) fn position(&self) -> usize {
        self.chosen
    }

    /// The same profile with those credentials of its list that have this record.
    pub(crate) fn with_credentials_of(&self, record: &RecordName) -> Option<Profile> {
        let found = self.alternatives.iter().find(|profile| profile.record_name.as_ref() == Some(record))?;
        Some(Profile { alternatives: self.alternatives.clone(), ..found.clone() })
    }

    /// The same with those at this position, as far as there is one.
    pub(super) fn at_position(self, position: usize) -> Profile {
        match self.alternatives.get(position) {
            Some(profile) => Profile { alternatives: self.alternatives.clone(), ..profile.clone() },
            None => self,
        }
    }

    /// Changes what is the same for all of them.
    pub(super) fn each(self, change: impl Fn(Profile) -> Profile) -> Profile {
        if self.alternatives.is_empty() {
            return change(self);
        }
        let alternatives: Arc<[Profile]> = self.alternatives.iter().cloned().map(change).collect();
        Profile { alternatives: alternatives.clone(), ..alternatives[self.chosen].clone() }
    }
}
