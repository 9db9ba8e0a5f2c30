use super::*;
use crate::config::Trust;

const ACME: &str = r#"
name = "acme"
[environments.production]
base_url = "https://api.acme.example"
[credentials]
key = { secret = true }
[grants.login]
path = "/token"
json = { key = "{key}" }
"#;

fn build(provider: &str, profile: &str) -> Result<Profile> {
    let provider = match provider.contains('\n') {
        true => Provider::from_toml(provider).unwrap(),
        false => Provider::built_in(provider).unwrap(),
    };
    let table = crate::document::from_toml(profile, "profile").unwrap();
    let input = ProfileInput {
        name: "p".to_owned(),
        table: table.as_object().unwrap().clone(),
        trust: Arc::new(Trust::default()),
        implicit: false,
    };
    Profile::build(&input, &provider, Duration::from_secs(1))
}

fn refused(provider: &str, profile: &str, expected: &str) {
    let error = build(provider, profile).expect_err(profile);
    assert!(error.code() == crate::error::ErrorCode::Config && error.message().contains(expected), "{error}");
}

#[test]
fn operations_have_what_the_environment_and_the_file_give() {
    let operations = r#"
[variables]
home = { env = "HOME" }
region = { default = "eu" }
other = { default = "x" }
missing = {}
[operations.show]
path = "/show"
query = { home = "{home}", region = "{region}", missing = "{missing}", sku = "{sku}" }
[grants.static]
token = "{key}"
[operations.of_another_grant]
path = "/other"
query = { other = "{other}" }
grants = ["static"]
"#;
    let provider = format!("{ACME}{operations}");
    let profile = build(&provider, "key = \"k\"").unwrap();
    assert!(profile.value("home").is_some());
    assert_eq!(profile.value("region").unwrap().expose(), "eu");
    // Whoever calls the operation is told.
    assert!(profile.value("missing").is_none());
    assert!(profile.value("other").is_none());
    refused(&provider, "key = \"k\"\nother = \"y\"", "profiles.p.other: is not used by grant login");
    assert!(build(&provider, "key = \"k\"\ngrant = \"static\"\nother = \"y\"").is_ok());
}

#[test]
fn operations_of_the_client_have_its_credentials_whatever_the_grant() {
    let provider = format!(
        "{}client_id = {{}}\nclient_secret = {{ secret = true }}\n[grants.static]\ntoken = \"{{key}}\"\n\
         [operations.end]\nurl = \"https://acme.example/end\"\nclient_auth = \"client_secret_jwt\"\nform = {{ t = \"{{t}}\" }}\n",
        &ACME[..ACME.find("[grants").unwrap()]
    );
    let profile = build(&provider, "key = \"k\"\nclient_id = \"c\"\nclient_secret = \"s\"").unwrap();
    assert!(profile.keys.contains_key("client_secret_jwt"));
    assert!(build(&provider, "key = \"k\"").is_ok());
    let chosen = "key = \"k\"\nclient_id = \"c\"\nclient_auth = \"none\"";
    assert!(build(&provider, chosen).is_ok());
    refused(&provider, &format!("{chosen}\nclient_secret = \"s\""), "client_secret: is not used");
}

#[test]
fn a_proof_that_is_not_chosen_has_no_use() {
    let client = "token_endpoint = \"https://acme.example/token\"\nclient_id = \"c\"\nclient_secret = \"s\"\n";
    assert!(build("oauth2", client).is_ok());
    let post = format!("{client}client_auth = \"client_secret_post\"\n");
    assert!(build("oauth2", &post).is_ok());
    refused(
        "oauth2",
        &format!("{post}private_key = \"k\""),
        "profiles.p.private_key: is not used by grant client_credentials; remove it, or set grant or client_auth",
    );
    refused("oauth2", &format!("{post}key_id = \"k\""), "profiles.p.key_id: is not used");
    refused("oauth2", &format!("{post}assertion_audience = \"k\""), "profiles.p.assertion_audience: is not used");
    let by_secret = format!("{client}client_auth = \"client_secret_jwt\"\n");
    assert!(build("oauth2", &format!("{by_secret}key_id = \"k\"")).is_ok());
    refused("oauth2", &format!("{by_secret}private_key = \"k\""), "profiles.p.private_key: is not used");
}

#[test]
fn basic_never_sends_an_empty_half() {
    let provider = ACME.replace("secret = true }", "secret = true, optional = true }\nuser = { optional = true }");
    let provider = provider.replace("json = { key = \"{key}\" }", "basic = [\"user\", \"key\"]");
    refused(&provider, "user = \"u\"", "profiles.p.key: is missing");
    refused(&provider, "key = \"k\"", "profiles.p.user: is missing");
    assert!(build(&provider, "user = \"u\"\nkey = \"k\"").is_ok());
}

