//! Each snippet is laid over a correct file, and makes one mistake.

use toml::{Table, Value};

use crate::provider::{Mistake, Provider};

/// A server gives tokens.
const LOGIN: &str = r#"
name = "acme"
[environments.production]
base_url = "https://api.acme.example"
[credentials]
key = { secret = true }
[grants.login]
path = "/token"
json = { key = "{key}" }
"#;

/// No server does.
const STATIC: &str = r#"
name = "acme"
credentials.key = { secret = true }
grants.static.token = "{key}"
"#;

/// They are signed here.
const SIGNED: &str = r#"
name = "acme"
credentials.key = { secret = true, multiline = true }
jwts.token = { key = "key", claims = { iss = "me" } }
grants.self_signed.token = "{jwt(token)}"
"#;

/// Clients prove who they are, and people sign in.
const CLIENT: &str = r#"
name = "acme"
environments.production.base_url = "https://acme.example"
discovery.issuer = "https://acme.example"
variables.page = { discovered = "authorization_endpoint" }
variables.assertion_audience = { optional = true }
credentials = { client_id = {}, client_secret = { secret = true, optional = true }, dpop_key = { optional = true } }
[grants.client_credentials]
path = "/token"
client_auth = "auto"
form = { grant_type = "client_credentials" }
[grants.authorization_code]
path = "/token"
client_auth = "auto"
form = { code = "{code}" }
authorize.url = "{page}"
[grants.refresh_token]
path = "/token"
client_auth = "auto"
form = { refresh_token = "{refresh_token}" }
"#;

