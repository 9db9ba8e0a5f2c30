//! The whole way against the simulator, which is strict about every rule.

use std::io::{Read, Write};
use std::net::TcpStream;

use qauth_core::{Engine, ErrorCode, LoginOptions, Revocation, TokenOptions};
use qauth_sim::{Sim, SimOptions, known};

use super::support::REDIRECT;

/// Where this address redirects to.
fn redirect_of(url: &str) -> String {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
    location.unwrap_or_else(|| panic!("no redirect: {answer}")).to_owned()
}

#[test]
fn a_sign_in_that_is_bound_to_a_key_is_renewed_with_it_and_ends_at_the_server() {
    let sim = Sim::start(SimOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.pem"), known::generic("es256_private_key").unwrap()).unwrap();
    let toml = format!(
        r#"
        [testing]
        clock = "manual"
        [profiles.p]
        provider = "oauth2"
        grant = "authorization_code"
        issuer = "{url}/generic"
        client_id = "{client}"
        scope = "read"
        dpop = true
        dpop_key = "file:{folder}/key.pem"
        refresh_token = "file:{folder}/p.login"
        "#,
        url = sim.url(),
        client = known::generic("public_client_id").unwrap(),
        folder = folder.path().display(),
    );
    let source = || Engine::from_toml(&toml).unwrap().source("p").unwrap();
    let first = source();
    let login = first
        .begin_login_blocking(LoginOptions { redirect_uri: Some(REDIRECT.to_owned()), must_be_kept: true })
        .unwrap();
    assert!(login.authorization_url().unwrap().contains("&dpop_jkt="));
    let redirect = redirect_of(login.authorization_url().unwrap());
    let done = login.complete_blocking(&redirect).unwrap();
    assert_eq!(done.token.token_type(), "DPoP");
    let second = source();
    let renewed = second.token_blocking(TokenOptions::default()).unwrap();
    assert_eq!(renewed.token_type(), "DPoP");
    assert_ne!(renewed.access_token(), done.token.access_token());
    let out = second.logout_blocking().unwrap();
    assert!(matches!((&out.refresh_token, &out.access_token), (Revocation::Revoked, Revocation::Revoked)), "{out:?}");
    let error = source().token_blocking(TokenOptions::default()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ReauthenticationRequired);
}
