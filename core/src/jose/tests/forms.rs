//! Every form a usable key comes in.

use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;

use super::*;

/// Both hold the same key.
fn same(one: &SigningKey, other: &SigningKey) {
    assert_eq!(one.thumbprint().expect("public"), other.thumbprint().expect("public"));
    let signature = one.sign(b"message").expect("a signature");
    assert!(verifies(one.algorithm(), other.public_jwk().expect("public"), b"message", &signature));
}

#[test]
fn pem_of_every_kind_holds_the_key_of_its_jwk() {
    for (jwk, algorithm, names) in [
        ("rsa2048.jwk.json", Algorithm::Rs256, "rsa2048.pkcs1.pem rsa2048.pkcs8.pem"),
        (
            "p256.jwk.json",
            Algorithm::Es256,
            "p256.sec1.pem p256.sec1-with-parameters.pem p256.pkcs8.pem p256.pkcs8-v2.pem p256.with-certificate.pem",
        ),
        ("p384.jwk.json", Algorithm::Es384, "p384.sec1.pem p384.pkcs8.pem"),
        ("ed25519.jwk.json", Algorithm::EdDsa, "ed25519.pkcs8.pem"),
    ] {
        let jwk = parse(file(jwk));
        assert_eq!(jwk.algorithm(), algorithm);
        for name in names.split(' ') {
            let key = parse(file(name));
            assert_eq!(key.algorithm(), algorithm, "{name}");
            assert_eq!(key.kid(), None);
            same(&key, &jwk);
        }
    }
}

#[test]
fn pem_survives_what_environments_and_editors_do_to_it() {
    for name in
        ["rsa2048.pkcs1.pem", "rsa2048.pkcs8.pem", "p256.sec1.pem", "ed25519.pkcs8.pem", "p256.with-certificate.pem"]
    {
        let pem = file(name);
        for (mishap, text) in [
            ("CRLF", pem.replace('\n', "\r\n")),
            ("old Macintosh", pem.replace('\n', "\r")),
            ("literal \\n", pem.replace('\n', "\\n")),
            ("literal \\r\\n", pem.replace('\n', "\\r\\n")),
            ("escaped twice", pem.replace('\n', "\\\\n")),
            ("one line", pem.replace('\n', " ")),
            ("no break at all", pem.replace('\n', "")),
            ("indented", pem.lines().map(|line| format!("    {line}\n")).collect()),
            ("blank lines", pem.replace('\n', "\n\n")),
            ("text around", format!("Bag Attributes\n  friendlyName: x\n{pem}\ntrailing words\n")),
            ("quotes", format!("\"{}\"", pem.replace('\n', "\\n"))),
            ("byte order mark", format!("\u{feff}{pem}")),
            ("inside JSON", serde_json::json!({ "type": "service_account", "private_key": pem }).to_string()),
            ("base64 once more", STANDARD.encode(pem)),
        ] {
            match SigningKey::parse(&text, None, None) {
                Ok(key) => assert_eq!(key.thumbprint(), parse(pem).thumbprint(), "{name}: {mishap}"),
                Err(said) => panic!("{name}: {mishap}: {said}"),
            }
        }
    }
}

#[test]
fn pem_whose_label_is_another_kind_of_private_key_is_read_by_its_content() {
    let key = parse(&file("rsa2048.pkcs1.pem").replace("RSA PRIVATE", "PRIVATE"));
    same(&key, &parse(file("rsa2048.pkcs1.pem")));
}

#[test]
fn der_in_base64_needs_no_dashes() {
    for name in ["rsa2048.pkcs1.pem", "rsa2048.pkcs8.pem", "p256.sec1.pem", "p384.pkcs8.pem", "ed25519.pkcs8.pem"] {
        let base64 = body(file(name));
        let url_safe = base64.replace('+', "-").replace('/', "_");
        for text in [base64.as_str(), base64.trim_end_matches('='), &url_safe] {
            for format in [None, Some(KeyFormat::Base64)] {
                let key = SigningKey::parse(text, format, None).expect("a key");
                assert_eq!(key.thumbprint(), parse(file(name)).thumbprint(), "{name}");
            }
        }
    }
}

#[test]
fn a_jwk_gives_its_kid_and_its_algorithm() {
    let key = parse(file("p256.jwk.json"));
    assert_eq!(key.kid(), Some("test-p256"));
    let ps512 = file("rsa2048.jwk.json").replacen('{', "{\"alg\": \"PS512\",", 1);
    assert_eq!(parse(&ps512).algorithm(), Algorithm::Ps512);
    assert_eq!(parse_for(&ps512, Algorithm::Ps512).algorithm(), Algorithm::Ps512);
    let ed25519 = file("ed25519.jwk.json").replace("EdDSA", "Ed25519");
    assert_eq!(parse(&ed25519).algorithm(), Algorithm::EdDsa);
}

