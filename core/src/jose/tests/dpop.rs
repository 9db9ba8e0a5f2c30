//! DPoP proofs (RFC 9449 4.2).

use url::Url;

use super::*;
use crate::error::ErrorCode;
use crate::jose::dpop::access_token_hash;
use crate::jose::dpop_proof;

fn url(text: &str) -> Url {
    Url::parse(text).expect("a URL")
}

#[test]
fn a_proof_for_the_token_endpoint_has_the_required_claims_only() {
    for name in ["p256.sec1.pem", "p384.pkcs8.pem", "rsa2048.pkcs1.pem", "ed25519.pkcs8.pem"] {
        let key = parse(file(name));
        let public = key.public_jwk().expect("public");
        let endpoint = url("https://server.example.com/token");
        let proof = dpop_proof(&key, "POST", &endpoint, 1_562_262_616, None, None).expect("a proof");
        let (header, claims) = verified(&proof, public);
        let alg = key.algorithm().name();
        assert_eq!(header.to_string(), format!(r#"{{"alg":"{alg}","typ":"dpop+jwt","jwk":{public}}}"#));
        let jti = claims["jti"].as_str().expect("jti");
        assert_eq!(jti.len(), 32);
        assert_eq!(
            claims.to_string(),
            format!(r#"{{"jti":"{jti}","htm":"POST","htu":"https://server.example.com/token","iat":1562262616}}"#)
        );
    }
}

#[test]
fn token_and_nonce_are_bound_when_given() {
    let key = parse(file("p256.jwk.json"));
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let api = url("https://resource.example.org/protectedresource");
    let proof = dpop_proof(&key, "GET", &api, 1, Some(token), Some("eyJ7S_zG.eyJH0-Z.HX4w-7v")).expect("a proof");
    let (header, claims) = verified(&proof, key.public_jwk().expect("public"));
    assert_eq!(claims["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo", "RFC 9449 4.3");
    assert_eq!(claims["nonce"], "eyJ7S_zG.eyJH0-Z.HX4w-7v");
    assert_eq!(header["jwk"].get("d"), None);
    assert_eq!(header["jwk"].get("kid"), None);
}

#[test]
fn the_hash_of_a_token_is_that_of_rfc_9449() {
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    assert_eq!(access_token_hash(token), "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
}

#[test]
fn htu_has_no_query_fragment_or_user() {
    let key = parse(file("p256.jwk.json"));
    for (text, expected) in [
        ("https://a.example/x?y=1#z", "https://a.example/x"),
        ("https://user:pass@a.example/x?", "https://a.example/x"),
        ("HTTPS://A.Example:443/x/../%7Ey", "https://a.example/%7Ey"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
    ] {
        let proof = dpop_proof(&key, "GET", &url(text), 1, None, None).expect("a proof");
        assert_eq!(verified(&proof, key.public_jwk().expect("public")).1["htu"], expected);
    }
}

#[test]
fn no_two_proofs_share_their_jti() {
    let key = parse(file("p256.jwk.json"));
    let jti = || {
        let proof = dpop_proof(&key, "GET", &url("https://a.example/"), 1, None, None).expect("a proof");
        verified(&proof, key.public_jwk().expect("public")).1["jti"].clone()
    };
    assert_ne!(jti(), jti());
}

#[test]
fn a_shared_secret_makes_no_proof() {
    let key = parse_for("secret", Algorithm::Hs512);
    let error = dpop_proof(&key, "GET", &url("https://a.example/"), 1, None, None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Config);
    assert_eq!(error.message(), "a DPoP proof needs a private key, and HS512 uses a shared secret");
}
