//! What is no usable key, and the words for it.

use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

#[test]
fn every_wrong_pairing_of_key_and_algorithm_is_named() {
    let rsa = "RS256 RS384 RS512 PS256 PS384 PS512";
    for (name, kind, can) in [
        ("rsa2048.pkcs1.pem", "an RSA key", rsa),
        ("rsa2048.jwk.json", "an RSA key", rsa),
        ("p256.sec1.pem", "an EC key (P-256)", "ES256"),
        ("p256.jwk.json", "an EC key (P-256)", "ES256"),
        ("p384.pkcs8.pem", "an EC key (P-384)", "ES384"),
        ("ed25519.pkcs8.pem", "an Ed25519 key", "EdDSA"),
    ] {
        for algorithm in Algorithm::ALL {
            let result = SigningKey::parse(file(name), None, Some(*algorithm));
            if can.split(' ').any(|can| can == algorithm.name()) {
                assert_eq!(result.expect("a key").algorithm(), *algorithm);
            } else {
                let said = result.expect_err("refused");
                assert_eq!(said, format!("is {kind}, which cannot sign {}", algorithm.name()), "{name}");
            }
        }
    }
    let oct = json!({ "kty": "oct", "k": "A".repeat(86) }).to_string();
    for algorithm in Algorithm::ALL.iter().filter(|algorithm| !algorithm.name().starts_with("HS")) {
        let expected = format!("is a shared secret, which cannot sign {}", algorithm.name());
        assert_eq!(refusal(&oct, None, Some(*algorithm)), expected);
        assert_eq!(refusal("secret", Some(KeyFormat::Text), Some(*algorithm)), expected);
    }
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let missing = "is an EC key without its public key, which is needed; add it: openssl ec -in OLD.pem -out NEW.pem";
    let encrypted = "is an encrypted PEM; decrypt it first: openssl pkey -in OLD.pem -out NEW.pem";
    let kinds = "is a private key of a kind that is not supported: RSA, EC (P-256, P-384) and Ed25519 are";
    for (name, expected) in [
        ("rsa1024.pkcs1.pem", "is an RSA key of 1024 bits, which is too short: 2048 is the least"),
        ("rsa2048-e3.pkcs1.pem", "is an RSA key whose public exponent is not supported: 65537 is usual"),
        (
            "rsa2048-pss.pkcs8.pem",
            "is an RSA key bound to RSASSA-PSS parameters, which is not supported: a plain RSA key signs PS256 as well",
        ),
        ("rsa2048-public.pem", "is a public key, not a private one"),
        ("rsa2048.encrypted.pem", encrypted),
        ("rsa2048.encrypted-pkcs1.pem", encrypted),
        ("p256-certificate.pem", "is a certificate, not a private key"),
        ("p256.sec1-without-public.pem", missing),
        ("p256.pkcs8-without-public.pem", missing),
        (
            "p256.sec1-compressed.pem",
            "is an EC key (P-256) with a compressed public key; convert it: \
             openssl ec -conv_form uncompressed -in OLD.pem -out NEW.pem",
        ),
        ("p521.sec1.pem", "is an EC key on a curve that is not supported: P-256 and P-384 are"),
        ("ed448.pkcs8.pem", kinds),
        ("ed25519.openssh.pem", "is a key in OpenSSH's own form; convert it: ssh-keygen -p -m PKCS8 -f FILE"),
    ] {
        assert_eq!(refusal(file(name), None, None), expected, "{name}");
        assert_eq!(refusal(file(name), Some(KeyFormat::Pem), Some(Algorithm::Rs256)), expected, "{name}");
    }
}

#[test]
fn pem_without_end_or_beginning_is_refused() {
    let pem = file("p256.pkcs8.pem");
    let cut = "is PEM that was cut short: its END line is missing";
    assert_eq!(refusal(&pem[..100], None, None), cut);
    assert_eq!(refusal("-----BEGIN PRIVATE KEY-----", None, None), cut);
    assert_eq!(refusal("-----BEGIN PRIV", None, None), cut);
    assert_eq!(refusal(&pem.replace("END PRIVATE", "END PUBLIC"), None, None), cut);
    assert_eq!(refusal("words", Some(KeyFormat::Pem), None), "is not PEM: it has no BEGIN line");
    let empty = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
    assert_eq!(refusal(empty, None, None), "is a damaged private key");
    assert_eq!(refusal(&pem.repeat(2), None, None), "holds more than one private key");
    assert_eq!(refusal("-----BEGIN X-----\n-----END X-----", None, None), "is PEM without a private key");
}

