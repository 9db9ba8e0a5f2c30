//! The simulator of the vendors, and its control.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use qauth_sim::{Sim, SimOptions};
use serde_json::{Value, json};

pub(crate) struct Host(Sim);

impl Host {
    pub(crate) fn start() -> Result<Host, String> {
        Sim::start(SimOptions::default()).map(Host).map_err(|error| format!("the simulator: {error}"))
    }

    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    /// `POST /_sim/NAME`.
    pub(crate) fn control(&self, name: &str, body: &Value) -> Result<Value, String> {
        let (status, answer) = http(&self.0.addr(), "POST", &format!("/_sim/{name}"), &[], &body.to_string())?;
        match status {
            200 => serde_json::from_str(&answer).map_err(|error| format!("{name}: {error}")),
            _ => Err(format!("the simulator answers {status} to {name}: {answer}")),
        }
    }

    pub(crate) fn counters(&self, vendor: &str) -> Result<Counters, String> {
        let (_, answer) = http(&self.0.addr(), "GET", "/_sim/state", &[], "")?;
        let state: Value = serde_json::from_str(&answer).map_err(|error| format!("state: {error}"))?;
        let of = |name: &str| state["vendors"][vendor][name].as_u64().unwrap_or(0);
        Ok(Counters {
            requests: of("token_requests"),
            issued: of("tokens_issued"),
            repeated: of("refresh_repeated"),
            logins: state["vendors"][vendor]["by_grant"]["login"].as_u64().unwrap_or(0),
        })
    }

    /// Time passes at the vendors.
    pub(crate) fn advance(&self, seconds: u64) -> Result<(), String> {
        self.control("clock", &json!({"advance": seconds})).map(drop)
    }

    pub(crate) fn settings(&self, vendor: &str, name: &str, value: u64) -> Result<(), String> {
        self.control("settings", &json!({"vendor": vendor, name: value})).map(drop)
    }

    /// A person signs in at `/generic`; what is left is a refresh token that works once.
    pub(crate) fn sign_in(&self) -> Result<String, String> {
        let known = |name| qauth_sim::known::generic(name).unwrap_or_default();
        let form = format!(
            "grant_type=password&client_id={}&username={}&password={}",
            known("public_client_id"),
            known("username").replace('@', "%40"),
            known("password"),
        );
        let content = [("Content-Type", "application/x-www-form-urlencoded")];
        let (status, answer) = http(&self.0.addr(), "POST", "/generic/token", &content, &form)?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("sign-in: {status}, {error}"))?;
        let token = answer["refresh_token"].as_str().ok_or(format!("the sign-in was answered {status}: {answer}"))?;
        Ok(token.to_owned())
    }
}

/// What the vendor has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// To its token endpoint.
    pub(crate) requests: u64,
    pub(crate) issued: u64,
    /// Refresh tokens that came a second time.
    pub(crate) repeated: u64,
    pub(crate) logins: u64,
}

/// One request on a connection of its own.
pub(crate) fn http(
    to: &SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<(u16, String), String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("{method} {path}: {error}"))?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("{method} {path}: no answer"))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}
