use super::*;

const PROVIDER: &str = r#"
name = "acme"
[environments.production]
base_url = "https://api.acme.example"
[credentials]
client_id = { env = "HOME" }
client_secret = { env = "PATH", secret = true }
[grants.client_credentials]
path = "/token"
form = { grant_type = "client_credentials" }
client_auth = "client_secret_basic"
"#;

const RECORDING: &str = r#"
[[test]]
name = "a token"
profile = { client_id = "id", client_secret = "canary" }
[[test.exchange]]
request = { method = "POST", url = "https://api.acme.example/token", headers = { Authorization = "Basic aWQ6Y2FuYXJ5" }, form = { grant_type = "client_credentials" } }
response = { status = 200, json = { access_token = "a-token", expires_in = 60 } }
[test.expect]
access_token = "a-token"
expires_in = 60
attached = { url = "/things", headers = { authorization = "Bearer a-token" } }
"#;

fn outcome(provider: &str, recording: &str) -> std::result::Result<(), String> {
    let provider = Provider::from_toml(provider).unwrap();
    let recorded = provider.test_recorded(recording, Path::new("")).unwrap();
    recorded.into_iter().next().unwrap().outcome
}

#[test]
fn what_happens_as_recorded_passes() {
    assert_eq!(outcome(PROVIDER, RECORDING), Ok(()));
}

#[test]
fn every_difference_names_its_member_and_no_secret() {
    for (from, to, said) in [
        ("aWQ6Y2FuYXJ5", "eDp5", "exchange 1: headers.Authorization: expected \"Basic eDp5\", got \"Basic ***\""),
        ("POST", "GET", "exchange 1: method: expected \"GET\", got \"POST\""),
        (".example/token\"", ".example/tokens\"", "exchange 1: url: expected \"https://api.acme.example/tokens\""),
        (
            "grant_type = \"client_credentials\" }",
            "grant_type = \"password\", scope = \"x\" }",
            "exchange 1: form.grant_type: expected \"password\", got \"client_credentials\"; exchange 1: form.scope: is not there, expected \"x\"",
        ),
        (
            "form = { grant_type = \"client_credentials\" }",
            "form = {}",
            "form.grant_type: is there and was not expected",
        ),
        ("access_token = \"a-token\"\n", "access_token = \"b\"\n", "access_token: expected \"b\", got \"a-token\""),
        ("expires_in = 60\n", "expires_in = 61\n", "expires_in: expected 61, got 60"),
        ("expires_in = 60\n", "scope = \"x\"\n", "scope: is not there, expected \"x\""),
        ("Bearer a-token", "a-token", "attached.headers.authorization: expected \"a-token\", got \"Bearer a-token\""),
        ("url = \"/things\"", "url = \"https://other.example/\"", "attached: url:"),
        ("status = 200", "status = 401", "expected a token, got the error \"invalid_client\""),
    ] {
        let text = RECORDING.replacen(from, to, 1);
        assert_ne!(text, RECORDING, "{from}");
        let why = outcome(PROVIDER, &text).unwrap_err();
        assert!(why.contains(said) && !why.contains("canary"), "{why}");
    }
}

#[test]
fn a_request_too_many_and_one_too_few_are_differences() {
    let start = RECORDING.find("[[test.exchange]]").unwrap();
    let end = RECORDING.find("[test.expect]").unwrap();
    let why = outcome(PROVIDER, &RECORDING.replace(&RECORDING[start..end], "")).unwrap_err();
    assert!(why.contains("no exchange records: POST to api.acme.example/token"), "{why}");
    let twice = RECORDING.replacen("[test.expect]", &format!("{}[test.expect]", &RECORDING[start..end]), 1);
    assert_eq!(outcome(PROVIDER, &twice).unwrap_err(), "exchange 2: is recorded, but this request was not sent");
}

#[test]
fn a_failure_is_not_repeated_and_an_expected_error_passes() {
    let start = RECORDING.find("[test.expect]").unwrap();
    let failing = RECORDING[..start].replace("status = 200", "status = 503");
    assert_eq!(outcome(PROVIDER, &format!("{failing}[test.expect]\nerror = \"server_error\"")), Ok(()));
    let why = outcome(PROVIDER, &format!("{failing}[test.expect]\nerror = \"config\"")).unwrap_err();
    assert!(why.starts_with("error: expected \"config\", got \"server_error\""), "{why}");
}

#[test]
fn nothing_comes_from_the_process_environment() {
    let why = outcome(PROVIDER, &RECORDING.replace(", client_secret = \"canary\"", "")).unwrap_err();
    assert!(why.contains("client_secret: is missing"), "{why}");
}

