use super::*;

const MINIMAL: &str = r#"
name = "acme"
[environments.production]
base_url = "https://api.acme.example"
[credentials]
key = { env = "ACME_KEY", secret = true }
[grants.login]
path = "/token"
json = { key = "{key}" }
"#;

fn error(text: &str) -> String {
    Provider::from_toml(text).unwrap_err().to_string()
}

#[test]
fn every_built_in_file_is_correct() {
    let names: Vec<String> = Provider::all().map(|provider| provider.name().to_owned()).collect();
    assert_eq!(names, ["custom", "oauth2", "qpay", "quable", "quantaprice", "quartile", "quiqup"]);
    assert_eq!(BUILT_IN.files().count(), names.len());
}

#[test]
fn a_users_own_file_needs_no_rust() {
    let provider = Provider::from_toml(MINIMAL).unwrap();
    assert_eq!(provider.name(), "acme");
    assert_eq!(provider.grants().collect::<Vec<_>>(), ["login"]);
    assert_eq!(provider.source(), MINIMAL);
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    // fault 7
    for (from, to, names) in [
        ("name = \"acme\"", "name = \"acme\"\nnmae = 1", "nmae"),
        ("path = \"/token\"", "path = \"/token\"\nbodyy = {}", "grants.login.bodyy"),
        ("secret = true", "secret = true, secrte = true", "secrte"),
        ("[grants.login]", "[answer]\naccess = \"/a\"\n[grants.login]", "access"),
        ("[grants.login]", "[lifetime]\nbufer = \"1s\"\n[grants.login]", "bufer"),
        ("[grants.login]", "[grants.logins]", "logins"),
    ] {
        let said = error(&MINIMAL.replace(from, to));
        let key = names.rsplit('.').next().unwrap();
        assert!(said.contains(key) && said.contains("unknown") || said.contains("expected"), "{said}");
    }
}

#[test]
fn an_unused_key_is_an_error_that_names_it() {
    let unused = MINIMAL.replace("[grants.login]", "spare = { env = \"ACME_SPARE\" }\n[grants.login]");
    assert!(error(&unused).contains("credentials.spare: is declared but used nowhere"));
    let undeclared = MINIMAL.replace("{key}", "{kye}");
    assert!(error(&undeclared).contains("{kye} is declared neither"));
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    for (from, to, names) in [
        ("path = \"/token\"", "path = \"token\"", "grants.login.path: must begin with /"),
        ("path = \"/token\"", "", "grants.login.path: is missing"),
        ("path = \"/token\"", "path = \"/t\"\nurl = \"https://x\"", "grants.login.url"),
        ("path = \"/token\"", "path = \"/token\"\nform = {}", "grants.login.json: is given beside form"),
        ("path = \"/token\"", "path = \"/token\"\nmethod = \"GET\"", "grants.login.method"),
        ("path = \"/token\"", "path = \"/token\"\nheaders = { Host = \"x\" }", "grants.login.headers.Host"),
        ("path = \"/token\"", "path = \"/token\"\nheaders = { \"a b\" = \"x\" }", "is no header name"),
        ("path = \"/token\"", "path = \"/token\"\ntoken = \"x\"", "grants.login.token"),
        ("[grants.login]", "[grants.refresh_token]", "beside refresh_token"),
        ("name = \"acme\"", "name = \"Acme\"", "name:"),
        ("name = \"acme\"", "name = \"acme\"\napi_path = \"v1\"", "api_path"),
        ("https://api.acme.example", "ftp://api.acme.example", "environments.production.base_url"),
        ("env = \"ACME_KEY\"", "env = \"acme key\"", "credentials.key.env"),
        ("env = \"ACME_KEY\"", "default = \"x\"", "credentials.key.default"),
        ("env = \"ACME_KEY\"", "pattern = \"[\"", "pattern"),
        ("key = {", "provider = {", "credentials.provider"),
        (
            "[grants.login]",
            "[answer]\nfinal_statuses = { 200 = \"config\" }\n[grants.login]",
            "answer.final_statuses.200",
        ),
        (
            "[grants.login]",
            "[answer]\nfinal_statuses = { 401 = \"nonsense\" }\n[grants.login]",
            "answer.final_statuses.401",
        ),
        ("[grants.login]", "[answer]\nsuccess = [302]\n[grants.login]", "answer.success"),
        ("[grants.login]", "[answer]\naccess_token = \"token\"\n[grants.login]", "JSON Pointer"),
        ("[grants.login]", "[lifetime]\nbuffer = \"-5s\"\n[grants.login]", "lifetime.buffer"),
        ("[grants.login]", "[operations.x]\npath = \"x\"\n[grants.login]", "operations.x.path"),
        (
            "[grants.login]",
            "[operations.x]\npath = \"/x\"\ngrants = [\"password\"]\n[grants.login]",
            "operations.x.grants",
        ),
    ] {
        let text = MINIMAL.replace(from, to);
        assert_ne!(text, MINIMAL, "{from}");
        let said = error(&text);
        assert!(said.contains(names), "{to}: {said}");
    }
}