fn lay(over: &Table, base: &mut Table) {
    for (key, value) in over {
        match (value, base.get_mut(key)) {
            (Value::Table(over), Some(Value::Table(base))) => lay(over, base),
            _ => drop(base.insert(key.clone(), value.clone())),
        }
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::Table(members) => {
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!("{key:?} = {}", written(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Boolean(word) => word.to_string(),
        Value::String(text) => format!("{text:?}"),
        other => panic!("{other:?} is in no test"),
    }
}

fn found(base: &str, snippet: &str) -> Vec<Mistake> {
    let mut file: Table = base.parse().unwrap();
    lay(&snippet.parse().unwrap_or_else(|error| panic!("{snippet}: {error}")), &mut file);
    let text: String = file.iter().map(|(key, value)| format!("{key:?} = {}\n", written(value))).collect();
    let mistakes = Provider::check_toml(&text);
    assert_eq!(Provider::from_toml(&text).is_err(), !mistakes.is_empty());
    mistakes
}

fn refused(base: &str, cases: &[(&str, &str, &str)]) {
    assert_eq!(found(base, ""), []);
    for (snippet, key, message) in cases {
        let found = found(base, snippet);
        let told = found.iter().any(|mistake| mistake.key == *key && mistake.message.contains(message));
        assert!(told, "{snippet}\nexpected {key}: {message}\nfound {found:?}");
        assert_eq!(found.len(), 1, "{snippet}\nfound {found:?}");
    }
}

fn accepted(base: &str, snippets: &[&str]) {
    for snippet in snippets {
        assert_eq!(found(base, snippet), [], "{snippet}");
    }
}

#[test]
fn an_address_is_whole_before_a_token_is_sent_there() {
    let api = "environments.production.api_base_url";
    refused(
        LOGIN,
        &[
            (
                "variables.region.optional = true\n[environments.production]\napi_base_url = \"https://{region}.example\"",
                api,
                "{region} is optional",
            ),
            (
                "variables.region.optional = true\n[environments.production]\nbase_url = \"https://{region}.example\"",
                "environments.production.base_url",
                "{region} is optional",
            ),
            ("environments.production.api_base_url = \"https://{scope}.example\"", api, "{scope} is what a token"),
            ("environments.production.api_base_url = \"https://{audience}.example\"", api, "{audience} is what"),
            ("environments.production.api_base_url = \"https://{resource}.example\"", api, "{resource} is what"),
            ("environments.production.api_base_url = \"https://x{now(seconds)}.example\"", api, "holds a function"),
            (
                "jwts.a.key = \"key\"\nenvironments.production.api_base_url = \"https://{jwt(a)}.example\"",
                api,
                "holds a function",
            ),
            ("environments.production.api_base_url = \"http://api.acme.example\"", api, "loopback only"),
            ("environments.production.api_base_url = \"https://api.acme.example?a=b\"", api, "query"),
            ("grants.login.path = \"/{jwt(a)}\"\njwts.a.key = \"key\"", "grants.login.path", "holds a JWT"),
            (
                "operations.x.url = \"https://acme.example/{jwt(a)}\"\njwts.a.key = \"key\"",
                "operations.x.url",
                "holds a JWT",
            ),
            ("operations.x.url = \"http://acme.example/\"", "operations.x.url", "loopback only"),
            ("api_path = \"/{key}\"", "api_path", "is no template"),
        ],
    );
    refused(
        CLIENT,
        &[
            (
                "environments.production.base_url = \"https://{page}.example\"",
                "environments.production.base_url",
                "{page} has discovered",
            ),
            ("discovery.issuer = \"https://acme.example?a=b\"", "discovery.issuer", "query"),
            (
                "jwts.a.key = \"client_secret\"\n[grants.authorization_code.authorize]\nurl = \"https://a.example/{jwt(a)}\"\nquery.p = \"{page}\"",
                "grants.authorization_code.authorize.url",
                "holds a JWT",
            ),
        ],
    );
    let with_default = "variables.r = { optional = true, default = \"eu\" }\nenvironments.production.api_base_url = ";
    accepted(LOGIN, &[&format!("{with_default}\"https://{{r}}.example\""), "api_path = \"/v1\""]);
}

#[test]
fn a_caller_does_not_choose_the_host() {
    let key = "operations.x.url";
    refused(
        LOGIN,
        &[
            ("operations.x.url = \"{where}\"", key, "{where} would let a caller choose the host"),
            ("operations.x.url = \"https://{where}/x\"", key, "{where} would let a caller choose the host"),
            ("operations.x.url = \"https://api.{where}\"", key, "{where} would let a caller choose the host"),
            ("operations.x.url = \"{audience}\"", key, "{audience} would let a caller choose the host"),
            (
                "grants.login = { path = \"/\", steps = [{ url = \"{audience}\", keep = { a = \"/a\" } }], query = { a = \"{a}\" } }",
                "grants.login.steps.0.url",
                "{audience} would let a caller choose the host",
            ),
        ],
    );
    accepted(
        LOGIN,
        &[
            "operations.x.url = \"https://acme.example/{id}\"",
            "operations.x.url = \"{place}\"\nvariables.place.optional = true",
        ],
    );
}

#[test]
fn no_header_replaces_another() {
    let spelled = "is given twice: the names of headers know no case";
    refused(
        LOGIN,
        &[
            (
                "attach = { cookie = \"SID\", headers = { Cookie = \"a=b\" } }",
                "attach.headers.Cookie",
                "written by qauth itself",
            ),
            (
                "attach.cookie = \"SID\"\noperations.x = { path = \"/x\", headers = { cookie = \"a=b\" } }",
                "operations.x.headers.cookie",
                "written by qauth itself",
            ),
            (
                "attach.headers.X-Api = \"1\"\noperations.x = { path = \"/x\", headers = { x-api = \"2\" } }",
                "operations.x.headers.x-api",
                "is given under attach.headers",
            ),
            (
                "credentials.user = {}\n[grants.login]\nbasic = [\"user\", \"key\"]\nheaders.authorization = \"x\"",
                "grants.login.headers.authorization",
                "is given beside basic",
            ),
            ("attach.headers = { X-A = \"1\", x-a = \"2\" }", "attach.headers.x-a", spelled),
            ("grants.login.headers = { X-A = \"1\", x-a = \"2\" }", "grants.login.headers.x-a", spelled),
            ("operations.x = { path = \"/\", headers = { A = \"1\", a = \"2\" } }", "operations.x.headers.a", spelled),
        ],
    );
    // A call of the client itself carries no token, and nothing that goes beside one.
    accepted(
        CLIENT,
        &[
            "attach.headers.X-A = \"1\"\noperations.x = { url = \"https://a.example\", client_auth = \"auto\", headers = { X-A = \"2\" } }",
        ],
    );
}

#[test]
fn a_jwt_finds_all_that_it_names() {
    refused(
        SIGNED,
        &[
            (
                "jwts.token.claims.aud = \"{assertion_audience}\"",
                "grants.self_signed.token",
                "{assertion_audience}, which no request gives",
            ),
            (
                "variables.assertion_audience.optional = true\njwts.token.claims.aud = \"{assertion_audience}\"",
                "grants.self_signed.token",
                "{assertion_audience}, which no request gives",
            ),
            ("jwts.token.lifetime = \"500ms\"", "jwts.token.lifetime", "at least 1s"),
            ("jwts.token = { algorithm = \"RS256\", key_format = \"text\" }", "jwts.token.key_format", "HS algorithm"),
            ("jwts.token = { algorithm = \"HS256\", key_format = \"pem\" }", "jwts.token.key_format", "HS algorithm"),
            ("jwts.token.claims.deep = [{ a = \"{kye}\" }]", "jwts.token.claims.deep.0.a", "{kye} is declared neither"),
        ],
    );
    let described = "discovery.issuer = \"https://acme.example\"\nvariables.page.discovered = \"page\"\n";
    for (rest, key) in [
        ("jwts.token.claims.p = \"{page}\"", "grants.self_signed.token"),
        ("attach.headers.X-A = \"{page}\"", "attach.headers.X-A"),
        ("operations.x = { path = \"/x\", query = { p = \"{page}\" } }", "operations.x.query.p"),
    ] {
        refused(SIGNED, &[(&format!("{described}{rest}"), key, "{page} has discovered")]);
    }
    accepted(
        SIGNED,
        &[
            "variables.assertion_audience.default = \"x\"\njwts.token.claims.aud = \"{assertion_audience}\"",
            "jwts.token = { algorithm = \"HS256\", key_format = \"text\" }",
            "lifetime.fixed = \"5m\"",
            "attach.headers.X-A = \"{jwt(token)}\"",
        ],
    );
}

#[test]
fn nothing_is_declared_that_never_counts() {
    let no_use = "no grant of this file has a use for it";
    let no_server = "no grant of this file asks a server for a token";
    refused(
        STATIC,
        &[
            (
                "grants.refresh_token = { url = \"https://a.example\", form = { a = \"{refresh_token}\" } }",
                "grants.refresh_token",
                "no other grant of this file asks a server",
            ),
            ("lifetime.fixed = \"5m\"", "lifetime.fixed", no_use),
            ("lifetime.default = \"5m\"", "lifetime.default", no_use),
            ("lifetime.from_exp = true", "lifetime.from_exp", no_use),
            ("lifetime.single_session = true", "lifetime.single_session", no_use),
            ("lifetime.buffer = \"5s\"", "lifetime.buffer", no_use),
            ("answer.access_token = \"/t\"", "answer.access_token", no_server),
            ("answer.keep.a = \"/a\"", "answer.keep", no_server),
            ("answer.final_statuses.401 = \"config\"", "answer.final_statuses", no_server),
            ("attach.dpop = true", "attach.dpop", "no grant of this file asks a server"),
            ("credentials.dpop_key = {}", "credentials.dpop_key", "is declared but used nowhere"),
        ],
    );
    refused(
        LOGIN,
        &[
            ("lifetime = { from_exp = true, default = \"5m\" }", "lifetime.default", "never counts"),
            (
                "operations.x = { path = \"/\", grants = [\"login\", \"refresh_token\"] }\n[grants.refresh_token]\npath = \"/\"\nform = { r = \"{refresh_token}\" }",
                "operations.x.grants",
                "a refreshed token counts",
            ),
            ("answer.final_statuses = { \"+401\" = \"config\" }", "answer.final_statuses.+401", "expected a status"),
            ("answer.final_statuses = { \"0404\" = \"config\" }", "answer.final_statuses.0404", "expected a status"),
            (
                "operations.x = { path = \"/\", on_401 = \"result\", secrets = [\"/a\"] }",
                "operations.x.secrets",
                "true or false",
            ),
            (
                "operations.x = { path = \"/\", query = { k = \"{key}\" }, optional = [\"key\"] }",
                "operations.x.optional",
                "key is no parameter",
            ),
            (
                "operations.x = { path = \"/\", query = { t = \"{access_token}\" } }",
                "operations.x.query.t",
                "has a meaning of its own",
            ),
            (
                "operations.x = { path = \"/\", on_401 = \"result\", saves = { grant = \"login\", fields = { key = \"/k\" } } }",
                "operations.x.saves",
                "true or false",
            ),
            ("variables.assertion_audience = {}", "variables.assertion_audience", "is declared but used nowhere"),
            ("answer.keep.key = \"/key\"", "answer.keep.key", "means something already"),
            ("answer.keep.scope = \"/scope\"", "answer.keep.scope", "means something already"),
            ("attach = { scheme = \"Key\", dpop = true }", "attach.dpop", "Authorization with the scheme DPoP"),
            ("attach = { query = \"{key}\" }", "attach.query", "is no template"),
            ("attach = { cookie = \"{key}\" }", "attach.cookie", "is no name of a cookie"),
            ("attach = { header = \"{key}\", scheme = \"\" }", "attach.header", "is no header name"),
            ("answer.access_token = \"/a~2b\"", "answer.access_token", "neither ~0"),
            ("answer.scope = { path = \"/a~\" }", "answer.scope", "neither ~0"),
        ],
    );
    for name in ["state", "client_id", "response_type", "redirect_uri", "code_challenge", "dpop_jkt"] {
        let query = format!("grants.authorization_code.authorize.query.{name} = \"x\"");
        let key = format!("grants.authorization_code.authorize.query.{name}");
        refused(CLIENT, &[(&query, &key, "is written by qauth itself")]);
    }
    accepted(
        STATIC,
        &[
            "answer = { error = \"/code\", error_description = \"/message\" }",
            "operations.x.path = \"/x\"\nanswer.control_characters_in_strings = true",
        ],
    );
    accepted(LOGIN, &["answer.scope = \"/a~0b~1c\"", "answer.final_statuses.404 = \"config\""]);
}

#[test]
fn what_can_never_work_is_refused() {
    let pair = "credentials = { cert = { multiline = true }, cert_key = { secret = true } }\n";
    refused(
        LOGIN,
        &[(
            &format!("{pair}mtls = {{ certificate = \"cert\", key = \"cert_key\" }}"),
            "mtls.key",
            "cert_key is PEM, which has lines",
        )],
    );
    let operation = |saves: &str| format!("operations.x = {{ path = \"/\", secrets = [\"/s\"], saves = {saves} }}");
    for (base, saves, key, message) in [
        (LOGIN, "{ grant = \"password\", fields = {} }", "grant", "the provider has no grant password"),
        (LOGIN, "{ grant = \"login\", fields = {} }", "fields", "key is missing: grant login needs it"),
        (LOGIN, "{ grant = \"login\", fields = { key = \"/key\" } }", "fields.key", "which secrets does not name"),
        (LOGIN, "{ grant = \"login\", fields = { key = \"/s\", id = \"/id\" } }", "fields.id", "is declared neither"),
        (
            CLIENT,
            "{ grant = \"client_credentials\", fields = { client_secret = \"/s\" } }",
            "fields",
            "client_id is missing: grant client_credentials needs it",
        ),
        (
            CLIENT,
            "{ grant = \"client_credentials\", fields = { client_id = \"/id\", page = \"/page\" } }",
            "fields.page",
            "has discovered",
        ),
        (
            CLIENT,
            "{ grant = \"client_credentials\", fields = { client_id = \"/id\", dpop_key = \"/s\" } }",
            "fields.dpop_key",
            "grant client_credentials has no use for it",
        ),
        (
            CLIENT,
            "{ grant = \"refresh_token\", fields = { client_id = \"/id\" } }",
            "grant",
            "no profile of grant refresh_token works by what an answer holds",
        ),
    ] {
        refused(base, &[(&operation(saves), &format!("operations.x.saves.{key}"), message)]);
    }
    accepted(
        CLIENT,
        &[&operation("{ grant = \"client_credentials\", fields = { client_id = \"/id\", client_secret = \"/s\" } }")],
    );
    let sign_in = "[grants.authorization_code]\npath = \"/\"\nform = { code = \"{code}\" }\nauthorize.url = \"https://a.example\"\n";
    let refresh = "[grants.refresh_token]\npath = \"/\"\nform = { r = \"{refresh_token}\" }\n";
    refused(
        LOGIN,
        &[
            (
                &format!("{sign_in}{refresh}"),
                "grants.authorization_code.authorize",
                "client_id is declared neither under credentials",
            ),
            (
                &format!("credentials.client_id = {{}}\n{sign_in}"),
                "grants.authorization_code",
                "there is no [grants.refresh_token]",
            ),
            (
                "[grants.device_code]\npath = \"/\"\nform = { d = \"{device_code}\" }\ndevice.path = \"/d\"",
                "grants.device_code",
                "there is no [grants.refresh_token]",
            ),
            (
                "discovery.issuer = \"https://a.example\"\nvariables.user.discovered = \"user\"\ngrants.login.basic = [\"user\", \"key\"]",
                "grants.login.basic",
                "user has discovered",
            ),
        ],
    );
    accepted(LOGIN, &[&format!("credentials.client_id = {{}}\n{sign_in}{refresh}")]);
}
