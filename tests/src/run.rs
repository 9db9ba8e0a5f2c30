//! The interpreter: executes one case against one driver and the simulator.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::case::{Case, Step};
use crate::expect;
use crate::face::Driver;
use crate::simulator::{Simulator, counter};
use crate::text::{Scope, known_credentials, plain};
use crate::wire::{self, Reply};

/// How long counters may take to become what a `wait` step says.
const PATIENCE: Duration = Duration::from_secs(30);

/// The words of the one error table.
const CODES: [&str; 19] = [
    "invalid_argument",
    "config",
    "invalid_client",
    "invalid_grant",
    "reauthentication_required",
    "access_denied",
    "rate_limited",
    "server_error",
    "network",
    "timeout",
    "tls",
    "protocol",
    "store",
    "store_unavailable",
    "session_conflict",
    "unsupported",
    "cancelled",
    "closed",
    "internal",
];

/// Executes a case; `trace` shows every line.
///
/// # Errors
/// The step that failed, and why.
pub fn run(case: &Case, driver: &mut Driver, sim: &Simulator, trace: bool) -> Result<(), String> {
    sim.fresh()?;
    let folder = tempfile::tempdir().map_err(|error| format!("a folder for files: {error}"))?;
    let (url, path) = (sim.url(), folder.path().to_string_lossy().into_owned());
    let scope = Scope { sim: url, folder: path, vars: case.vars.clone(), ..Scope::default() };
    let mut hidden: Vec<String> = known_credentials().filter(|known| known.3).map(|known| known.2.to_owned()).collect();
    for secret in &case.secrets {
        hidden.push(scope.text(secret)?);
    }
    let printed = driver.printed().len();
    let mut run = Run { case, driver, sim, scope, hidden, trace };
    let result = run.steps();
    let closed = run.send(&["close".into()]);
    result?;
    closed?;
    let said = run.driver.printed();
    match said.get(printed..) {
        None | Some("") => Ok(()),
        Some(text) => Err(format!("the driver wrote to its standard error: {text:?}")),
    }
}

struct Run<'a> {
    case: &'a Case,
    driver: &'a mut Driver,
    sim: &'a Simulator,
    scope: Scope,
    /// What no error message may hold.
    hidden: Vec<String>,
    trace: bool,
}