#[test]
fn a_mistake_in_the_syntax_names_its_line() {
    assert!(error("name = \"acme\"\n[grants").contains("line 2"));
}

/// The two files that the design page prints whole; the built-in ones add a line for listings.
#[test]
fn the_files_that_the_design_page_prints_work_as_printed() {
    for name in ["quantaprice", "quartile"] {
        let built_in = Provider::built_in(name).unwrap();
        let printed: String = built_in
            .source()
            .lines()
            .filter(|line| !line.starts_with("description"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_ne!(printed, built_in.source());
        let provider = Provider::from_toml(&printed).unwrap();
        assert_eq!(provider.operations().count(), 1);
        assert!(provider.description().is_none());
    }
}

fn mistakes(text: &str) -> Vec<String> {
    Provider::check_toml(text).iter().map(Mistake::to_string).collect()
}

#[test]
fn every_mistake_is_told_at_once_with_its_line_and_no_value() {
    let text = r#"
name = 7
nmae = "canary"
[environments.production]
base_url = "https://api.acme.example"
[credentials]
key = { env = "acme canary", secret = true, secrte = true }
spare = "canary"
[grants.login]
path = ["canary"]
json = { key = "{key}", list = ["{A}", "fine", "{"], deep = { b = "}" } }
headers = { Host = "canary", X = "{kye}" }
basic = ["key"]
[[grants.login.steps]]
path = "/a"
keep = { a = "/x", b = "canary" }
[grants.logins]
[answer]
access_token = { pth = "/canary" }
success = [200, 302, "canary"]
expires_at = 2026-01-01
[mtls]
certificate = "key"
"#;
    assert_eq!(
        mistakes(text),
        [
            "2:1: name: has the wrong type or value; expected a string",
            "3:1: nmae: is unknown; expected one of name, description, api_path, environments, variables, credentials, discovery, jwts, mtls, grants, answer, lifetime, attach, operations",
            "7:9: credentials.key.env: expected upper-case letters, digits and _",
            "7:45: credentials.key.secrte: is unknown; expected one of env, pattern, secret, optional, default, description, advised, discovered, multiline",
            "8:1: credentials.spare: has the wrong type or value; expected a table",
            "10:1: grants.login.path: has the wrong type or value; expected a string",
            "11:33: grants.login.json.list.0: has {A}: expected {name} or {function(argument)}, the functions being base64, now, random, jwt",
            "11:48: grants.login.json.list.2: has a { without its }; write {{ for a literal one",
            "11:63: grants.login.json.deep.b: has a } without its {; write }} for a literal one",
            "12:13: grants.login.headers.Host: this header is written by qauth itself",
            "12:30: grants.login.headers.X: {kye} is declared neither under credentials nor under variables",
            "13:1: grants.login.basic: invalid length 1, expected an array of length 2",
            "16:20: grants.login.steps.0.keep.b: expected a JSON Pointer such as \"/access_token\" (RFC 6901)",
            "17:9: grants.logins: is unknown; expected one of client_credentials, password, refresh_token, login, static, self_signed, jwt_bearer, token_exchange, device_code, authorization_code, custom",
            "19:18: answer.access_token.pth: is unknown; expected one of path, header, cookie, text, unit, zone, equals, not",
            "20:22: answer.success.2: has the wrong type or value; expected u16",
            "21:1: answer.expires_at: is a date or time; write it as text, in quotes",
            "22:2: mtls.key: is missing",
        ]
    );
    assert!(!mistakes(text).join("").contains("canary"));
}

#[test]
fn a_mistake_of_the_structure_hides_no_other_one_and_each_points_at_its_own_key() {
    let text = r#"
nmae = "canary"
name = "acme"
[environments.production]
base_url = "https://api.acme.example"
[credentials]
key = { secret = true }
[grants.login]
path = "/token"
headers = { X = "{one} {two}" }
json = { key = "{key}", a = [
    { b = "{three}" },
] }
[jwts.claim]
key = "key"
claims = { deep = { c = "{four}" } }
[operations.show]
path = "/show"
json = { list = [
    "{jwt(other)}",
    "{access_token}",
] }
"#;
    assert_eq!(
        mistakes(text),
        [
            "2:1: nmae: is unknown; expected one of name, description, api_path, environments, variables, credentials, discovery, jwts, mtls, grants, answer, lifetime, attach, operations",
            "10:13: grants.login.headers.X: {one} is declared neither under credentials nor under variables",
            "10:13: grants.login.headers.X: {two} is declared neither under credentials nor under variables",
            "12:7: grants.login.json.a.0.b: {three} is declared neither under credentials nor under variables",
            "16:21: jwts.claim.claims.deep.c: {four} is declared neither under credentials nor under variables",
            "21:5: operations.show.json.list.1: {access_token} has a meaning of its own; choose another name for the parameter",
        ]
    );
    let whole = mistakes(&text.replace("nmae = \"canary\"", ""));
    assert!(
        whole.contains(&"20:5: operations.show.json.list.0: {jwt(other)} is not declared under jwts".to_owned()),
        "{whole:?}"
    );
}

#[test]
fn mistakes_in_the_syntax_are_told_together_with_those_of_the_lines_that_can_be_read() {
    let text = MINIMAL.replace("secret = true }", "secret = }").replace("[grants.login]", "[[grants.login\nnmae = 1");
    let found = mistakes(&text);
    assert!(found.len() >= 2 && found[0].starts_with("6:") && found[1].starts_with("7:"), "{found:?}");
    assert!(!found.join("").contains("missing"), "{found:?}");
    assert_eq!(mistakes(&"#".repeat(5 << 20)), ["1:1: is larger than 4 MiB"]);
}

#[test]
fn what_only_follows_from_a_mistake_is_not_told() {
    // fault 7
    let unknown = MINIMAL.replace("json = {", "jsno = {");
    assert_eq!(mistakes(&unknown).len(), 1, "{:?}", mistakes(&unknown));
    let unused = MINIMAL.replace("[grants.login]", "spare = { env = \"ACME_SPARE\" }\n[grants.login]");
    assert_eq!(mistakes(&unused), ["7:1: credentials.spare: is declared but used nowhere"]);
    let missing = MINIMAL.replace("name = \"acme\"", "");
    assert_eq!(mistakes(&missing), ["1:1: name: is missing"]);
}

#[test]
fn a_correct_file_has_no_mistakes() {
    for provider in Provider::all() {
        assert_eq!(mistakes(provider.source()), [""; 0]);
    }
    assert_eq!(mistakes(MINIMAL), [""; 0]);
}
