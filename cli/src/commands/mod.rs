//! The commands, and what they share: the engine and the source that the options name.

mod call;
mod clear;
mod login;
mod logout;
mod provider_files;
mod providers;
mod request;
mod status;
mod token;

use std::path::Path;

use clap::error::ErrorKind;
use qauth_core::{Discovery, Engine, ErrorCode, Provider, TokenSource};
use serde_json::{Map, Value};

use crate::args::{Cli, Command, Global, NarrowingArgs, ProvidersArgs, SimArgs, Unparsed};
use crate::assignment::{self, Files, wrong};
use crate::console::Console;
use crate::failure::{self, Failure};

/// Where nothing is stored, this may be why.
const SEEN_BY_ITS_OWN_PROCESS: &str = "a store of kind memory, which is the default, is seen by its own process alone; \
                                       [store] kind in the configuration says where else tokens can live";

/// A command's result is written; this is its exit status.
pub(crate) type Outcome = Result<u8, Failure>;

pub(crate) fn execute(cli: &Cli, console: &mut Console<'_, '_>) -> Outcome {
    let open = || Session::open(&cli.global);
    match &cli.command {
        Command::Token(args) => token::run(&open()?, args, console)?,
        Command::Request(args) => request::run(&open()?, args, console)?,
        Command::Call(args) => call::run(&open()?, args, console)?,
        Command::Login(args) => login::run(&open()?, args, console)?,
        Command::Logout(args) => logout::run(&open()?, args, console)?,
        Command::Status(_) => status::run(&open()?, console)?,
        Command::Clear(args) => clear::run(&open()?, args, console)?,
        Command::Providers(ProvidersArgs { work: Some(work), .. }) => return provider_files::run(work, console),
        Command::Providers(args) => providers::run(&open()?.engine, args, console)?,
        Command::Sim(args) => return Ok(simulate(args)),
    }
    Ok(0)
}

/// Help and version to stdout; a mistake to stderr, as `invalid_argument`.
pub(crate) fn unparsed(unparsed: Unparsed, console: &mut Console<'_, '_>) -> Outcome {
    if unparsed.is_result() {
        console.result(&unparsed.text)?;
        return Ok(0);
    }
    let status = ErrorCode::InvalidArgument.exit_status();
    if console.is_json() && unparsed.kind != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let text = unparsed.text.to_string();
        let first = text.split("\n\n").next().unwrap_or_default();
        let message = first.split_whitespace().collect::<Vec<_>>().join(" ");
        let error = wrong(message.strip_prefix("error: ").unwrap_or(&message));
        console.complain(&format!("{}\n", failure::to_json(&error)));
    } else {
        console.complain_styled(&unparsed.text);
    }
    Ok(status)
}

fn simulate(args: &SimArgs) -> u8 {
    let program = std::iter::once("qauth sim".into());
    let status = qauth_sim::run(program.chain(args.arguments.iter().cloned()));
    u8::try_from(status).unwrap_or(ErrorCode::Internal.exit_status())
}

/// The engine of one command; its threads are joined when the command ends.
struct Session {
    engine: Engine,
    overrides: Map<String, Value>,
}

impl Session {
    fn open(global: &Global) -> Result<Session, Failure> {
        let overrides = overrides(&global.set)?;
        let mut discovery = Discovery::from_env();
        if let Ok(folder) = std::env::current_dir() {
            discovery = discovery.with_working_directory(folder);
        }
        if let Some(path) = &global.config {
            discovery.named = Some(path.clone());
        }
        Ok(Session { engine: Engine::discover_in(&discovery)?, overrides })
    }

    fn source(&self, profile: &str) -> Result<TokenSource, Failure> {
        let provider = self.engine.provider_for(profile, &self.overrides).map_err(|error| {
            let hint = "no profiles were found: name a configuration with --config FILE or QAUTH_CONFIG; \
                        `qauth providers` lists what works without one";
            let none = self.engine.profiles().is_empty();
            Failure::Core(error, none.then(|| hint.to_owned()))
        })?;
        refuse_secrets(&provider, &self.overrides)?;
        Ok(self.engine.source_with(profile, &self.overrides)?)
    }

