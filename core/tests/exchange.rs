//! Requests to servers that answer by script: what is sent, what is repeated, and what an error shows.

#[path = "support/script.rs"]
mod script;

use std::time::Duration;

use qauth_core::{CallOptions, Engine, Error, ErrorCode, TokenOptions, TokenSource};
use script::Script;
use serde_json::{Map, Value, json};

fn engine(toml: &str) -> Engine {
    Engine::from_toml(&format!("[testing]\nclock = \"manual\"\n{toml}")).unwrap()
}

/// A profile `p` with these keys, of a provider with this file.
fn vendor(server: &Script, keys: &str, file: &str) -> Engine {
    let url = server.url();
    engine(&format!(
        "[profiles.p]\nprovider = \"vendor\"\n{keys}\n[providers.vendor]\nenvironments = {{ production = {{ base_url = \"{url}\" }} }}\n{file}"
    ))
}

fn token(source: &TokenSource) -> Result<String, Error> {
    source.token_blocking(TokenOptions::default()).map(|token| token.access_token().to_owned())
}

fn given(name: &str) -> (u16, Value) {
    (200, json!({"access_token": name, "token_type": "Bearer", "expires_in": 3600}))
}

fn quoting(text: &str) -> (u16, Value) {
    (400, json!({"error": "invalid_request", "error_description": format!("cannot read {text}")}))
}