impl Run<'_> {
    fn steps(&mut self) -> Result<(), String> {
        if self.case.open {
            for command in ["engine", "source"] {
                let step = Step { command: Some(command.into()), ..Step::default() };
                self.step(&step).map_err(|why| format!("before step 1 ({command}): {why}"))?;
            }
        }
        for (index, step) in self.case.steps.iter().enumerate() {
            let what = step.command.as_deref().or(step.sim.as_deref()).or(step.file.as_deref()).unwrap_or("wait");
            self.step(step).map_err(|why| format!("step {} ({what}): {why}", index + 1))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let reply = match (&step.command, &step.sim, &step.wait, &step.file) {
            (Some(command), None, None, None) => self.command(command, step)?,
            (None, Some(name), None, None) => self.control(name, step)?,
            (None, None, Some(counts), None) => self.wait(counts).map(|()| Reply::ok())?,
            (None, None, None, Some(name)) => {
                self.write(name, &self.scope.text(step.text.as_deref().unwrap_or_default())?)?
            }
            _ => return Err("expected one of do, sim, wait and file".into()),
        };
        let (ok, error) = (self.filled(&step.ok)?, self.filled(&step.error)?);
        expect::check(&reply, ok.as_ref(), error.as_ref())
            .map_err(|why| format!("{why}; the reply was {}", shown(&reply)))?;
        self.check_counts(&step.counts)?;
        if let Some(label) = &step.label {
            self.scope.replies.insert(label.clone(), reply);
        }
        Ok(())
    }

    fn command(&mut self, command: &str, step: &Step) -> Result<Reply, String> {
        let with = || self.with(step);
        let text = |value: &Option<Value>| match value {
            Some(value) => Ok(plain(&self.scope.fill(value)?)),
            None => Ok::<_, String>(String::new()),
        };
        let mut fields = vec![command.to_owned()];
        match command {
            "engine" => fields.push(match &step.json {
                Some(json) => self.scope.text(json)?,
                None => self.scope.fill(&self.case.config)?.to_string(),
            }),
            "engine_from_file" => {
                self.write("qauth.json", &self.scope.fill(&self.case.config)?.to_string())?;
                fields.push(self.scope.text("{folder}/qauth.json")?);
            }
            "source" => {
                fields.push(step.name.as_ref().map_or(Ok("main".into()), |_| text(&step.name))?);
                let with = with()?;
                if !with.is_empty() {
                    fields[0] = "source_with".into();
                    fields.push(Value::Object(with).to_string());
                }
            }
            "token" | "start" => fields.extend([text(&step.min_remaining)?, text(&step.timeout_ms)?]),
            "headers" => fields.extend([text(&step.method)?, text(&step.target)?]),
            "request" => {
                fields.extend([text(&step.method)?, text(&step.target)?, text(&step.body)?]);
                for (name, value) in self.scope.fill_map(&step.headers)? {
                    fields.extend([name, plain(&value)]);
                }
            }
            "call" => {
                let parameters = Value::Object(with()?).to_string();
                fields.extend([text(&step.operation)?, parameters, text(&step.save_as)?]);
            }
            "update" => fields.push(Value::Object(with()?).to_string()),
            "scoped" => fields.extend([text(&step.scope)?, text(&step.audience)?, text(&step.resource)?]),
            "advance" | "suspend" => {
                let seconds = text(&step.seconds)?;
                // First the simulator's: what the engine obtains on its way must not be older than the engine believes.
                let number: f64 = seconds.parse().map_err(|_| "seconds: expected a number")?;
                self.sim.post("clock", &serde_json::json!({"advance": number}))?;
                fields.push(seconds);
            }
            // The simulator's clock is another machine's.
            "step_wall_clock" => fields.push(text(&step.seconds)?),
            "concurrent" => fields.push(text(&step.threads)?),
            "custom_source" => {
                let with = with()?;
                let keys = with.get("keys").map_or_else(|| "{}".to_owned(), Value::to_string);
                fields.extend([text(&step.name)?, keys]);
                for result in with.get("results").and_then(Value::as_array).into_iter().flatten() {
                    let part = |key: &str| result.get(key).map(plain).unwrap_or_default();
                    fields.extend(["access_token", "expires_in", "error"].map(part));
                }
            }
            "remove" | "clear" => fields.push(step.name.as_ref().map_or(Ok("main".into()), |_| text(&step.name))?),
            "join" | "header" | "invalidate" | "reset" | "close" | "custom_calls" | "events" | "metrics"
            | "records" => {}
            _ => return Err(format!("{command:?} is no command")),
        }
        let mut reply = self.send(&fields)?;
        if let Some(kinds) = reply.get("events").map(kinds_of).transpose()? {
            reply.values.push(("kinds".into(), kinds));
        }
        Ok(reply)
    }

    fn send(&mut self, fields: &[String]) -> Result<Reply, String> {
        let line = wire::line(fields.iter().map(String::as_str));
        if self.trace {
            crate::suite::println(&format!("    > {line}"));
        }
        let answer = self.driver.ask(&line)?;
        if self.trace {
            crate::suite::println(&format!("    < {answer}"));
        }
        let reply = Reply::from_line(&answer)?;
        self.judge(&reply)?;
        Ok(reply)
    }

    /// What holds for every reply: an error has a known code and a message, and nothing but its answer holds a secret or
    /// token.
    fn judge(&mut self, reply: &Reply) -> Result<(), String> {
        if let Some(token) = reply.get("access_token") {
            self.hide(token);
        }
        let shown = shown(reply);
        let texts = reply.values.iter().filter(|(key, _)| key != "answer").map(|(_, value)| value.as_str());
        let texts: Vec<&str> = texts.collect();
        let found = |hidden: &[String]| hidden.iter().find(|secret| holds(&texts.join("\n"), secret)).cloned();
        if ["events", "metrics", "records"].iter().any(|key| reply.get(key).is_some())
            && let Some(secret) = found(&self.hidden)
        {
            return Err(format!("the reply shows the secret {secret:?}: {shown}"));
        }
        if reply.kind != "error" {
            return Ok(());
        }
        let code = reply.get("code").unwrap_or_default();
        if !CODES.contains(&code) || reply.get("message").is_none_or(str::is_empty) {
            return Err(format!("an error needs a known code and a message: {shown}"));
        }
        if !["true", "false"].contains(&reply.get("retryable").unwrap_or_default()) {
            return Err(format!("an error says whether it is retryable: {shown}"));
        }
        match found(&self.hidden) {
            Some(secret) => Err(format!("the error shows the secret {secret:?}: {shown}")),
            None => Ok(()),
        }
    }

    fn hide(&mut self, secret: &str) {
        if !self.hidden.iter().any(|known| known == secret) {
            self.hidden.push(secret.to_owned());
        }
    }

    fn control(&mut self, name: &str, step: &Step) -> Result<Reply, String> {
        let body = self.with(step)?;
        for (_, value) in body.iter().filter(|(key, _)| key.contains("secret") || key.contains("password")) {
            self.hide(&plain(value));
        }
        let answer = match name {
            "forget_faults" => self.sim.forget_faults()?,
            name => self.sim.post(name, &Value::Object(body))?,
        };
        let values = answer.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), plain(value)));
        Ok(Reply { kind: "ok".into(), values: values.collect() })
    }

    fn with(&self, step: &Step) -> Result<Map<String, Value>, String> {
        match self.scope.fill(&step.with)? {
            Value::Null => Ok(Map::new()),
            Value::Object(map) => Ok(map),
            _ => Err("with: expected a table".into()),
        }
    }

    /// A file of the case's own, which nobody else can write: else it were no file to be trusted.
    fn write(&self, name: &str, text: &str) -> Result<Reply, String> {
        let path = std::path::Path::new(&self.scope.folder).join(name);
        let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text));
        let private = std::fs::Permissions::from_mode(0o600);
        written.and_then(|()| std::fs::set_permissions(&path, private)).map_err(|error| format!("{name}: {error}"))?;
        Ok(Reply::ok())
    }

    /// Lets requests that are under way arrive.
    fn wait(&self, counts: &Map<String, Value>) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            match self.check_counts(counts) {
                Ok(()) => return Ok(()),
                Err(why) if begin.elapsed() > PATIENCE => return Err(why),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn check_counts(&self, counts: &Map<String, Value>) -> Result<(), String> {
        if counts.is_empty() {
            return Ok(());
        }
        let state = self.sim.state()?;
        for (name, wanted) in self.scope.fill_map(counts)? {
            let found = counter(&state, &self.case.vendor, &name)?.to_string();
            expect::matches(Some(&found), &wanted)
                .map_err(|why| format!("the simulator's {name}: {why}, got {found}"))?;
        }
        Ok(())
    }

    fn filled(&self, value: &Option<Value>) -> Result<Option<Value>, String> {
        value.as_ref().map(|value| self.scope.fill(value)).transpose()
    }
}

/// The kinds of a list of events, in order.
fn kinds_of(events: &str) -> Result<String, String> {
    let events: Vec<Value> = serde_json::from_str(events).map_err(|error| format!("events: {error}"))?;
    let kinds = events.iter().map(|event| event.get("kind").map(plain).unwrap_or_default());
    Ok(kinds.collect::<Vec<_>>().join(","))
}

/// A reply for people: long values cut.
fn shown(reply: &Reply) -> String {
    let values = reply.values.iter().map(|(key, value)| format!("  {key}={}", expect::shortened(value)));
    std::iter::once(reply.kind.clone()).chain(values).collect()
}

/// Whether a text holds a secret, as it is or encoded.
fn holds(text: &str, secret: &str) -> bool {
    let percent = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string();
    let encoded = [percent, STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret)];
    text.contains(secret) || encoded.iter().any(|form| text.contains(form.as_str()))
}
