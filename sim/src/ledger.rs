//! What every vendor keeps: counters, settings, queued faults and the tokens it has issued.

use crate::faults::FaultQueue;
use crate::fields::{FieldError, Fields};
use crate::http::{Reply, Request};
use crate::tokens::{Issued, TokenTable};
use hyper::header::AUTHORIZATION;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};

/// Which half of a vendor a request reached; faults and delays are set for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Token,
    Api,
}

/// What `POST /_sim/settings` changes.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) lifetime: f64,
    pub(crate) refresh_lifetime: f64,
    pub(crate) reuse_tokens: bool,
    pub(crate) refresh_tokens: bool,
    pub(crate) delay_ms: u64,
    pub(crate) api_delay_ms: u64,
}

impl Settings {
    pub(crate) fn new(lifetime: f64, refresh_lifetime: f64) -> Self {
        let (reuse_tokens, refresh_tokens, delay_ms, api_delay_ms) = (false, false, 0, 0);
        Self { lifetime, refresh_lifetime, reuse_tokens, refresh_tokens, delay_ms, api_delay_ms }
    }

    /// Takes over the given fields; all of them or, if one is wrong, none.
    pub(crate) fn update(&mut self, mut fields: Fields, vendor: &str) -> Result<(), FieldError> {
        let mut new = self.clone();
        for (name, slot) in [("lifetime", &mut new.lifetime), ("refresh_lifetime", &mut new.refresh_lifetime)] {
            if let Some(seconds) = fields.number(name)? {
                if seconds < 0.0 {
                    return Err(FieldError::new(name, "must not be negative"));
                }
                *slot = seconds;
            }
        }
        for (name, slot) in [("reuse_tokens", &mut new.reuse_tokens), ("refresh_tokens", &mut new.refresh_tokens)] {
            if fields.has(name) && vendor != "quiqup" {
                return Err(FieldError::new(name, "is a setting of quiqup only"));
            }
            *slot = fields.flag(name)?.unwrap_or(*slot);
        }
        for (name, slot) in [("delay_ms", &mut new.delay_ms), ("api_delay_ms", &mut new.api_delay_ms)] {
            *slot = fields.count(name)?.unwrap_or(*slot);
        }
        fields.finish()?;
        *self = new;
        Ok(())
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "lifetime": seconds(self.lifetime),
            "refresh_lifetime": seconds(self.refresh_lifetime),
            "reuse_tokens": self.reuse_tokens,
            "refresh_tokens": self.refresh_tokens,
            "delay_ms": self.delay_ms,
            "api_delay_ms": self.api_delay_ms,
        })
    }
}

/// Seconds as a whole number where they are one.
pub(crate) fn seconds(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) token_requests: u64,
    pub(crate) tokens_issued: u64,
    pub(crate) api_requests: u64,
    pub(crate) api_unauthorized: u64,
    pub(crate) by_grant: Map<String, Value>,
    pub(crate) reuse_detected: u64,
    /// Where each refresh token works once: those that came again, whatever had become of them.
    pub(crate) refresh_repeated: u64,
    pub(crate) sessions_killed: u64,
    pub(crate) faults_served: u64,
    /// Requests to the parts of `/generic` that are neither the token endpoint nor the API; empty for other vendors.
    pub(crate) by_part: Map<String, Value>,
    /// Requests to `/scripted` that no script foresaw; `None` for other vendors.
    pub(crate) unscripted: Option<u64>,
}

impl Counters {
    pub(crate) fn to_json(&self) -> Value {
        let mut counters = json!({
            "requests": self.token_requests + self.api_requests,
            "token_requests": self.token_requests,
            "tokens_issued": self.tokens_issued,
            "api_requests": self.api_requests,
            "api_unauthorized": self.api_unauthorized,
            "by_grant": self.by_grant,
            "reuse_detected": self.reuse_detected,
            "refresh_repeated": self.refresh_repeated,
            "sessions_killed": self.sessions_killed,
            "faults_served": self.faults_served,
        });
        if !self.by_part.is_empty() {
            counters["by_part"] = Value::Object(self.by_part.clone());
        }
        if let Some(unscripted) = self.unscripted {
            counters["unscripted"] = json!(unscripted);
        }
        counters
    }

    pub(crate) fn count_grant(&mut self, grant: &str) {
        add_one(&mut self.by_grant, grant);
    }

