//! What a signature costs over the bare operation of ring: the proof that every request with a bound token carries.

use std::hint::black_box;

use qauth_core::{Engine, TokenOptions};
use qauth_sim::known;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::measure::{Subject, nanoseconds};
use crate::say;

const ROUNDS: usize = 7;

/// `headers` of a cached DPoP token (RFC 9449), against signing a text of the same length with ring alone.
pub(crate) fn proofs(url: &str) {
    let random = SystemRandom::new();
    let message = [b'x'; 400];
    let es256 = der("es256_private_key");
    let es256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, es256.secret_pkcs8_der(), &random)
        .expect("the simulator's key");
    let rs256 = RsaKeyPair::from_pkcs8(der("rsa_private_key").secret_pkcs8_der()).expect("the simulator's key");
    let bare_es256 = || {
        black_box(es256.sign(&random, &message).expect("a signature"));
    };
    let bare_rs256 = || {
        let mut signature = vec![0; rs256.public().modulus_len()];
        rs256.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature).expect("a signature");
        black_box(signature);
    };
    pair("ES256", 20_000, bare_es256, url, "es256_private_key");
    pair("RS256", 1_000, bare_rs256, url, "rsa_private_key");
}

fn pair(name: &str, calls: u64, bare: impl Fn() + Sync, url: &str, key: &str) {
    let config = serde_json::json!({"profiles": {"bound": {
        "provider": "oauth2",
        "token_endpoint": format!("{url}/generic/token"),
        "api_base_url": format!("{url}/generic"),
        "client_id": known::generic("client_id"),
        "client_secret": known::generic("client_secret"),
        "dpop": true,
        "dpop_key": known::generic(key),
    }}});
    let engine = Engine::from_json(&config.to_string()).expect("the configuration is fine");
    let source = engine.source("bound").expect("the profile is fine");
    source.token_blocking(TokenOptions::default()).expect("a token");
    let proof = || {
        let headers = source.headers_blocking("GET", "/api/whoami", TokenOptions::default());
        black_box(headers.expect("headers").len());
    };
    let repeat = |call: &(dyn Fn() + Sync), calls: u64| (0..calls).for_each(|_| call());
    let subjects = [
        Subject { name: "ring alone", run: Box::new(|calls| repeat(&bare, calls)) },
        Subject { name: "headers with a proof", run: Box::new(|calls| repeat(&proof, calls)) },
    ];
    let ns = nanoseconds(&subjects, calls, ROUNDS, 1);
    say(&format!(
        "DPoP proof, {name}: ring alone {:.1} us, headers() {:.1} us: {:.2}x",
        ns[0] / 1000.0,
        ns[1] / 1000.0,
        ns[1] / ns[0]
    ));
}

fn der(name: &str) -> PrivatePkcs8KeyDer<'static> {
    let pem = known::generic(name).expect("the simulator knows it");
    PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("a key in PEM")
}
