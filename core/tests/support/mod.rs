//! The simulator and a configuration for it.
#![allow(dead_code, reason = "no test uses all of it")]

use std::sync::OnceLock;

use qauth_core::{Engine, Request, TokenSource};
use qauth_sim::{Sim, SimOptions, known};
use serde_json::Value;

/// One simulator for one test.
pub(crate) struct Bench {
    sim: Sim,
    control: OnceLock<TokenSource>,
}

impl Bench {
    pub(crate) fn start() -> Bench {
        Bench { sim: Sim::start(SimOptions::default()).unwrap(), control: OnceLock::new() }
    }

    pub(crate) fn url(&self) -> String {
        self.sim.url().to_owned()
    }

    /// Profiles of all five vendors, named like them, and what else the test wants to say.
    pub(crate) fn engine(&self, more: &str) -> Engine {
        let url = self.url();
        let toml = format!(
            r#"
            [profiles.quantaprice]
            provider = "quantaprice"
            base_url = "{url}/quantaprice"
            client_id = "{}"
            client_secret = "{}"
            [profiles.quiqup]
            provider = "quiqup"
            base_url = "{url}/quiqup/"
            client_id = "{}"
            client_secret = "{}"
            [profiles.quable]
            provider = "quable"
            base_url = "{url}/quable/acme"
            username = "{}"
            password = "{}"
            [profiles.quartile]
            provider = "quartile"
            base_url = "{url}/quartile"
            username = "{}"
            password = "{}"
            subscription_key = "{}"
            [profiles.qpay]
            provider = "qpay"
            base_url = "{url}/qpay"
            client_id = "{}"
            client_secret = "{}"
            {more}
            "#,
            known::QUANTAPRICE_CLIENT_ID,
            known::QUANTAPRICE_CLIENT_SECRET,
            known::QUIQUP_CLIENT_ID,
            known::QUIQUP_CLIENT_SECRET,
            known::QUABLE_USERNAME,
            known::QUABLE_PASSWORD,
            known::QUARTILE_USERNAME,
            known::QUARTILE_PASSWORD,
            known::QUARTILE_SUBSCRIPTION_KEY,
            known::QPAY_CLIENT_ID,
            known::QPAY_CLIENT_SECRET,
        );
        Engine::from_toml(&toml).unwrap()
    }

    pub(crate) fn settings(&self, body: &Value) {
        self.control("POST", "/_sim/settings", Some(body));
    }

    pub(crate) fn count(&self, vendor: &str, counter: &str) -> u64 {
        let state = self.control("GET", "/_sim/state", None);
        state["vendors"][vendor][counter].as_u64().unwrap_or_else(|| panic!("no counter {vendor}.{counter}"))
    }

    /// Waits until the simulator has seen so many.
    pub(crate) fn wait_for_count(&self, vendor: &str, counter: &str, count: u64) {
        while self.count(vendor, counter) < count {
            std::thread::yield_now();
        }
    }

    /// The control API, through a static token that it does not look at.
    pub(crate) fn control(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let source = self.control.get_or_init(|| {
            let toml = format!(
                "[profiles.control]\nprovider = {{ name = \"control\", credentials = {{ key = {{}} }}, grants = {{ static = {{ token = \"{{key}}\" }} }} }}\nkey = \"none\"\napi_base_url = \"{}\"",
                self.url()
            );
            Engine::from_toml(&toml).unwrap().source("control").unwrap()
        });
        let mut request = Request::new(method, path);
        if let Some(body) = body {
            request.headers.push(("Content-Type".into(), "application/json".into()));
            request.body = Some(body.to_string().into_bytes());
        }
        let response = source.request_blocking(&request).unwrap();
        assert!(response.status < 300, "{path}: {}", String::from_utf8_lossy(&response.body));
        serde_json::from_slice(&response.body).unwrap_or_default()
    }
}

/// What a simulator without a bench has counted.
pub(crate) fn state(url: &str) -> Value {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "GET /_sim/state HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}