    pub(crate) fn count_part(&mut self, part: &str) {
        add_one(&mut self.by_part, part);
    }
}

/// Counts under a name that is there already; others are not counted.
fn add_one(counts: &mut Map<String, Value>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count = json!(count.as_u64().unwrap_or(0) + 1);
    }
}

/// The books of one vendor.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    pub(crate) token_faults: FaultQueue,
    pub(crate) api_faults: FaultQueue,
    pub(crate) tokens: TokenTable,
    pub(crate) refresh_tokens: TokenTable,
    /// Those that came once, where each works once.
    pub(crate) came: HashSet<String>,
    /// What was issued, as it was when somebody asked to keep it.
    checkpoints: HashMap<String, (TokenTable, TokenTable, HashSet<String>)>,
}

impl Ledger {
    pub(crate) fn new(settings: Settings, grants: &[&str]) -> Self {
        let by_grant = grants.iter().map(|grant| ((*grant).to_owned(), json!(0))).collect();
        Self {
            settings,
            counters: Counters { by_grant, ..Counters::default() },
            token_faults: FaultQueue::default(),
            api_faults: FaultQueue::default(),
            tokens: TokenTable::default(),
            refresh_tokens: TokenTable::default(),
            came: HashSet::new(),
            checkpoints: HashMap::new(),
        }
    }

    /// Counts a refresh token that came before; for those that work once.
    pub(crate) fn note_refresh(&mut self, token: &str) {
        if !self.came.insert(token.to_owned()) {
            self.counters.refresh_repeated += 1;
        }
    }

    pub(crate) fn keep_checkpoint(&mut self, name: &str) {
        let kept = (self.tokens.clone(), self.refresh_tokens.clone(), self.came.clone());
        self.checkpoints.insert(name.to_owned(), kept);
    }

    /// Makes what is issued as it was; `false`: nothing was kept under this name.
    pub(crate) fn back_to_checkpoint(&mut self, name: &str) -> bool {
        let Some((tokens, refresh_tokens, came)) = self.checkpoints.get(name).cloned() else { return false };
        (self.tokens, self.refresh_tokens, self.came) = (tokens, refresh_tokens, came);
        true
    }

    /// Counts the parts of these names as well.
    pub(crate) fn with_parts(mut self, parts: &[&str]) -> Self {
        self.counters.by_part = parts.iter().map(|part| ((*part).to_owned(), json!(0))).collect();
        self
    }

    pub(crate) fn faults(&mut self, endpoint: Endpoint) -> &mut FaultQueue {
        match endpoint {
            Endpoint::Token => &mut self.token_faults,
            Endpoint::Api => &mut self.api_faults,
        }
    }

    /// Notes a new access token.
    pub(crate) fn issue(&mut self, token: &str, issued: Issued) {
        self.counters.tokens_issued += 1;
        self.tokens.insert(token, issued);
    }

    /// Whose valid token the request carries; otherwise the 401 to answer.
    pub(crate) fn authorize(&self, request: &Request, now: f64) -> Result<&Issued, Reply> {
        let token = bearer(request)?;
        self.tokens.live(token, now).ok_or_else(|| Reply::unauthorized("the token is unknown, revoked or expired"))
    }

    pub(crate) fn kill_subject(&mut self, subject: &str) {
        self.tokens.kill_subject(subject);
        self.refresh_tokens.kill_subject(subject);
    }

    pub(crate) fn kill_client(&mut self, client_id: &str) {
        self.tokens.kill_client(client_id);
        self.refresh_tokens.kill_client(client_id);
    }

    /// Ends every token that came from one login, by whatever way.
    pub(crate) fn kill_family(&mut self, family: &str) {
        self.tokens.kill_group(family);
        self.refresh_tokens.kill_group(family);
    }
}

/// The bearer token of a request, spelled as all five documents spell it: one header, `Bearer`, one space.
pub(crate) fn bearer(request: &Request) -> Result<&str, Reply> {
    if !request.headers.contains_key(AUTHORIZATION) {
        return Err(Reply::unauthorized("the Authorization header is missing"));
    }
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    token.filter(|token| !token.is_empty() && !token.contains(' ')).ok_or_else(|| {
        Reply::unauthorized("the Authorization header must be given once, as \"Bearer\", one space and the token")
    })
}
