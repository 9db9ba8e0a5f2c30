//! The harness's view of the simulator: its control API, over plain HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use qauth_sim::{Sim, SimOptions};
use serde_json::{Value, json};

/// A running simulator and its control API.
pub struct Simulator(Sim);

impl Simulator {
    /// Starts one on any free port.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start() -> std::io::Result<Simulator> {
        Ok(Simulator(Sim::start(SimOptions::default())?))
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// As freshly started, its clock standing still.
    ///
    /// # Errors
    /// As [`Simulator::post`].
    pub fn fresh(&self) -> Result<(), String> {
        self.post("reset", &json!({}))?;
        self.post("clock", &json!({"freeze": true})).map(drop)
    }

    /// `POST /_sim/NAME`.
    ///
    /// # Errors
    /// What the simulator says is wrong.
    pub fn post(&self, name: &str, body: &Value) -> Result<Value, String> {
        self.ask("POST", name, &body.to_string())
    }

    /// Ends the faults that still wait for requests.
    ///
    /// # Errors
    /// If the simulator does not answer.
    pub fn forget_faults(&self) -> Result<Value, String> {
        self.ask("DELETE", "faults", "")
    }

    /// What has happened since [`Simulator::fresh`].
    ///
    /// # Errors
    /// If the simulator does not answer.
    pub fn state(&self) -> Result<Value, String> {
        self.ask("GET", "state", "")
    }

    fn ask(&self, method: &str, name: &str, body: &str) -> Result<Value, String> {
        let (status, answer) =
            exchange(self.0.addr(), method, name, body).map_err(|error| format!("/_sim/{name}: {error}"))?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("/_sim/{name}: {error}"))?;
        if status == 200 { Ok(answer) } else { Err(format!("/_sim/{name}: {status} {answer}")) }
    }
}

fn exchange(addr: SocketAddr, method: &str, name: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    let head = format!(
        "{method} /_sim/{name} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// One counter: `token_requests`, `by_grant.login`, of `vendor` unless `OTHER:` stands before it. `elsewhere:requests`
/// counts what reached the address that redirects lead to.
///
/// # Errors
/// A counter that does not exist.
pub fn counter(state: &Value, vendor: &str, name: &str) -> Result<u64, String> {
    let (vendor, counter) = name.split_once(':').unwrap_or((vendor, name));
    if vendor == "elsewhere" {
        let requests = state["requests"].as_array().map_or(&[][..], Vec::as_slice);
        return Ok(requests.iter().filter(|request| request["vendor"] == "elsewhere").count() as u64);
    }
    let found = counter.split('.').fold(&state["vendors"][vendor], |at, part| &at[part]);
    found.as_u64().ok_or_else(|| format!("the simulator has no counter {counter} of {vendor:?}"))
}
