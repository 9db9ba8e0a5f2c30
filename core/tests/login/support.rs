//! A server, a folder with a configuration, and what every test says.

#[path = "../support/script.rs"]
mod script;

use std::path::PathBuf;

use qauth_core::{Engine, Error, LoginOptions, TokenOptions, TokenSource};
use serde_json::{Value, json};

pub(crate) use script::Script;

pub(crate) const REDIRECT: &str = "http://127.0.0.1:4711/callback";

/// A public client of one server, whose refresh token is kept in a file of the folder.
pub(crate) struct Bench {
    pub(crate) server: Script,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let bench = Bench { server: Script::start(), folder: tempfile::tempdir().unwrap() };
        bench.server.answers("/device", [(200, device(10))]);
        bench
    }

    /// Where the refresh token is kept.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("logins/p.login")
    }

    /// An engine of its own, as another process has one.
    pub(crate) fn engine(&self, grant: &str, more: &str) -> Engine {
        self.engine_on("manual", grant, more)
    }

    /// The same where pauses take their time.
    pub(crate) fn engine_on(&self, clock: &str, grant: &str, more: &str) -> Engine {
        let url = self.server.url();
        let endpoint = match grant {
            "device_code" => format!("device_authorization_endpoint = \"{url}/device\""),
            "authorization_code" => format!("authorization_endpoint = \"{url}/authorize\""),
            _ => String::new(),
        };
        Engine::from_toml(&format!(
            r#"
            [testing]
            clock = "{clock}"
            [profiles.p]
            provider = "oauth2"
            grant = "{grant}"
            client_id = "client"
            token_endpoint = "{url}/token"
            {endpoint}
            revocation_endpoint = "{url}/revoke"
            scope = "read offline_access"
            {more}
            "#
        ))
        .unwrap()
    }

    /// The source of a fresh engine whose profile keeps its sign-in.
    pub(crate) fn source(&self, grant: &str) -> TokenSource {
        self.kept(grant).1
    }

    pub(crate) fn kept(&self, grant: &str) -> (Engine, TokenSource) {
        let engine = self.engine(grant, &format!("refresh_token = \"file:{}\"", self.file().display()));
        let source = engine.source("p").unwrap();
        (engine, source)
    }

    /// The token endpoint's answers from now on.
    pub(crate) fn grants(&self, answers: impl IntoIterator<Item = (u16, Value)>) {
        self.server.answers("/token", answers);
    }

    pub(crate) fn stored(&self) -> Option<String> {
        std::fs::read_to_string(self.file()).ok()
    }
}

pub(crate) fn device(interval: u64) -> Value {
    json!({
        "device_code": "canary-code",
        "user_code": "ABCD-EFGH",
        "verification_uri": "https://login.example/device",
        "verification_uri_complete": "https://login.example/device?user_code=ABCD-EFGH",
        "expires_in": 600,
        "interval": interval,
    })
}

/// A success that keeps what its name says.
pub(crate) fn token(name: &str) -> (u16, Value) {
    let (access, refresh) = (format!("access-{name}"), format!("refresh-{name}"));
    (200, json!({"access_token": access, "token_type": "Bearer", "expires_in": 3600, "refresh_token": refresh}))
}

pub(crate) fn without_refresh(name: &str) -> (u16, Value) {
    (200, json!({"access_token": format!("access-{name}"), "token_type": "Bearer", "expires_in": 3600}))
}

pub(crate) fn refusal(word: &str) -> (u16, Value) {
    (400, json!({"error": word, "error_description": "canary-code was refused"}))
}

pub(crate) fn for_redirect() -> LoginOptions {
    LoginOptions { redirect_uri: Some(REDIRECT.to_owned()), must_be_kept: true }
}

pub(crate) fn access(source: &TokenSource) -> Result<String, Error> {
    source.token_blocking(TokenOptions::default()).map(|token| token.access_token().to_owned())
}

/// The error, which shows nothing of what was secret.
#[track_caller]
pub(crate) fn clean(error: Error) -> Error {
    let text = format!("{error} {error:?}");
    for secret in ["canary", "access-", "refresh-"] {
        assert!(!text.contains(secret), "{text}");
    }
    error
}