    fn narrowed(&self, profile: &str, to: &NarrowingArgs) -> Result<TokenSource, Failure> {
        let source = self.source(profile)?;
        match (to.scope.as_deref(), to.audience.as_deref(), to.resource.as_deref()) {
            (None, None, None) => Ok(source),
            (scope, audience, resource) => Ok(source.scoped(scope, audience, resource)?),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.close();
    }
}

fn overrides(set: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut overrides = assignment::parse(set, "--set", Files::Text, &mut std::io::empty())?;
    paths_from_here(&mut overrides);
    Ok(overrides)
}

fn paths_from_here(keys: &mut Map<String, Value>) {
    for (key, value) in keys {
        match value {
            Value::String(text) => {
                if let Some(absolute) = from_here(key, text) {
                    *text = absolute;
                }
            }
            // Those of each of several `credentials`.
            Value::Array(list) => list.iter_mut().filter_map(Value::as_object_mut).for_each(paths_from_here),
            _ => {}
        }
    }
}

/// A path on the command line begins in the working directory; the core would begin in the configuration's folder.
fn from_here(key: &str, text: &str) -> Option<String> {
    let is_file = key == "provider" && (text.contains('/') || text.ends_with(".toml"));
    let (scheme, path) = match text.strip_prefix("file:") {
        Some(path) => ("file:", path),
        None if is_file => ("", text),
        None => return None,
    };
    let absolute = std::path::absolute(Path::new(path)).ok()?;
    Some(format!("{scheme}{}", absolute.to_str()?))
}

/// The command line is seen by every user of the machine (`ps`) and kept by the shell: no secret belongs there.
fn refuse_secrets(provider: &Provider, overrides: &Map<String, Value>) -> Result<(), Failure> {
    let is_reference = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.starts_with("env:") || text.starts_with("file:")
    };
    if overrides.get("refresh_token").is_some_and(|value| !is_reference(value)) {
        return Err(wrong(
            "--set refresh_token: is a secret, which other users can see on the command line; \
             write refresh_token=file:PATH or refresh_token=env:NAME",
        )
        .into());
    }
    let secrets = provider.fields().filter(|field| field.secret);
    for field in secrets {
        if overrides.get(field.name).is_some_and(|value| !is_reference(value)) {
            let variable = field.env.map(|env| format!(", or set the environment variable {env}")).unwrap_or_default();
            let name = field.name;
            return Err(wrong(format!(
                "--set {name}: is a secret, which other users can see on the command line; \
                 write {name}=env:NAME or {name}=file:PATH{variable}"
            ))
            .into());
        }
    }
    // Each of several.
    let list = overrides.get("credentials").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_object).try_for_each(|entry| refuse_secrets(provider, entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(overrides: Value) -> Option<String> {
        let provider = Provider::built_in("quiqup").unwrap();
        let Value::Object(overrides) = overrides else { panic!("expected an object") };
        match refuse_secrets(&provider, &overrides) {
            Err(Failure::Core(error, _)) => Some(error.message().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_secret_may_be_pointed_to_but_not_given() {
        for value in [json!("canary"), json!("literal:canary"), json!("cmd:echo canary"), json!(["canary"]), json!("")]
        {
            let said = refused(json!({ "client_secret": value })).expect("this is refused");
            assert!(said.contains("QUIQUP_CLIENT_SECRET") && !said.contains("canary"), "{said}");
        }
        assert!(refused(json!({"refresh_token": "canary"})).is_some_and(|said| !said.contains("canary")));
        assert_eq!(refused(json!({"refresh_token": "file:x.login"})), None);
        assert_eq!(refused(json!({"client_secret": "env:MY_SECRET", "client_id": "me", "environment": "mock"})), None);
        assert_eq!(refused(json!({"client_secret": "file:/run/secret"})), None);
        let several = |last: &str| json!({"credentials": [{"client_secret": "env:A"}, {"client_secret": last}]});
        assert!(refused(several("canary")).is_some_and(|said| !said.contains("canary")));
        assert_eq!(refused(several("file:/run/secret")), None);
    }

    #[test]
    fn a_path_on_the_command_line_begins_in_the_working_directory() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        assert_eq!(from_here("client_secret", "file:x/y"), Some(format!("file:{here}/x/y")));
        assert_eq!(from_here("provider", "mine.toml"), Some(format!("{here}/mine.toml")));
        assert_eq!(from_here("client_secret", "file:/x"), Some("file:/x".to_owned()));
        assert_eq!(from_here("provider", "quiqup"), None);
        assert_eq!(from_here("base_url", "http://127.0.0.1/x"), None);
        let mut several = Map::from_iter([("credentials".to_owned(), json!([{ "client_secret": "file:x/y" }]))]);
        paths_from_here(&mut several);
        assert_eq!(several["credentials"][0]["client_secret"], format!("file:{here}/x/y"));
    }
}