#[test]
fn a_key_is_bound_only_where_a_server_can_bind_it() {
    let profile = "key = \"k\"\ndpop = true";
    assert!(build(ACME, profile).unwrap().dpop);
    for attach in
        ["scheme = \"Key\"", "value = \"Key {access_token}\"", "query = \"k\"", "cookie = \"k\"", "header = \"X-K\""]
    {
        let provider = format!("{ACME}[attach]\n{attach}\n");
        refused(&provider, profile, "profiles.p.dpop: such a token goes into Authorization");
    }
    let both = format!("{ACME}[grants.static]\ntoken = \"{{key}}\"\n");
    refused(&both, &format!("{profile}\ngrant = \"static\""), "profiles.p.dpop: grant static asks no server");
    let always = format!("{both}[attach]\ndpop = true\n");
    refused(&always, "key = \"k\"\ngrant = \"static\"", "profiles.p.dpop: grant static asks no server");
    assert!(!build(&always, "key = \"k\"\ngrant = \"static\"\ndpop = false").unwrap().dpop);
}

#[test]
fn what_a_companion_header_signs_with_is_asked_for() {
    let signed = "\n[jwts.app]\nkey = \"secret\"\nalgorithm = \"HS256\"\nclaims = { iss = \"{app}\" }\n[attach.headers]\nX-App = \"{jwt(app)}\"\n";
    let fields = "secret = { secret = true, optional = true }\napp = {}\n[grants.login]";
    let provider = format!("{}{signed}", ACME.replace("[grants.login]", fields));
    refused(&provider, "key = \"k\"\nsecret = \"s\"", "profiles.p.app: is missing");
    refused(&provider, "key = \"k\"\napp = \"a\"", "profiles.p.secret: is missing: a header of every API call");
    assert!(build(&provider, "key = \"k\"\napp = \"a\"\nsecret = \"s\"").unwrap().keys.contains_key("app"));
}

#[test]
fn an_address_that_the_profile_replaces_needs_no_variables() {
    let provider = ACME.replace(
        "[credentials]",
        "api_base_url = \"https://{region}.acme.example\"\n[variables]\nregion = {}\n[credentials]",
    );
    refused(&provider, "key = \"k\"", "profiles.p.region: is missing");
    let profile = build(&provider, "key = \"k\"\napi_base_url = \"https://other.example\"").unwrap();
    assert_eq!(profile.api_base_url.as_deref(), Some("https://other.example"));
    assert!(build(&provider, "key = \"k\"\nbase_url = \"https://other.example\"\nregion = \"eu\"").is_ok());
}

#[test]
fn of_several_credentials_no_half_comes_from_the_environment() {
    let provider = r#"
name = "acme"
[environments.production]
base_url = "https://api.acme.example"
[variables]
tenant = { env = "HOME" }
[credentials]
user = {}
key = { env = "HOME", secret = true }
[grants.login]
path = "/token"
json = { user = "{user}", key = "{key}", tenant = "{tenant}" }
"#;
    assert!(build(provider, "user = \"u\"").is_ok());
    let list = |entry: &str| format!("tenant = \"t\"\ncredentials = [{{ user = \"u\", key = \"k\" }}, {{ {entry} }}]");
    refused(provider, &list("user = \"v\""), "profiles.p.credentials[1].key: is missing: give it in the profile");
    let error = build(provider, &list("user = \"v\"")).unwrap_err();
    assert!(!error.message().contains("HOME"), "{error}");
    assert!(build(provider, &list("user = \"v\", key = \"env:HOME\"")).is_ok());
}

#[test]
fn candidates_go_round_the_list_from_the_one_in_use() {
    let keys = |profile: &Profile| -> Vec<String> {
        let key = |profile: &Profile| profile.value("key").unwrap().expose().to_owned();
        profile.candidates().map(key).collect()
    };
    let profile = build(ACME, "credentials = [{ key = \"a\" }, { key = \"b\" }, { key = \"c\" }]").unwrap();
    assert_eq!(keys(&profile), ["a", "b", "c"]);
    assert_eq!(keys(&profile.clone().at_position(1)), ["b", "c", "a"]);
    assert_eq!(keys(&profile.at_position(2)), ["c", "a", "b"]);
    assert_eq!(keys(&build(ACME, "key = \"a\"").unwrap()), ["a"]);
    assert_eq!(keys(&build(ACME, "credentials = [{ key = \"a\" }]").unwrap()), ["a"]);
}

#[test]
fn each_of_several_credentials_has_a_record_of_its_own_and_each_narrowing_one_for_refusals() {
    let provider = ACME.replace("json = {", "json = { scope = \"{scope}\",");
    let profile = build(&provider, "credentials = [{ key = \"a\" }, { key = \"b\" }]").unwrap();
    let narrow = |scope: &str| {
        let narrowing = Narrowing { scope: Some(scope.to_owned()), ..Narrowing::default() };
        profile.narrowed(narrowing).unwrap().named()
    };
    let (wide, one, two) = (profile.clone().named(), narrow("one"), narrow("two"));
    let names: Vec<_> = [&wide, &one, &two].into_iter().flat_map(Profile::all).map(Profile::record_name).collect();
    let distinct: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), 6);
    for (index, profile) in wide.all().iter().enumerate() {
        assert_eq!(profile.refusals_name(), None);
        assert_eq!(one.all()[index].refusals_name(), Some(&profile.record_name()));
        assert_eq!(two.all()[index].refusals_name(), Some(&profile.record_name()));
    }
    assert_eq!(one.record_name(), one.all()[0].record_name());
}
