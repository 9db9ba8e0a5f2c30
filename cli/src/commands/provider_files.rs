//! `qauth providers check` and `qauth providers test`: for people who write a provider file.

use std::path::Path;

use qauth_core::{Error, ErrorCode, Mistake, Provider, Recorded};
use serde_json::{Value, json};

use super::Outcome;
use crate::args::ProviderWork;
use crate::console::{Console, Style};
use crate::failure::Failure;

/// A test has failed.
const FAILED: u8 = 1;

pub(super) fn run(work: &ProviderWork, console: &mut Console<'_, '_>) -> Outcome {
    match work {
        ProviderWork::Check { file } if file.as_os_str() == "-" => {
            let mut text = String::new();
            let unreadable = |error: std::io::Error| wrong(format!("standard input: {}", error.kind()));
            console.stdin().read_to_string(&mut text).map_err(unreadable)?;
            check("<stdin>", &text, console)
        }
        ProviderWork::Check { file } => check(&file.display().to_string(), &read(file, "provider file")?, console),
        ProviderWork::Test { file, recording } => test(file, recording.as_deref(), console),
    }
}

/// The text of a file that was named; `what` says which in errors.
pub(super) fn read(path: &Path, what: &str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| wrong(format!("the {what} {}: {}", path.display(), error.kind())))
}

fn wrong(message: String) -> Error {
    Error::new(ErrorCode::Config, message)
}

/// One line per mistake, in the form that editors jump to.
fn check(file: &str, text: &str, console: &mut Console<'_, '_>) -> Outcome {
    let mistakes = Provider::check_toml(text);
    let status = if mistakes.is_empty() { 0 } else { ErrorCode::Config.exit_status() };
    if console.is_json() {
        let list: Vec<Value> = mistakes.iter().map(mistake_json).collect();
        console.value(&json!({ "file": file, "mistakes": list }))?;
        return Ok(status);
    }
    for mistake in &mistakes {
        console.line(&format!("{file}:{mistake}"))?;
    }
    match mistakes.len() {
        0 => console.line(&format!("{file} is correct: {}", contents(text)?))?,
        1 => console.line("1 mistake")?,
        several => console.line(&format!("{several} mistakes"))?,
    }
    Ok(status)
}

fn mistake_json(Mistake { line, column, key, message }: &Mistake) -> Value {
    json!({ "line": line, "column": column, "key": key, "message": message })
}

/// What a correct file declares, on one line.
fn contents(text: &str) -> Result<String, Error> {
    let provider = Provider::from_toml(text)?;
    let count = |count: usize, one: &str, more: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {more}")),
    };
    let parts = [
        Some(format!("provider {}", provider.name())),
        count(provider.environments().count(), "environment", "environments"),
        count(provider.fields().count(), "field", "fields"),
        count(provider.grants().count(), "grant", "grants"),
        count(provider.operations().count(), "operation", "operations"),
    ];
    Ok(parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn test(file: &Path, recording: Option<&Path>, console: &mut Console<'_, '_>) -> Outcome {
    let provider = Provider::from_toml(&read(file, "provider file")?).map_err(|error| {
        let hint = format!("`qauth providers check {}` names every mistake in it", file.display());
        Failure::Core(error, Some(hint))
    })?;
    let beside = file.with_extension("test.toml");
    let recording = recording.unwrap_or(&beside);
    let folder = recording.parent().unwrap_or(Path::new(""));
    let tests = provider.test_recorded(&read(recording, "recording")?, folder)?;
    let failed = tests.iter().filter(|test| test.outcome.is_err()).count();
    let passed = tests.len() - failed;
    if console.is_json() {
        let list: Vec<Value> = tests.iter().map(test_json).collect();
        console.value(&json!({ "tests": list, "passed": passed, "failed": failed }))?;
    } else {
        let colored = console.colors_stdout();
        for test in &tests {
            match &test.outcome {
                Ok(()) => console.line(&format!("ok      {}", test.name))?,
                Err(why) => {
                    console.line(&format!("{}  {}: {why}", Style::Error.paint("failed", colored), test.name))?
                }
            }
        }
        console.line(&format!("{passed} passed, {failed} failed"))?;
    }
    Ok(if failed == 0 { 0 } else { FAILED })
}

fn test_json(test: &Recorded) -> Value {
    json!({ "name": test.name, "passed": test.outcome.is_ok(), "message": test.outcome.as_ref().err() })
}
