//! Case files: what they may say. An unknown key is an error that names it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One behaviour: what the simulator does, what the caller does, what must be seen.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its ending, then the case's own name where the file holds several.
    pub name: String,
    /// Whose counters `counts` means.
    pub vendor: String,
    /// The whole configuration, placeholders and all.
    pub config: Value,
    /// Whether the engine and the source `main` are made before the first step.
    pub open: bool,
    /// Values for `{vars.NAME}`.
    pub vars: Map<String, Value>,
    /// Texts that no error message may hold, beside the simulator's credentials and every token.
    pub secrets: Vec<String>,
    /// Faces that cannot apply it, with the reason.
    pub not_for: BTreeMap<String, String>,
    /// In order.
    pub steps: Vec<Step>,
}

/// One thing that is done, and what must be seen of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Later steps refer to this one's reply by this name.
    #[serde(rename = "as")]
    pub label: Option<String>,
    /// A command for the driver.
    #[serde(rename = "do")]
    pub command: Option<String>,
    /// A call of the simulator's control API.
    pub sim: Option<String>,
    /// Counters to wait for.
    pub wait: Option<Map<String, Value>>,
    /// A file to write into the case's own folder, `{folder}`.
    pub file: Option<String>,
    /// What it holds.
    pub text: Option<String>,
    /// The JSON that goes with the command or call.
    #[serde(default)]
    pub with: Value,
    /// The profile, for `source` and `remove`; `main` unless given.
    pub name: Option<Value>,
    /// Another text than the case's configuration, for `engine`.
    pub json: Option<String>,
    /// Seconds, for `token` and `start`.
    pub min_remaining: Option<Value>,
    /// For `token` and `start`.
    pub timeout_ms: Option<Value>,
    /// For `request` and `headers`.
    pub method: Option<Value>,
    /// A path or URL, for `request` and `headers`.
    pub target: Option<Value>,
    /// For `request`.
    pub body: Option<Value>,
    /// For `request`.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// For `call`.
    pub operation: Option<Value>,
    /// For `call`.
    pub save_as: Option<Value>,
    /// For `scoped`.
    pub scope: Option<Value>,
    /// For `scoped`.
    pub audience: Option<Value>,
    /// For `scoped`.
    pub resource: Option<Value>,
    /// For `advance`, `suspend` and `step_wall_clock`.
    pub seconds: Option<Value>,
    /// For `concurrent`.
    pub threads: Option<Value>,
    /// Fields of a success.
    pub ok: Option<Value>,
    /// The code, or fields, of an error.
    pub error: Option<Value>,
    /// The simulator's counters afterwards.
    #[serde(default)]
    pub counts: Map<String, Value>,
}

/// A file, and each `[[case]]` in it, whose keys add to those of the file or replace them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Option<String>,
    vendor: Option<String>,
    /// A case for each of these, in place of `[[case]]`.
    #[serde(default)]
    vendors: Vec<String>,
    /// Keys of the profile `main`, over those of the vendor.
    #[serde(default)]
    profile: Map<String, Value>,
    /// Keys of the vendor's profile to leave out.
    #[serde(default)]
    without: Vec<String>,
    /// The rest of the configuration.
    #[serde(default)]
    config: Map<String, Value>,
    open: Option<bool>,
    #[serde(default)]
    vars: Map<String, Value>,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    not_for: BTreeMap<String, String>,
    #[serde(default, rename = "step")]
    steps: Vec<Step>,
    #[serde(default, rename = "case")]
    cases: Vec<Table>,
}

/// What `shared/vendors.toml` says of a vendor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vendor {
    #[serde(default)]
    profile: Map<String, Value>,
    #[serde(default)]
    vars: Map<String, Value>,
}

type Vendors = BTreeMap<String, Vendor>;

/// Every case of a folder, in the order of their names.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn load(folder: &Path) -> Result<Vec<Case>, String> {
    let said = |path: &Path, error: String| format!("{}: {error}", path.display());
    let shared = folder.join("shared/vendors.toml");
    let text = std::fs::read_to_string(&shared).map_err(|error| said(&shared, error.to_string()))?;
    let vendors: Vendors = toml::from_str(&text).map_err(|error| said(&shared, error.to_string()))?;
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .map_err(|error| said(folder, error.to_string()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|error| said(&path, error.to_string()))?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        cases.extend(parse(stem, &text, &vendors).map_err(|error| said(&path, error))?);
    }
    Ok(cases)
}

