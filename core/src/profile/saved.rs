//! What a profile hands on to a new one that an operation's answer makes (`save_as`).

use serde_json::{Map, Value};

use super::Profile;
use super::builder::Builder;
use super::needs::Needs;
use crate::config::{ProfileInput, literal};
use crate::error::Result;
use crate::provider::{Field, GrantKind};

/// Options that say where the vendor is, not who calls.
const PLACES: [&str; 4] = ["environment", "base_url", "api_base_url", "allowed_hosts"];

impl Profile {
    /// The keys of a profile with this grant at the same vendor, but for its credentials: those of this one stay where they
    /// are, for they may be a person's.
    pub(crate) fn handed_on(&self, grant: GrantKind) -> Result<Map<String, Value>> {
        let definition = self.provider.definition();
        let written = |key: &str| self.entry().and_then(|entry| entry.get(key)).or_else(|| self.input.table.get(key));
        let own = |key: &str| written(key).filter(|value| !value.is_null()).cloned();
        let mut table = Map::new();
        table.extend(own("provider").map(|provider| ("provider".to_owned(), provider)));
        table.insert("grant".to_owned(), Value::from(grant.name()));
        table.extend(PLACES.into_iter().filter_map(|key| Some((key.to_owned(), own(key)?))));

        let mut input = ProfileInput { table, ..self.input.clone() };
        let builder = Builder { input: &input, provider: &self.provider, entry: None };
        let (options, _) = builder.split()?;
        let environment = builder.environment(&options)?.map(|(_, environment)| environment);
        let dpop = builder.dpop(&options, grant)?;
        let needs = Needs::of(definition, grant, environment, &options, dpop);
        // What came of this process's environment is another one's too; the default is everybody's.
        let found = |name: &String, field: &Field| {
            let value = self.value(name)?.expose();
            let everywhere = field.env.is_none() && field.default.as_deref() == Some(value);
            (!everywhere).then(|| Value::from(literal(value)))
        };
        let variables = definition.variables.iter().filter(|(name, _)| needs.get(name).is_some());
        let variables: Vec<(String, Value)> = variables
            .filter_map(|(name, field)| Some((name.clone(), own(name).or_else(|| found(name, field))?)))
            .collect();
        input.table.extend(variables);
        Ok(input.table)
    }
}
