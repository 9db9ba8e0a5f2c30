//! `make demo`: each program gets a token from every vendor of the simulator and calls its API; one table tells how it went.
//!
//! `demo LANGUAGE=COMMAND …`: a program is given a configuration (`QAUTH_CONFIG`) and prints a line per vendor:
//! vendor, lifetime in seconds, API status. The command line itself is run command by command.

use std::path::Path;
use std::process::{Command, ExitCode};

use qauth_core::{Engine, Request, TokenSource};
use qauth_sim::{Sim, SimOptions, known};
use serde_json::Value;

/// Vendor and a path of its API that a token opens.
const VENDORS: [(&str, &str); 5] = [
    ("quantaprice", "/prices?sku=PRODUCT-001"),
    ("quiqup", "/orders"),
    ("quable", "/api/products"),
    ("quartile", "/reports"),
    ("qpay", "/cards"),
];

type Row = (String, String, i64, u16);

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("demo: not every call succeeded");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)]
fn demo() -> Result<bool, Box<dyn std::error::Error>> {
    let sim = Sim::start(SimOptions::default())?;
    let control = control(&sim.url())?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("qauth.toml");
    std::fs::write(&config, configuration(&sim.url()))?;
    println!("simulator: {}\n", sim.url());
    println!("{:<12} {:<9} {:>10} {:>11} {:>15}", "vendor", "language", "lifetime", "API status", "token requests");
    let mut fine = true;
    for argument in std::env::args().skip(1) {
        let (language, command) = argument.split_once('=').ok_or("expected LANGUAGE=COMMAND")?;
        let command = shlex::split(command).ok_or("a quote is not closed")?;
        let (program, arguments) = command.split_first().ok_or("expected LANGUAGE=COMMAND")?;
        control.request_blocking(&Request::new("POST", "/_sim/reset"))?;
        let rows = match language {
            "CLI" => command_line(Path::new(program), &config)?,
            _ => program_rows(language, Command::new(program).args(arguments), &config)?,
        };
        let state: Value =
            serde_json::from_slice(&control.request_blocking(&Request::new("GET", "/_sim/state"))?.body)?;
        fine &= rows.len() == VENDORS.len();
        for (vendor, language, lifetime, status) in rows {
            let requests = state["vendors"][&vendor]["token_requests"].as_u64().unwrap_or_default();
            fine &= status == 200 && lifetime > 0 && requests > 0;
            println!("{vendor:<12} {language:<9} {:>8} s {status:>11} {requests:>15}", lifetime);
        }
    }
    println!(
        "\nTokens are not shown. The CLI is a process per command (one for the token, one for the call), so it asks twice."
    );
    Ok(fine)
}

/// A program that does all vendors in one process.
fn program_rows(language: &str, program: &mut Command, config: &Path) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let output = program.env("QAUTH_CONFIG", config).output().map_err(|error| format!("{language}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{language}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut next = || words.next().ok_or("a line of three words was expected");
            Ok((next()?.to_owned(), language.to_owned(), next()?.parse()?, next()?.parse()?))
        })
        .collect()
}

fn command_line(program: &Path, config: &Path) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let run = |arguments: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        let output = Command::new(program).arg("--config").arg(config).args(arguments).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("CLI: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
        }
    };
    let mut rows = Vec::new();
    for (vendor, path) in VENDORS {
        let token: Value = serde_json::from_str(&run(&["token", vendor, "--json"])?)?;
        let lifetime = token["expires_in"].as_f64().unwrap_or_default().round() as i64;
        let answer = run(&["request", vendor, "GET", path, "--include"])?;
        let status = answer.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
        rows.push((vendor.to_owned(), "CLI".to_owned(), lifetime, status));
    }
    Ok(rows)
}

/// The simulator's control API, with a token that it does not look at.
fn control(url: &str) -> Result<TokenSource, qauth_core::Error> {
    Engine::from_toml(&format!(
        r#"
        [providers.control]
        credentials = {{ key = {{}} }}
        grants = {{ static = {{ token = "{{key}}" }} }}
        [profiles.control]
        provider = "control"
        api_base_url = "{url}"
        key = "none"
        "#
    ))?
    .source("control")
}

fn configuration(url: &str) -> String {
    let profile = |vendor: &str, path: &str, fields: &[(&str, &str)]| {
        let fields: String = fields.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
        format!("[profiles.{vendor}]\nprovider = \"{vendor}\"\nbase_url = \"{url}/{path}\"\n{fields}")
    };
    [
        profile(
            "quantaprice",
            "quantaprice",
            &[("client_id", known::QUANTAPRICE_CLIENT_ID), ("client_secret", known::QUANTAPRICE_CLIENT_SECRET)],
        ),
        profile(
            "quiqup",
            "quiqup",
            &[("client_id", known::QUIQUP_CLIENT_ID), ("client_secret", known::QUIQUP_CLIENT_SECRET)],
        ),
        profile("quable", "quable/acme", &[("username", known::QUABLE_USERNAME), ("password", known::QUABLE_PASSWORD)]),
        profile(
            "quartile",
            "quartile",
            &[
                ("username", known::QUARTILE_USERNAME),
                ("password", known::QUARTILE_PASSWORD),
                ("subscription_key", known::QUARTILE_SUBSCRIPTION_KEY),
            ],
        ),
        profile("qpay", "qpay", &[("client_id", known::QPAY_CLIENT_ID), ("client_secret", known::QPAY_CLIENT_SECRET)]),
    ]
    .join("\n")
}