#[test]
fn parts_that_do_not_fit_are_noticed() {
    let swap = |name: &str, member: &str, other: &Value| {
        let mut jwk = object(serde_json::from_str(file(name)).expect("JSON"));
        jwk[member] = other.clone();
        Value::Object(jwk).to_string()
    };
    let rsa: Value = serde_json::from_str(file("rsa2048.jwk.json")).expect("JSON");
    let misfit = "its private and public parts do not fit each other";
    let ec = swap("p256.jwk.json", "d", &"AQ".into());
    assert_eq!(refusal(&ec, None, None), format!("is a damaged EC key (P-256): {misfit}"));
    let ec = swap("p256.jwk.json", "d", &"AA".into());
    assert_eq!(refusal(&ec, None, None), "is a damaged EC key (P-256)");
    let ed25519 = swap("ed25519.jwk.json", "d", &"A".repeat(43).into());
    assert_eq!(refusal(&ed25519, None, None), format!("is a damaged Ed25519 key: {misfit}"));
    let swapped = swap("rsa2048.jwk.json", "p", &rsa["q"]);
    assert_eq!(refusal(&swapped, None, None), "is a damaged RSA key: its parts do not fit each other");

    // ring notices this one only when it signs.
    let error = parse(&swap("rsa2048.jwk.json", "dp", &rsa["dq"])).sign(b"message").unwrap_err();
    assert_eq!(error.message(), "the private key cannot sign: it is damaged, its parts do not fit each other");
}

#[test]
fn a_jwk_without_a_private_member_is_named() {
    for name in ["rsa2048.jwk.json", "p256.jwk.json", "p384.jwk.json", "ed25519.jwk.json"] {
        let whole = object(serde_json::from_str(file(name)).expect("JSON"));
        for member in whole.keys().filter(|member| !["kid", "use", "alg"].contains(&member.as_str())) {
            let mut jwk = whole.clone();
            jwk.remove(member);
            let said = refusal(&Value::Object(jwk).to_string(), Some(KeyFormat::Jwk), None);
            let expected = match member.as_str() {
                "d" => "is a public key, not a private one: it has no member d".to_owned(),
                "kty" => "is not a JWK: it has no member kty".to_owned(),
                "p" | "q" | "dp" | "dq" | "qi" => {
                    "is an RSA JWK without all of p, q, dp, dq and qi, which are needed".to_owned()
                }
                "crv" if name.starts_with("ed") => {
                    "is an OKP JWK on a curve that is not supported: Ed25519 is".to_owned()
                }
                other => format!("is a JWK without the member {other}"),
            };
            assert_eq!(said, expected, "{name}");
        }
    }
}

#[test]
fn json_that_is_no_usable_jwk_is_refused() {
    let p256 = file("p256.jwk.json");
    for (text, expected) in [
        ("{\"kty\":", "is not valid JSON: the text ends too early at line 1 column 7"),
        (
            "{\"kty\":\"oct\",\"kty\":\"EC\"}",
            "is not valid JSON: a key that occurs twice in one object at line 1 column 18",
        ),
        ("{}", "is not a JWK: it has no member kty"),
        ("{\"kty\":1}", "is not a JWK: it has no member kty"),
        ("[]", "is not a JWK: it is no JSON object"),
        ("{\"kty\":\"AKP\"}", "is a JWK of a kty that is not supported: RSA, EC, OKP and oct are"),
        ("{\"kty\":\"oct\"}", "is a JWK without the member k"),
        ("{\"kty\":\"oct\",\"k\":\"!\"}", "is a JWK whose member k is not base64url"),
        (&format!("{{\"keys\":[{p256}]}}"), "is a JWK set; give the one key to sign with"),
        (&p256.replace("P-256", "secp256k1"), "is an EC key on a curve that is not supported: P-256 and P-384 are"),
        (&p256.replace("\"x\": \"", "\"x\": \"____"), "is a JWK whose member x is too long"),
    ] {
        assert_eq!(refusal(text, Some(KeyFormat::Jwk), None), expected);
    }
    let own = p256.replacen('{', "{\"alg\": \"ES384\",", 1);
    assert_eq!(refusal(&own, None, Some(Algorithm::Es256)), "is a JWK for ES384 (its member alg), not for ES256");
    assert_eq!(refusal(&own, None, None), "is an EC key (P-256), which cannot sign ES384");
}