fn parameters(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn a_description_that_cannot_be_read_again_stops_no_renewal() {
    let server = Script::start();
    let url = server.url();
    let well_known = "/.well-known/openid-configuration";
    let description = (200, json!({"issuer": url, "token_endpoint": format!("{url}/token")}));
    server.answers(well_known, [description, (1, json!(null))]);
    server.answers("/token", [given("one"), given("two"), given("three")]);
    let engine = engine(&format!(
        "[profiles.p]\nprovider = \"oauth2\"\nissuer = \"{url}\"\nclient_id = \"c\"\nclient_secret = \"s\"\ntimeout = \"2s\"\nmode = \"on_demand\""
    ));
    let source = engine.source("p").unwrap();
    assert_eq!(token(&source).unwrap(), "one");
    engine.advance(3601.0).unwrap();
    assert_eq!(token(&source).unwrap(), "two", "by the old description");
    assert_eq!(server.asked(well_known).len(), 2);
    source.reset();
    source.invalidate(&source.cached().unwrap());
    assert_eq!(token(&source).unwrap(), "three");
    assert_eq!(server.asked(well_known).len(), 2, "nobody waits for it again at once");
}

#[test]
fn what_a_step_and_an_operation_send_is_never_repeated_in_an_error() {
    let server = Script::start();
    // base64("usernm:canary-pass")
    server.answers("/first", [quoting("Basic dXNlcm5tOmNhbmFyeS1wYXNz")]);
    let engine = vendor(
        &server,
        "user = \"usernm\"\npass = \"canary-pass\"",
        r#"
        credentials = { user = {}, pass = { secret = true } }
        [providers.vendor.grants.login]
        path = "/token"
        headers = { X-Key = "{key}" }
        steps = [{ path = "/first", basic = ["user", "pass"], keep = { key = "/key" } }]
        "#,
    );
    let error = token(&engine.source("p").unwrap()).unwrap_err().to_string();
    assert!(error.contains("cannot read") && !error.contains("dXNlcm5tOmNhbmFyeS1wYXNz"), "{error}");
}

#[test]
fn an_operation_about_a_token_does_not_show_it() {
    let server = Script::start();
    let url = server.url();
    server.answers("/introspect", [quoting("canary-token")]);
    let engine = engine(&format!(
        "[profiles.p]\nprovider = \"oauth2\"\ntoken_endpoint = \"{url}/token\"\nintrospection_endpoint = \"{url}/introspect\"\nclient_id = \"c\"\nclient_secret = \"secret-of-c\""
    ));
    let source = engine.source("p").unwrap();
    let about = parameters(json!({"token": "canary-token"}));
    let error = source.call_blocking("introspect", &about, CallOptions::default()).unwrap_err();
    assert!(error.to_string().contains("cannot read ***"), "{error}");
}

#[test]
fn an_operation_whose_value_nobody_gives_is_not_sent_without_it() {
    let server = Script::start();
    server.answers("/token", [given("one")]);
    let engine = vendor(
        &server,
        "key = \"k\"",
        r#"
        credentials = { key = { secret = true } }
        variables = { tenant = {} }
        grants = { login = { path = "/token", json = { key = "{key}" } } }
        operations = { list = { method = "GET", path = "/list", query = { tenant = "{tenant}" } } }
        "#,
    );
    let error = engine.source("p").unwrap().call_blocking("list", &Map::new(), CallOptions::default()).unwrap_err();
    assert!(error.code() == ErrorCode::Config && error.message().contains("tenant: is missing"), "{error}");
    assert!(server.asked("/list").is_empty());
}

#[test]
fn a_header_that_the_provider_file_writes_is_not_replaced_in_silence() {
    let server = Script::start();
    let url = server.url();
    let engine = engine(&format!(
        r#"
        [profiles.p]
        provider = {{ name = "vendor", credentials = {{ key = {{ secret = true }} }}, grants = {{ static = {{ token = "{{key}}" }} }}, attach = {{ headers = {{ X-Version = "1" }} }} }}
        api_base_url = "{url}"
        key = "k"
        "#
    ));
    let mut request = qauth_core::Request::new("GET", "/things");
    request.headers.push(("x-version".to_owned(), "9".to_owned()));
    request.timeout = Some(Duration::from_secs(5));
    let error = engine.source("p").unwrap().request_blocking(&request).unwrap_err();
    assert!(error.code() == ErrorCode::InvalidArgument && error.message().contains("x-version"), "{error}");
}

#[test]
fn what_a_step_has_spent_is_not_spent_again() {
    // fault 46
    let server = Script::start();
    let engine = vendor(
        &server,
        "key = \"k\"",
        r#"
        credentials = { key = { secret = true } }
        lifetime = { rotates = true }
        grants.login = { path = "/token", json = { key = "{key}" } }
        [providers.vendor.grants.refresh_token]
        path = "/token"
        headers = { X-Half = "{half}" }
        steps = [{ path = "/half", form = { refresh_token = "{refresh_token}" }, keep = { half = "/half" } }]
        "#,
    );
    let source = engine.source("p").unwrap();
    let with_refresh = |name: &str| {
        let (status, mut answer) = given(name);
        answer["refresh_token"] = json!(format!("refresh-{name}"));
        (status, answer)
    };
    server.answers("/token", [with_refresh("one"), (503, json!(null)), with_refresh("two")]);
    server.answers("/half", [(200, json!({"half": "h"}))]);
    assert_eq!(token(&source).unwrap(), "one");
    engine.advance(3601.0).unwrap();
    assert_eq!(token(&source).unwrap(), "two", "signed in anew");
    assert_eq!(server.asked("/half").len(), 1);
}

#[test]
fn an_assertion_is_for_the_address_of_its_own_request() {
    let server = Script::start();
    let url = server.url();
    let engine = vendor(
        &server,
        "key = \"0123456789abcdef0123456789abcdef\"",
        r#"
        credentials = { key = { secret = true } }
        [providers.vendor.jwts.own]
        key = "key"
        key_format = "text"
        algorithm = "HS256"
        claims = { aud = "{assertion_audience}" }
        [providers.vendor.grants.login]
        path = "/token"
        form = { half = "{half}", assertion = "{jwt(own)}" }
        steps = [{ path = "/half", form = { assertion = "{jwt(own)}" }, keep = { half = "/half" } }]
        "#,
    );
    server.answers("/half", [(200, json!({"half": "h"}))]);
    server.answers("/token", [given("one")]);
    token(&engine.source("p").unwrap()).unwrap();
    for path in ["/half", "/token"] {
        let asked = server.asked(path);
        let claims = asked[0]["assertion"].split('.').nth(1).unwrap();
        let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["aud"], format!("{url}{path}"));
    }
}
