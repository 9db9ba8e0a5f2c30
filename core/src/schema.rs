//! JSON Schemas (2020-12) of provider files and of configurations, for editors: what the types of both say, and the
//! patterns of their texts. What only [`Provider::check_toml`](crate::Provider::check_toml) can know (references that lead
//! nowhere, keys that exclude each other) is not in them.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::config::Document;
use crate::profile::Options;
use crate::provider::{Condition, Definition, Grant, GrantKind, Instant, JsonTemplate, Part, Pattern, Pointer, Span};
use crate::provider::{Template, Unit, Zone};

/// A provider file.
pub fn provider() -> Value {
    finished::<Definition>("A qauth provider file")
}

/// A configuration such as `qauth.toml`.
pub fn configuration() -> Value {
    finished::<Document>("A qauth configuration")
}

fn finished<T: JsonSchema>(title: &str) -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    let mut schema = schema.to_value();
    without_null(&mut schema);
    schema
}

/// TOML knows no null: what may be absent is simply not required.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(members) => {
            members.values_mut().for_each(without_null);
            if members.get("default") == Some(&Value::Null) {
                members.shift_remove("default");
            }
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            let null = json!({ "type": "null" });
            if let Some(Value::Array(choices)) = members.get_mut("anyOf")
                && choices.contains(&null)
            {
                choices.retain(|choice| *choice != null);
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    members.shift_remove("anyOf");
                    members.extend(only);
                }
            }
        }
        _ => {}
    }
}

/// `[grants]`: its keys are known.
pub(crate) fn grants(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": generator.subschema_for::<GrantKind>(),
        "additionalProperties": generator.subschema_for::<Grant>(),
    })
}

/// `[profiles]`: the options, and the provider's own fields as text.
pub(crate) fn profiles(generator: &mut SchemaGenerator) -> Schema {
    let provider = json!({
        "description": "A provider's name, a provider file, or a table like one.",
        "anyOf": [{ "type": "string" }, generator.subschema_for::<InlineProvider>()],
    });
    let credentials = json!({
        "description": "Several credentials, tried in order: each a table of the provider's fields, over the profile's own.",
        "type": "array",
        "items": { "type": "object", "additionalProperties": { "type": "string" } },
        "minItems": 1,
        "uniqueItems": true,
    });
    let mut profile = Options::json_schema(generator);
    if let Some(Value::Object(properties)) = profile.get_mut("properties") {
        properties.insert("provider".to_owned(), provider);
        properties.insert("credentials".to_owned(), credentials);
    }
    profile.insert("description".to_owned(), "One named use of a provider.".into());
    profile.insert("required".to_owned(), json!(["provider"]));
    profile.insert("additionalProperties".to_owned(), json!({ "type": "string" }));
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$" },
        "additionalProperties": profile,
    })
}

/// `[providers]`: a table's key is its name.
pub(crate) fn providers(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<InlineProvider>() })
}

struct InlineProvider;

impl JsonSchema for InlineProvider {
    fn schema_name() -> Cow<'static, str> {
        "Provider".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Definition::json_schema(generator);
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.retain(|key| key != "name");
        }
        schema
    }
}

/// A length of time.
pub(crate) struct Length;

macro_rules! text {
    ($of:ty, $name:literal, $($schema:tt)+) => {
        impl JsonSchema for $of {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($schema)+)
            }
        }
    };
}

text!(Length, "Duration", {
    "description": "Such as \"60s\", \"500ms\", \"5m\", \"12h\" or \"7d\", or a number of seconds.",
    "anyOf": [
        { "type": "string", "pattern": "^([0-9]+\\.?[0-9]*|\\.[0-9]+)(ms|s|m|h|d)?$" },
        { "type": "number", "minimum": 0, "maximum": 3_153_600_000_u64 },
    ],
});
text!(Template, "Template", {
    "description": "Text with {name} and {base64(name)}, {now(seconds)}, {now(milliseconds)}, {random(16)}, {jwt(name)} in it.",
    "type": "string",
    "pattern": "^([^{}]|\\{\\{|\\}\\}|\\{([a-z][a-z0-9_]*|(base64|jwt)\\([a-z][a-z0-9_]*\\)|now\\((seconds|milliseconds)\\)|random\\(([89]|[1-5][0-9]|6[0-4])\\))\\})*$",
});
text!(Pattern, "Pattern", {
    "description": "A regular expression that must match the whole value.",
    "type": "string",
    "format": "regex",
});
text!(Pointer, "Pointer", {
    "description": "A JSON Pointer (RFC 6901).",
    "type": "string",
    "pattern": "^/([^~]|~[01])*$",
});
text!(Zone, "Zone", {
    "description": "\"UTC\", an offset such as \"+02:00\", or a name such as \"Europe/Berlin\".",
    "type": "string",
    "minLength": 1,
});

impl JsonSchema for JsonTemplate {
    fn schema_name() -> Cow<'static, str> {
        "JsonTemplate".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let itself = generator.subschema_for::<JsonTemplate>();
        json_schema!({
            "description": "Any value, whose texts are templates.",
            "anyOf": [
                generator.subschema_for::<Template>(),
                { "type": ["number", "boolean"] },
                { "type": "array", "items": itself },
                { "type": "object", "additionalProperties": itself },
            ],
        })
    }
}

/// A place of an answer, with further keys that its table may have.
fn place(generator: &mut SchemaGenerator, description: &str, further: &[(&str, Schema)]) -> Schema {
    let pointer = generator.subschema_for::<Pointer>();
    let mut properties = json!({
        "path": pointer,
        "header": { "type": "string" },
        "cookie": { "type": "string" },
        "text": { "const": true, "description": "The whole body, without white space around it." },
    });
    for (key, schema) in further {
        properties[*key] = schema.clone().to_value();
    }
    let one: Vec<Value> = ["path", "header", "cookie", "text"].map(|key| json!({ "required": [key] })).into();
    json_schema!({
        "description": description,
        "anyOf": [
            pointer,
            {
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
                "oneOf": one,
            },
        ],
    })
}

impl JsonSchema for Part {
    fn schema_name() -> Cow<'static, str> {
        "Part".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        place(generator, "One place of an answer.", &[])
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let unit = generator.subschema_for::<Unit>();
        place(generator, "A length of time in an answer.", &[("unit", unit)])
    }
}

impl JsonSchema for Instant {
    fn schema_name() -> Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (unit, zone) = (generator.subschema_for::<Unit>(), generator.subschema_for::<Zone>());
        place(generator, "A moment in an answer.", &[("unit", unit), ("zone", zone)])
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let any = || json_schema!({});
        let description = "A place of an answer whose value equals this one, or does not, in a failure.";
        let mut schema = place(generator, description, &[("equals", any()), ("not", any())]);
        // A pointer alone says nothing of the value.
        let table = schema.get("anyOf").and_then(|choices| choices.get(1)).cloned().unwrap_or_default();
        schema.remove("anyOf");
        schema.insert(
            "allOf".to_owned(),
            json!([table, { "oneOf": [{ "required": ["equals"] }, { "required": ["not"] }] }]),
        );
        schema
    }
}
