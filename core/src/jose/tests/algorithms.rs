//! Names of algorithms and formats.

use serde_json::{from_value, json};

use super::*;

#[test]
fn every_algorithm_is_read_by_exactly_its_name() {
    let names = "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 HS256 HS384 HS512 EdDSA";
    assert_eq!(Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" "), names);
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.name().parse::<Algorithm>().unwrap(), *algorithm);
    }
    for name in ["rs256", "RS256 ", "ES512", "EDDSA", "Ed25519", ""] {
        let said = name.parse::<Algorithm>().unwrap_err();
        assert!(said.starts_with("the algorithm is unknown; choose one of RS256, "), "{said}");
    }
}

#[test]
fn the_algorithm_none_is_refused_as_what_it_is() {
    for name in ["none", "None", "NONE"] {
        let said = name.parse::<Algorithm>().unwrap_err();
        assert!(said.starts_with("the algorithm `none` signs nothing and is never used"), "{said}");
    }
    let jwk = r#"{"kty":"oct","alg":"none","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    assert_eq!(refusal(jwk, None, None), "is a JWK for an algorithm that is not supported (its member alg)");
}

#[test]
fn formats_are_named_in_snake_case() {
    let names = ["pem", "jwk", "hex", "base64", "text"];
    let formats = [KeyFormat::Pem, KeyFormat::Jwk, KeyFormat::Hex, KeyFormat::Base64, KeyFormat::Text];
    for (name, format) in names.into_iter().zip(formats) {
        assert_eq!(from_value::<KeyFormat>(json!(name)).unwrap(), format);
    }
    assert!(from_value::<KeyFormat>(json!("der")).is_err());
}
