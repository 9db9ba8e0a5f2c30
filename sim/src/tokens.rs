//! Minting tokens in the vendors' shapes, and the table of those that were issued.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;

const PURGE_FROM: usize = 65_536;

/// A token, or refresh token, as its issuer remembers it.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    /// The client or the person that it was issued to.
    pub(crate) subject: String,
    /// A person's token (by password), not a client's.
    pub(crate) person: bool,
    /// What else it belongs to: Quable's instance, or the login that began a family of Quartile tokens.
    pub(crate) group: String,
    pub(crate) issued_at: f64,
    pub(crate) expires_at: f64,
    /// A refresh token that has been used where each works once.
    pub(crate) spent: bool,
    /// What it is good for, where the vendor knows such things.
    pub(crate) grant: Option<Box<Grant>>,
}

/// What a token of `/generic` carries beside its subject and its times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) scope: Vec<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) resource: Vec<String>,
    /// The thumbprint of the DPoP key that it is bound to (RFC 9449 6).
    pub(crate) jkt: Option<String>,
    /// The thumbprint of the certificate that it is bound to (RFC 8705 3).
    pub(crate) x5t: Option<String>,
    /// Who acts for the subject (RFC 8693 4.1).
    pub(crate) act: Option<Value>,
}

impl Issued {
    pub(crate) fn new(subject: &str, now: f64, lifetime: f64) -> Self {
        Self {
            subject: subject.to_owned(),
            person: false,
            group: String::new(),
            issued_at: now,
            expires_at: now + lifetime,
            spent: false,
            grant: None,
        }
    }

    pub(crate) fn with_grant(self, grant: Grant) -> Self {
        Self { grant: Some(Box::new(grant)), ..self }
    }

    pub(crate) fn of_person(self) -> Self {
        Self { person: true, ..self }
    }

    pub(crate) fn in_group(self, group: &str) -> Self {
        Self { group: group.to_owned(), ..self }
    }
}

/// The issued tokens of one vendor, by their text.
#[derive(Debug, Clone)]
pub(crate) struct TokenTable {
    entries: HashMap<String, Issued>,
    purge_at: usize,
}

impl Default for TokenTable {
    fn default() -> Self {
        Self { entries: HashMap::new(), purge_at: PURGE_FROM }
    }
}

impl TokenTable {
    pub(crate) fn insert(&mut self, token: &str, issued: Issued) {
        if self.entries.len() >= self.purge_at {
            let now = issued.issued_at;
            self.entries.retain(|_, entry| entry.expires_at > now);
            self.purge_at = PURGE_FROM.max(self.entries.len() * 2);
        }
        self.entries.insert(token.to_owned(), issued);
    }

    /// The token's entry, if it is known and not expired; a spent one is still found.
    pub(crate) fn live(&self, token: &str, now: f64) -> Option<&Issued> {
        self.entries.get(token).filter(|entry| now < entry.expires_at)
    }

    pub(crate) fn spend(&mut self, token: &str) {
        if let Some(entry) = self.entries.get_mut(token) {
            entry.spent = true;
        }
    }

    /// The longest-lived token of a subject that is still valid.
    pub(crate) fn latest_of(&self, subject: &str, now: f64) -> Option<(&str, &Issued)> {
        let live = self.entries.iter().filter(|(_, e)| e.subject == subject && now < e.expires_at && !e.spent);
        live.max_by(|a, b| a.1.expires_at.total_cmp(&b.1.expires_at)).map(|(token, entry)| (token.as_str(), entry))
    }

    pub(crate) fn has_live_in(&self, group: &str, now: f64) -> bool {
        self.entries.values().any(|entry| entry.group == group && now < entry.expires_at)
    }

    pub(crate) fn kill(&mut self, token: &str) {
        self.entries.remove(token);
    }

    pub(crate) fn kill_subject(&mut self, subject: &str) {
        self.entries.retain(|_, entry| entry.subject != subject);
    }

    pub(crate) fn kill_group(&mut self, group: &str) {
        self.entries.retain(|_, entry| entry.group != group);
    }

    /// Ends what was issued to a client, whomever it stands for.
    pub(crate) fn kill_client(&mut self, client_id: &str) {
        self.entries.retain(|_, entry| entry.grant.as_ref().is_none_or(|grant| grant.client_id != client_id));
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system's random numbers do not run out");
    bytes
}

/// Random lower-case hex of `2 * N` digits.
pub(crate) fn hex<const N: usize>() -> String {
    random::<N>().iter().fold(String::with_capacity(2 * N), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A string that reads as an RS256 JWT and is signed by nobody: clients must treat it as opaque.
pub(crate) fn jwt(issuer: &str, subject: &str, now: f64, lifetime: f64) -> String {
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "qauth-sim"}).to_string();
    let (issued_at, expires_at) = (now.floor() as i64, (now + lifetime).floor() as i64);
    let payload = json!({"iss": issuer, "sub": subject, "iat": issued_at, "exp": expires_at, "jti": hex::<16>()});
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    [encode(header.as_bytes()), encode(payload.to_string().as_bytes()), encode(&random::<256>())].join(".")
}
