//! `qauth providers`: what can be used without writing anything, and what each of them needs.

use std::path::Path;

use qauth_core::{Engine, Error, ErrorCode, FieldInfo, OperationInfo, Provider};
use serde_json::{Value, json};

use super::provider_files;
use crate::args::ProvidersArgs;
use crate::console::{Console, Style};
use crate::failure::Failure;
use crate::table::{columns, print_table};

pub(super) fn run(engine: &Engine, args: &ProvidersArgs, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let Some(name) = &args.name else { return list(engine, console) };
    let provider = find(engine, name)?;
    if !args.toml {
        return match console.is_json() {
            true => console.value(&provider.to_json()),
            false => show(&provider, console),
        };
    }
    let text = toml(&provider)?;
    if console.is_json() {
        let mut value = provider.to_json();
        value["toml"] = Value::from(text);
        return console.value(&value);
    }
    console.write(text.as_bytes())
}

fn find(engine: &Engine, name: &str) -> Result<Provider, Error> {
    if !name.contains('/') && !name.ends_with(".toml") {
        return engine.provider(name);
    }
    Provider::from_toml(&provider_files::read(Path::new(name), "provider file")?)
}

/// The provider's file. A table of the configuration has none of its own.
fn toml(provider: &Provider) -> Result<&str, Error> {
    match provider.source() {
        text if text.starts_with('{') => {
            let message = format!("provider {:?} is a table of the configuration and has no file", provider.name());
            Err(Error::new(ErrorCode::Unsupported, message))
        }
        text => Ok(text),
    }
}

fn list(engine: &Engine, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let providers = engine.provider_names().map(|name| engine.provider(&name)).collect::<Result<Vec<_>, _>>()?;
    if console.is_json() {
        return console.value(&providers.iter().map(summary).collect());
    }
    let heading = ["NAME", "DESCRIPTION", "GRANTS", "ENVIRONMENTS"];
    let rows = providers.iter().map(|provider| {
        [
            provider.name().to_owned(),
            provider.description().unwrap_or_default().to_owned(),
            provider.grants().collect::<Vec<_>>().join(", "),
            provider.environments().collect::<Vec<_>>().join(", "),
        ]
    });
    print_table(heading, rows, console)
}

fn show(provider: &Provider, console: &mut Console<'_, '_>) -> Result<(), Failure> {
    let colored = console.colors_stdout();
    let title = Style::Heading.paint(provider.name(), colored);
    match provider.description() {
        Some(description) => console.line(&format!("{title}: {description}"))?,
        None => console.line(&title)?,
    }
    let sections = [
        ("Grants", columns(&firsts(provider.grants()))),
        ("Environments", columns(&firsts(provider.environments()))),
        ("Fields", columns(&provider.fields().map(field_row).collect::<Vec<_>>())),
        ("Operations", columns(&provider.operations().map(operation_row).collect::<Vec<_>>())),
    ];
    for (heading, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
        console.line("")?;
        console.line(&Style::Heading.paint(heading, colored))?;
        for line in lines {
            console.line(&format!("  {line}"))?;
        }
    }
    Ok(())
}

/// The first one is what a profile gets that says nothing.
fn firsts<'a>(names: impl Iterator<Item = &'a str>) -> Vec<[String; 2]> {
    names
        .enumerate()
        .map(|(index, name)| [name.to_owned(), if index == 0 { "default".to_owned() } else { String::new() }])
        .collect()
}

fn field_row(field: FieldInfo<'_>) -> [String; 4] {
    let default = field.default.map(|default| format!("default {default:?}"));
    let pattern = field.pattern.map(|pattern| format!("matches {pattern}"));
    let optional = field.optional.then(|| "optional".to_owned());
    let remarks = [default, optional, pattern, field.description.map(str::to_owned)];
    let remarks: Vec<String> = remarks.into_iter().flatten().collect();
    [
        field.name.to_owned(),
        field.env.unwrap_or("-").to_owned(),
        if field.secret { "secret".to_owned() } else { String::new() },
        remarks.join("; "),
    ]
}

fn operation_row(operation: OperationInfo<'_>) -> [String; 4] {
    let parameters = operation.parameters.iter().map(|(name, required)| match required {
        true => format!("{name}=…"),
        false => format!("[{name}=…]"),
    });
    let grants = (!operation.grants.is_empty()).then(|| format!("grant {}", operation.grants.join(" or ")));
    let remarks: Vec<String> = operation.description.map(str::to_owned).into_iter().chain(grants).collect();
    [
        operation.name.to_owned(),
        format!("{} {}", operation.method, operation.path),
        parameters.collect::<Vec<_>>().join(" "),
        remarks.join("; "),
    ]
}

fn summary(provider: &Provider) -> Value {
    json!({
        "name": provider.name(),
        "description": provider.description(),
        "grants": provider.grants().collect::<Vec<_>>(),
        "environments": provider.environments().collect::<Vec<_>>(),
    })
}