fn parse(stem: &str, text: &str, vendors: &Vendors) -> Result<Vec<Case>, String> {
    let file: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    if file.name.is_some() {
        return Err("name: the file's name is the case's name".into());
    }
    let of_vendors = file.vendors.iter().map(|vendor| Table { vendor: Some(vendor.clone()), ..Table::default() });
    let mut tables: Vec<Table> = file.cases.iter().cloned().chain(of_vendors).collect();
    let several = !tables.is_empty();
    if !several {
        tables.push(Table::default());
    }
    tables.into_iter().map(|table| Case::of(stem, &file, table, several, vendors)).collect()
}

impl Case {
    fn of(stem: &str, file: &Table, table: Table, several: bool, vendors: &Vendors) -> Result<Case, String> {
        let vendor = table.vendor.or_else(|| file.vendor.clone()).unwrap_or_default();
        let name = match (several, table.name.as_deref().unwrap_or(&vendor)) {
            (false, _) => stem.to_owned(),
            (true, "") => return Err("a [[case]] needs a name or a vendor".into()),
            (true, own) => format!("{stem}/{own}"),
        };
        let steps = if table.steps.is_empty() { file.steps.clone() } else { table.steps };
        if steps.is_empty() {
            return Err(format!("{name}: there is no step"));
        }
        let Vendor { mut profile, mut vars } = match vendors.get(&vendor) {
            Some(known) => known.clone(),
            None if vendor.is_empty() => Vendor::default(),
            None => return Err(format!("{name}: {vendor:?} is no vendor")),
        };
        profile.retain(|key, _| !file.without.contains(key) && !table.without.contains(key));
        profile.extend(file.profile.clone());
        profile.extend(table.profile);
        vars.extend(file.vars.clone());
        vars.extend(table.vars);
        vars.insert("vendor".into(), vendor.clone().into());
        let mut config = json!({"testing": {"clock": "manual"}});
        if !profile.is_empty() {
            config["profiles"] = json!({"main": profile});
        }
        merge(&mut config, &Value::Object(file.config.clone()));
        merge(&mut config, &Value::Object(table.config));
        let mut not_for = file.not_for.clone();
        not_for.extend(table.not_for);
        let open = table.open.or(file.open).unwrap_or(true);
        let secrets = file.secrets.iter().cloned().chain(table.secrets).collect();
        Ok(Case { name, vendor, config, open, vars, secrets, not_for, steps })
    }
}

impl Case {
    /// Gives it a store of this kind, in the folder of its files, unless it says itself which one it needs.
    pub fn keep_in(&mut self, kind: &str) {
        if self.config.get("store").is_none() && self.config.is_object() {
            self.config["store"] = match kind {
                "file" => json!({"kind": kind, "path": "{folder}/store"}),
                _ => json!({"kind": kind}),
            };
        }
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_of_a_file_share_its_steps_and_add_to_its_tables() {
        let profile = json!({"provider": "acme", "secret": "s"}).as_object().unwrap().clone();
        let vendors = Vendors::from([("acme".to_owned(), Vendor { profile, vars: Map::new() })]);
        let text = r#"
            vendor = "acme"
            without = ["secret"]
            config.transport.timeout = "1s"
            step = [{ do = "token", error = "config" }]
            [[case]]
            name = "a"
            profile.timeout = "{vars.timeout}"
            vars.timeout = 5
            [[case]]
            name = "b"
            config.testing.clock = "system"
        "#;
        let cases = parse("file", text, &vendors).unwrap();
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["file/a", "file/b"]);
        assert_eq!(cases[0].config["profiles"]["main"], json!({"provider": "acme", "timeout": "{vars.timeout}"}));
        assert_eq!(cases[1].config["testing"]["clock"], "system");
        assert_eq!(cases[1].steps.len(), 1);
        assert!(parse("file", "step = [{ od = 1 }]", &vendors).unwrap_err().contains("od"));
        assert!(parse("file", "vendor = \"acme\"", &vendors).is_err());
    }
}