#[test]
fn numbers_with_leading_zeros_cut_or_added_are_read() {
    // d is 1, therefore the public key is the curve's base point.
    let (x, y) = ("axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU");
    for d in ["AQ", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"] {
        parse(&serde_json::json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "d": d }).to_string());
    }
    let mut rsa = object(serde_json::from_str(file("rsa2048.jwk.json")).expect("JSON"));
    for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        let number = [vec![0], decoded(rsa[name].as_str().expect(name))].concat();
        rsa[name] = URL_SAFE_NO_PAD.encode(number).into();
    }
    same(&parse(&Value::Object(rsa).to_string()), &parse(file("rsa2048.pkcs8.pem")));
}

#[test]
fn an_ed25519_seed_is_read_from_hex_and_base64() {
    let written: Value = serde_json::from_str(file("ed25519.jwk.json")).expect("JSON");
    let seed = written["d"].as_str().expect("d");
    let hex: String = decoded(seed).iter().map(|byte| format!("{byte:02x}")).collect();
    let pem = parse(file("ed25519.pkcs8.pem"));
    for (text, format) in [
        (seed, None),
        (seed, Some(KeyFormat::Base64)),
        (&hex, None),
        (&hex, Some(KeyFormat::Hex)),
        (&hex.to_uppercase(), None),
    ] {
        same(&SigningKey::parse(text, format, Some(Algorithm::EdDsa)).expect("a key"), &pem);
    }
}

#[test]
fn pkcs8_of_version_2_holds_the_public_key_too() {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    assert_eq!(parse(&STANDARD.encode(document.as_ref())).algorithm(), Algorithm::EdDsa);
}

#[test]
fn a_secret_is_taken_as_text_unless_a_format_is_given() {
    let hs256 = |text: &str, format| SigningKey::parse(text, format, Some(Algorithm::Hs256)).expect("a key");
    let mac = |key: &SigningKey| key.sign(b"message").expect("a signature");
    // It looks like hex and like base64, and is neither.
    let text = "00112233445566778899aabbccddeeff";
    assert_eq!(mac(&hs256(text, None)), mac(&hs256(text, Some(KeyFormat::Text))));
    assert_ne!(mac(&hs256(text, None)), mac(&hs256(text, Some(KeyFormat::Hex))));
    assert_ne!(mac(&hs256(text, None)), mac(&hs256(text, Some(KeyFormat::Base64))));

    assert_eq!(mac(&hs256("616263", Some(KeyFormat::Hex))), mac(&hs256("abc", None)));
    assert_eq!(mac(&hs256("YWJj", Some(KeyFormat::Base64))), mac(&hs256("abc", None)));
    assert_eq!(mac(&hs256("++//", Some(KeyFormat::Base64))), mac(&hs256("--__", Some(KeyFormat::Base64))));
    assert_ne!(mac(&hs256(" abc ", None)), mac(&hs256("abc", None)), "every byte counts");
    assert_eq!(hs256("x", None).algorithm(), Algorithm::Hs256, "servers issue short secrets");
    for secret in ["{not JSON", "{}", "{\"a\":1}"] {
        assert_eq!(mac(&hs256(secret, None)), mac(&hs256(secret, Some(KeyFormat::Text))), "{secret}");
    }
    let key = SigningKey::parse("abc", Some(KeyFormat::Text), None).expect("a key");
    assert_eq!(key.algorithm(), Algorithm::Hs256);
}

#[test]
fn a_generated_key_can_be_stored_and_read_again() {
    let (key, stored) = SigningKey::generate_es256().expect("a key");
    assert_eq!(key.algorithm(), Algorithm::Es256);
    same(&key, &parse(stored.expose()));
    same(&key, &SigningKey::parse(stored.expose(), Some(KeyFormat::Base64), Some(Algorithm::Es256)).expect("a key"));
    let (other, _) = SigningKey::generate_es256().expect("a key");
    assert_ne!(key.thumbprint(), other.thumbprint());
}

#[test]
fn debug_prints_nothing_of_the_key() {
    assert_eq!(format!("{:?}", parse(file("p256.jwk.json"))), "SigningKey(…)");
}

#[test]
fn a_key_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<SigningKey>();
}
