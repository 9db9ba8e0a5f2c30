//! A new client that is saved as a profile: what is written, when it is refused, and that its secret is never lost.

#[path = "support/script.rs"]
mod script;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use qauth_core::{CallOptions, CustomToken, Discovery, Engine, Error, ErrorCode, TokenCall, TokenOptions, TokenSource};
use qauth_sim::{Sim, SimOptions, known};
use script::Script;
use serde_json::{Map, Value, json};

/// A configuration's folder, and what is in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(config: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        std::fs::write(folder.path("qauth.toml"), config).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn engine(&self) -> Engine {
        Engine::from_file(self.path("qauth.toml")).unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn parameters(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn save_as(name: &str) -> CallOptions {
    CallOptions { save_as: Some(name.to_owned()), ..CallOptions::default() }
}

fn create(source: &TokenSource, name: &str) -> Result<Value, Error> {
    source.call_blocking("create", &Map::new(), save_as(name)).map(|result| result.into_value())
}

/// A vendor whose operation `create` makes clients. Its own tokens come of a function, which runs when all has been checked
/// and nothing is sent yet: there a test changes the world.
fn vendor(server: &Script, keys: &str) -> Folder {
    let url = server.url();
    Folder::with(&format!(
        r#"
        [profiles.maker]
        provider = "vendor"
        grant = "custom"
        {keys}
        [providers.vendor]
        environments = {{ live = {{ base_url = "{url}" }}, test = {{ base_url = "{url}/test" }} }}
        variables = {{ realm = {{ default = "r" }}, desk = {{ default = "d" }} }}
        credentials = {{ id = {{}}, key = {{ secret = true }} }}
        [providers.vendor.grants.client_credentials]
        path = "/{{realm}}/token"
        form = {{ id = "{{id}}", key = "{{key}}" }}
        [providers.vendor.grants.custom]
        [providers.vendor.operations.create]
        path = "/{{realm}}/clients"
        query = {{ desk = "{{desk}}" }}
        grants = ["custom"]
        secrets = ["/key"]
        saves = {{ grant = "client_credentials", fields = {{ id = "/id", key = "/key" }} }}
        "#
    ))
}

/// The source of the vendor's profile `maker`.
fn maker(engine: &Engine, meanwhile: impl Fn() + Send + Sync + 'static) -> TokenSource {
    let function = move |_: &TokenCall| {
        meanwhile();
        async { Ok(CustomToken::new("token-of-the-maker", None)) }
    };
    engine.custom_source("maker", &Map::new(), function).unwrap()
}

#[test]
fn the_new_profile_is_a_file_for_its_owner_alone_and_works_at_once() {
    let sim = Sim::start(SimOptions::default()).unwrap();
    let folder = Folder::with(&format!(
        "[profiles.console]\nprovider = \"qpay\"\ngrant = \"password\"\nbase_url = \"{}/qpay\"\nusername = \"{}\"\npassword = \"{}\"\n",
        sim.url(),
        known::QPAY_USERNAME,
        known::QPAY_PASSWORD
    ));
    let (engine, other) = (folder.engine(), folder.engine());
    let client = parameters(json!({"tenant_id": known::QPAY_TENANT_ID, "name": "batch", "roles": ["issuer"]}));
    let made = engine.source("console").unwrap().call_blocking("create_client", &client, save_as("batch")).unwrap();
    let answer = made.value();

    let file = folder.path("profiles.d/batch.toml");
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let member = |key: &str| answer[key].as_str().unwrap().to_owned();
    assert_eq!(
        folder.read("profiles.d/batch.toml"),
        format!(
            "# Made by create_client of profile console.\nprovider = \"qpay\"\ngrant = \"client_credentials\"\nbase_url = \"{}/qpay\"\nrealm = \"qpay\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
            sim.url(),
            member("client_id"),
            member("client_secret")
        )
    );
    for engine in [engine, other, folder.engine()] {
        assert_eq!(engine.profiles(), ["console", "batch"]);
        assert!(engine.source("batch").unwrap().token_blocking(TokenOptions::default()).is_ok());
    }
}

#[test]
fn a_profile_that_comes_later_is_trusted_as_one_that_was_there() {
    let folder = Folder::with("");
    let engine = folder.engine();
    assert!(engine.source("later").unwrap_err().message().contains("is unknown"));
    std::fs::create_dir(folder.path("profiles.d")).unwrap();
    let file = folder.path("profiles.d/later.toml");
    std::fs::write(&file, "provider = \"quiqup\"\nclient_id = \"a\"\nclient_secret = \"b\"").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(engine.source("later").unwrap_err().message().contains("can be written by others"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(engine.source("later").is_ok());
    std::fs::write(folder.path("outside.toml"), "provider = \"quiqup\"").unwrap();
    assert!(engine.source("../outside").unwrap_err().message().contains("is unknown"));
}

#[test]
fn what_a_profile_hands_on_is_the_vendors_place_and_no_credential() {
    let server = Script::start();
    server.answers("/test/blue/clients?desk=north", [(201, json!({"id": 7, "key": "env:HOME"}))]);
    server.answers("/test/blue/token", [(200, json!({"access_token": "t", "expires_in": 300}))]);
    let keys =
        "environment = \"test\"\nallowed_hosts = [\"cdn.example.com\"]\nrealm = \"blue\"\ndesk = \"north\"\nbuffer = 5";
    let folder = vendor(&server, keys);
    let engine = folder.engine();
    let source = maker(&engine, || {});
    create(&source, "batch").unwrap();
    assert_eq!(
        folder.read("profiles.d/batch.toml"),
        "# Made by create of profile maker.\nprovider = \"vendor\"\ngrant = \"client_credentials\"\nenvironment = \"test\"\nallowed_hosts = [\"cdn.example.com\"]\nrealm = \"blue\"\nid = \"7\"\nkey = \"literal:env:HOME\"\n"
    );
    engine.source("batch").unwrap().token_blocking(TokenOptions::default()).unwrap();
    let asked = server.asked("/test/blue/token");
    assert_eq!((asked[0]["id"].as_str(), asked[0]["key"].as_str()), ("7", "env:HOME"));
}

#[test]
fn what_came_of_the_environment_is_written_down() {
    let server = Script::start();
    server.answers("/qauth-core/clients?desk=d", [(201, json!({"id": "i", "key": "k"}))]);
    let folder = vendor(&server, "");
    let config =
        folder.read("qauth.toml").replace("realm = { default = \"r\" }", "realm = { env = \"CARGO_PKG_NAME\" }");
    std::fs::write(folder.path("qauth.toml"), config).unwrap();
    create(&maker(&folder.engine(), || {}), "batch").unwrap();
    assert!(folder.read("profiles.d/batch.toml").contains("realm = \"qauth-core\"\n"));
}

#[test]
fn a_provider_that_was_given_as_a_table_is_written_as_one() {
    let server = Script::start();
    server.answers("/clients", [(201, json!({"key": "canary-key"}))]);
    let folder = Folder::with("");
    let keys = json!({
        "provider": {
            "name": "vendor",
            "credentials": {"key": {"secret": true}},
            "grants": {"static": {"token": "{key}"}},
            "operations": {
                "create": {
                    "path": "/clients", "secrets": ["/key"],
                    "saves": {"grant": "static", "fields": {"key": "/key"}},
                },
            },
        },
        "api_base_url": server.url(),
        "key": "first",
    });
    let engine = folder.engine();
    create(&engine.source_with("maker", &parameters(keys)).unwrap(), "second").unwrap();
    let token = engine.source("second").unwrap().token_blocking(TokenOptions::default()).unwrap();
    assert_eq!(token.access_token(), "canary-key");
}

#[test]
fn what_could_not_be_saved_is_refused_before_anything_is_sent() {
    let server = Script::start();
    let folder = vendor(&server, "");
    std::fs::create_dir(folder.path("profiles.d")).unwrap();
    std::fs::write(folder.path("profiles.d/taken.toml"), "provider = \"quiqup\"").unwrap();
    let engine = folder.engine();
    std::os::unix::fs::symlink("nowhere", folder.path("profiles.d/link.toml")).unwrap();
    let refused = |engine: &Engine, name: &str, code: ErrorCode, text: &str| {
        let source = maker(engine, || panic!("asked for a token"));
        let error = create(&source, name).unwrap_err();
        assert!(error.code() == code && error.message().contains(text), "{name}: {error}");
        assert!(error.answer().is_none());
    };
    use ErrorCode::{Config, InvalidArgument, Store};
    for name in ["../x", "a/b", "", ".hidden", "a\nb"] {
        refused(&engine, name, InvalidArgument, "a profile's name is letters");
    }
    engine
        .source_with("in_code", &parameters(json!({"provider": "quiqup", "client_id": "a", "client_secret": "b"})))
        .unwrap();
    for name in ["maker", "taken", "link", "in_code"] {
        refused(&engine, name, InvalidArgument, "is a profile already");
    }
    for name in ["vendor", "quiqup"] {
        refused(&engine, name, InvalidArgument, "is a provider");
    }
    refused(&Engine::from_toml(&folder.read("qauth.toml")).unwrap(), "new", Config, "no configuration file");
    let here = Discovery { named: None, working_directory: Some(folder.0.path().into()), folder: None };
    refused(&Engine::discover_in(&here).unwrap(), "new", Config, "working directory");
    std::fs::remove_dir_all(folder.path("profiles.d")).unwrap();
    std::fs::write(folder.path("profiles.d"), "").unwrap();
    refused(&engine, "new", Store, "profiles.d/new.toml cannot be written");

    let error = engine.source("maker").unwrap().call_blocking("nothing", &Map::new(), save_as("new")).unwrap_err();
    assert!(error.code() == InvalidArgument && error.message().contains("\"nothing\" is unknown"), "{error}");
    assert!(server.asked("/r/clients?desk=d").is_empty());
}

#[test]
fn an_operation_that_makes_nothing_names_those_that_do() {
    let folder = Folder::with(
        "[profiles.p]\nprovider = \"qpay\"\ngrant = \"password\"\nusername = \"a\"\npassword = \"b\"\nbase_url = \"http://127.0.0.1:1\"",
    );
    let source = folder.engine().source("p").unwrap();
    let error = source.call_blocking("whoami", &Map::new(), save_as("new")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    assert!(error.message().contains("operation whoami") && error.message().contains("create_client does"), "{error}");
}

#[test]
fn an_answer_that_cannot_be_kept_comes_with_the_error_and_is_not_shown() {
    let server = Script::start();
    let answer = json!({"id": "i", "key": "canary-key"});
    let folder = vendor(&server, "");
    let lost = |answer: Value, meanwhile: Box<dyn Fn() + Send + Sync>| {
        server.answers("/r/clients?desk=d", [(201, answer.clone())]);
        let engine = folder.engine();
        let error = create(&maker(&engine, meanwhile), "new").unwrap_err();
        assert_eq!(error.answer(), Some(&answer));
        let shown = format!("{error} {error:?} {}", error.message());
        assert!(!shown.contains("canary") && shown.contains("profile new"), "{shown}");
        assert_eq!(error.profile(), Some("maker"));
        error.code()
    };

    // Somebody else takes the name.
    let (profiles, file) = (folder.path("profiles.d"), folder.path("profiles.d/new.toml"));
    let take = move || std::fs::write(&file, "provider = \"quiqup\"").unwrap();
    assert_eq!(lost(answer.clone(), Box::new(take)), ErrorCode::Store);
    assert_eq!(folder.read("profiles.d/new.toml"), "provider = \"quiqup\"");
    assert_eq!(std::fs::read_dir(&profiles).unwrap().count(), 1);

    // The folder becomes a file.
    std::fs::remove_dir_all(&profiles).unwrap();
    let replaced = profiles.clone();
    let replace = move || std::fs::remove_dir(&replaced).and_then(|()| std::fs::write(&replaced, "")).unwrap();
    assert_eq!(lost(answer, Box::new(replace)), ErrorCode::Store);
    std::fs::remove_file(&profiles).unwrap();

    // The vendor answers something else.
    for wrong in [
        json!({"key": "canary-key"}),
        json!({"id": ["i"], "key": "canary-key"}),
        json!({"id": "", "key": "canary-key"}),
        json!({"id": "i", "key": "canary\nkey"}),
        json!({"client": {"id": "i", "key": "canary-key"}}),
        json!(null),
    ] {
        assert_eq!(lost(wrong, Box::new(|| {})), ErrorCode::Protocol);
    }
    assert!(!folder.path("profiles.d/new.toml").exists());
}

#[test]
fn a_caller_who_gives_up_does_not_lose_the_client() {
    let server = Script::start();
    server.answers("/r/clients?desk=d", [(201, json!({"id": "i", "key": "canary-key"}))]);
    let folder = vendor(&server, "");
    let engine = folder.engine();
    let source = maker(&engine, || {});
    source.token_blocking(TokenOptions::default()).unwrap();
    let (parameters, options) = (Map::new(), save_as("new"));
    let mut call = Box::pin(source.call("create", &parameters, options));
    // Begun, and given up at once.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    drop(call);
    let file = folder.path("profiles.d/new.toml");
    while !file.exists() {
        std::thread::yield_now();
    }
    assert!(folder.read("profiles.d/new.toml").contains("canary-key"));
}