#[test]
fn a_proof_is_made_for_the_recorded_time_with_the_nonce_that_the_server_asks_for() {
    let provider = PROVIDER.replace("[grants", "[attach]\ndpop = true\n[grants");
    let recording = r#"
[[test]]
name = "a bound token"
profile = { client_id = "id", client_secret = "canary" }
now = "2026-01-01T00:00:00Z"
[[test.exchange]]
request = { method = "POST", url = "https://api.acme.example/token", headers = { DPoP = { jwt = { header = { typ = "dpop+jwt" }, claims = { htm = "POST", iat = 1767225600, jti = "*" } } } } }
response = { status = 400, headers = { DPoP-Nonce = "n-1" }, json = { error = "use_dpop_nonce" } }
[[test.exchange]]
request = { method = "POST", url = "https://api.acme.example/token", headers = { DPoP = { jwt = { claims = { nonce = "n-1" } } } } }
response = { status = 200, json = { access_token = "a-token", token_type = "DPoP", expires_in = 60 } }
[test.expect]
access_token = "*"
attached = { method = "PUT", url = "/things", headers = { Authorization = "DPoP a-token", DPoP = { jwt = { claims = { htm = "PUT", htu = "https://api.acme.example/things" } } } } }
"#;
    assert_eq!(outcome(&provider, recording), Ok(()));
    let why = outcome(&provider, &recording.replace("Nonce = \"n-1\"", "Nonce = \"n-2\"")).unwrap_err();
    assert!(why.contains("exchange 2: headers.DPoP.jwt.claims.nonce: expected"), "{why}");
}

#[test]
fn a_wrong_recording_is_refused_by_name() {
    let provider = Provider::from_toml(PROVIDER).unwrap();
    for (from, to, said) in [
        ("name = \"a token\"", "name = \"a\"\nnwo = 1", "unknown field `nwo`"),
        ("name = \"a token\"", "name = \"a\"\nnow = \"canary\"", "recording.test[0].now"),
        ("status = 200", "status = 1", "recording.test[0].exchange[0].response.status"),
        ("json = { access_token", "body = \"x\", json = { access_token", "exchange[0].response.body"),
        ("form = {", "body = \"x\", form = {", "exchange[0].request: has more than one"),
        ("expires_in = 60\n", "error = \"config\"\n", "expect.error: is given beside"),
        ("access_token = \"a-token\"\n", "error = \"config\"\n", "expect.error: is given beside"),
        ("access_token = \"a-token\"\nexpires_in = 60\n", "error = \"config\"\n", "expect.error: is given beside"),
        ("access_token = \"a-token\"\n", "error = \"canary\"\n", "expect.error: is no error code"),
        ("access_token = \"a-token\"\n", "", "expect: expected access_token or error"),
    ] {
        let text = RECORDING.replacen(from, to, 1);
        assert_ne!(text, RECORDING, "{from}");
        let error = provider.test_recorded(&text, Path::new("")).unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("canary"), "{error}");
    }
    assert!(provider.test_recorded("test = []", Path::new("")).is_err());
}

#[test]
fn a_companion_header_is_signed_for_the_api_that_it_goes_to() {
    let signed = r#"
[jwts.app]
key = "app_key"
algorithm = "HS256"
claims = { iss = "{client_id}", aud = "{assertion_audience}" }
lifetime = "1m"
[attach.headers]
X-App = "{jwt(app)}"
[grants"#;
    let provider = PROVIDER.replacen("[grants", &format!("app_key = {{ secret = true }}{signed}"), 1);
    let recording = RECORDING
        .replace("client_secret = \"canary\"", "client_secret = \"canary\", app_key = \"k\"")
        .replace("name = \"a token\"", "name = \"a token\"\nnow = \"2026-01-01T00:00:00Z\"")
        .replace(
            "\"Bearer a-token\"",
            "\"Bearer a-token\", X-App = { jwt = { claims = { iss = \"id\", aud = \"https://api.acme.example/things\", iat = 1767225600 } } }",
        );
    assert_eq!(outcome(&provider, &recording), Ok(()));
}

#[test]
fn a_pair_that_never_changes_goes_as_http_basic() {
    let provider = r#"
name = "acme"
environments.production.base_url = "https://api.acme.example"
credentials.pair = { secret = true, description = "user:password" }
grants.static.token = "{base64(pair)}"
attach.scheme = "Basic"
"#;
    let recording = r#"
[[test]]
name = "basic"
profile = { pair = "Aladdin:open sesame" }
expect = { access_token = "*", attached = { url = "/x", headers = { Authorization = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" } } }
"#;
    assert_eq!(outcome(provider, recording), Ok(()));
}

#[test]
fn a_fixed_lifetime_is_that_of_a_token_signed_here_too() {
    let provider = r#"
name = "acme"
credentials.key = { secret = true }
jwts.token = { key = "key", algorithm = "HS256", lifetime = "1h" }
grants.self_signed.token = "{jwt(token)}"
"#;
    let recording = |expires_in: u32| {
        format!(
            "[[test]]\nname = \"a\"\nnow = \"2026-01-01T00:00:00Z\"\nprofile = {{ key = \"k\" }}\n\
             expect = {{ access_token = \"*\", expires_in = {expires_in} }}"
        )
    };
    assert_eq!(outcome(provider, &recording(3600)), Ok(()));
    assert_eq!(outcome(&format!("{provider}lifetime.fixed = \"5m\"\n"), &recording(300)), Ok(()));
}