#[test]
fn an_oct_jwk_is_at_least_as_long_as_the_hash() {
    for (algorithm, least) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        let jwk = |bytes: usize| json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(vec![7; bytes]) }).to_string();
        assert_eq!(
            refusal(&jwk(least - 1), None, Some(algorithm)),
            format!("has {} bytes, too few for {}, which wants {least} (RFC 7518 3.2)", least - 1, algorithm.name())
        );
        parse_for(&jwk(least), algorithm);
    }
}

#[test]
fn bare_bytes_that_are_no_key_are_refused() {
    let scalar = "is an EC private number without its public key, which is needed; give PEM or a JWK, which hold both";
    for format in [None, Some(KeyFormat::Hex)] {
        assert_eq!(refusal(&"1f".repeat(32), format, Some(Algorithm::Es256)), scalar);
        assert_eq!(refusal(&"1f".repeat(48), format, Some(Algorithm::Es384)), scalar);
    }
    let hex = Some(KeyFormat::Hex);
    assert_eq!(refusal("1f1", hex, Some(Algorithm::EdDsa)), "is not hex");
    assert_eq!(refusal("1g", hex, Some(Algorithm::EdDsa)), "is not hex");
    assert_eq!(refusal("1f1f", hex, Some(Algorithm::EdDsa)), "has 2 bytes, where an Ed25519 key has 32");
    assert_eq!(refusal("1f1f", hex, Some(Algorithm::Rs256)), "holds no private key in DER form");
    assert_eq!(refusal("####", Some(KeyFormat::Base64), None), "is not base64");
    assert_eq!(refusal("====", Some(KeyFormat::Base64), Some(Algorithm::Hs256)), "is not base64");
    let no_algorithm = "holds no private key in DER form; a shared secret needs an HS algorithm";
    assert_eq!(refusal("1f1f", hex, None), no_algorithm);
    assert_eq!(refusal(&body(file("p256.pkcs8.pem"))[..80], Some(KeyFormat::Base64), None), no_algorithm);
    let public = body(file("rsa2048-public.pem"));
    assert_eq!(refusal(&public, Some(KeyFormat::Base64), Some(Algorithm::Rs256)), "holds no private key in DER form");
}

#[test]
fn what_is_no_key_at_all_is_refused() {
    for algorithm in Algorithm::ALL.iter().copied().map(Some).chain([None]) {
        for empty in ["", " \n\t"] {
            assert_eq!(refusal(empty, None, algorithm), "is empty");
        }
        let junk = "is longer than 65536 bytes, which no key is";
        for text in ["A", "-----BEGIN ", "{", "[", "é", "\\n"] {
            let text = text.repeat(1_000_000 / text.len());
            for format in
                [None, Some(KeyFormat::Pem), Some(KeyFormat::Jwk), Some(KeyFormat::Hex), Some(KeyFormat::Base64)]
            {
                assert_eq!(refusal(&text, format, algorithm), junk);
            }
        }
    }
    // Just below the limit, where the parsers really run.
    for text in ["-----BEGIN A-----", "-----BEGIN A----------END A-----", "{\"a\":", "[", "MII", "\\"] {
        let text = text.repeat(65_000 / text.len());
        refusal(&text, None, Some(Algorithm::Rs256));
        refusal(&text, Some(KeyFormat::Jwk), None);
        refusal(&text, Some(KeyFormat::Pem), None);
    }
    let unknown = "is neither PEM nor a JWK nor the base64 of a private key";
    assert_eq!(refusal("hunter2", None, Some(Algorithm::Rs256)), unknown);
    assert_eq!(refusal("hunter2", None, None), format!("{unknown}; a shared secret needs an HS algorithm"));
    assert_eq!(refusal(&STANDARD.encode("hunter2"), None, Some(Algorithm::Es256)), unknown);
    assert_eq!(refusal(&body(file("p256-certificate.pem")), None, Some(Algorithm::Es256)), unknown);
}

#[test]
fn a_public_key_under_an_hs_algorithm_does_not_become_the_secret() {
    assert_eq!(refusal(file("rsa2048-public.pem"), None, Some(Algorithm::Hs256)), "is a public key, not a private one");
}
