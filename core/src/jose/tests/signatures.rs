//! Signatures against the printed ones of the RFCs, and against ring's own verification.

use serde_json::json;

use super::*;
use crate::jose::{compact, x5t_s256};

const A1_CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn signature(key: &SigningKey, message: &str) -> String {
    URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).expect("a signature"))
}

#[test]
fn hs256_signs_as_printed_in_rfc_7515_a_1() {
    let k = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let key = parse(&json!({ "kty": "oct", "k": k }).to_string());
    assert_eq!(key.algorithm(), Algorithm::Hs256);
    let message = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{A1_CLAIMS}");
    assert_eq!(signature(&key, &message), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

#[test]
fn rs256_signs_as_printed_in_rfc_7515_a_2() {
    let key = parse(file("rfc7515-a2.jwk.json"));
    assert_eq!(key.algorithm(), Algorithm::Rs256);
    assert_eq!(
        signature(&key, &format!("eyJhbGciOiJSUzI1NiJ9.{A1_CLAIMS}")),
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CU\
         Ar7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_d\
         O--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0ig\
         cN_IoypGlUPQGe77Rw"
    );
}

#[test]
fn es256_signs_with_the_key_of_rfc_7515_a_3_what_its_public_key_verifies() {
    let key = parse(
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#,
    );
    let public = key.public_jwk().expect("public");
    let message = format!("eyJhbGciOiJFUzI1NiJ9.{A1_CLAIMS}");
    let printed = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(verifies(Algorithm::Es256, public, message.as_bytes(), &decoded(printed)));
    let ours = key.sign(message.as_bytes()).expect("a signature");
    assert_eq!(ours.len(), 64);
    assert!(verifies(Algorithm::Es256, public, message.as_bytes(), &ours));
    assert!(!verifies(Algorithm::Es256, public, b"another message", &ours));
}

#[test]
fn eddsa_signs_as_printed_in_rfc_8037_a_4() {
    let d = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let key = parse(&json!({ "kty": "OKP", "crv": "Ed25519", "d": d, "x": x }).to_string());
    assert_eq!(
        signature(&key, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
    assert_eq!(key.thumbprint().as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"), "RFC 8037 A.3");
}

#[test]
fn every_public_key_algorithm_makes_tokens_that_verify() {
    let header = object(json!({ "typ": "JWT", "kid": "k1" }));
    let claims = object(json!({ "iss": "client", "exp": 1_300_819_380, "note": "naïve \"✓\"" }));
    for (name, algorithms) in [
        ("rsa2048.pkcs8.pem", "RS256 RS384 RS512 PS256 PS384 PS512"),
        ("p256.pkcs8.pem", "ES256"),
        ("p384.pkcs8.pem", "ES384"),
        ("ed25519.pkcs8.pem", "EdDSA"),
    ] {
        for algorithm in algorithms.split(' ') {
            let key = parse_for(file(name), Algorithm::from_name(algorithm).expect("known"));
            let token = compact(&key, header.clone(), &claims).expect("a token");
            let (said, payload) = verified(&token, key.public_jwk().expect("public"));
            assert_eq!(said.to_string(), format!(r#"{{"alg":"{algorithm}","typ":"JWT","kid":"k1"}}"#));
            assert_eq!(payload, Value::Object(claims.clone()));
        }
    }
}

#[test]
fn every_hs_algorithm_makes_the_hmac_of_header_and_claims() {
    use ring::hmac;
    for (algorithm, hmac) in [
        (Algorithm::Hs256, hmac::HMAC_SHA256),
        (Algorithm::Hs384, hmac::HMAC_SHA384),
        (Algorithm::Hs512, hmac::HMAC_SHA512),
    ] {
        let key = parse_for("a client secret", algorithm);
        let token = compact(&key, Map::new(), &object(json!({ "a": 1 }))).expect("a token");
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let secret = hmac::Key::new(hmac, b"a client secret");
        assert!(hmac::verify(&secret, message.as_bytes(), &decoded(signature)).is_ok());
        assert_eq!(
            message,
            format!("{}.eyJhIjoxfQ", URL_SAFE_NO_PAD.encode(json!({"alg": algorithm.name()}).to_string()))
        );
    }
}

#[test]
fn only_the_key_decides_the_alg_of_a_header() {
    let key = parse_for("secret", Algorithm::Hs256);
    let token = compact(&key, object(json!({ "typ": "JWT", "alg": "none" })), &Map::new()).expect("a token");
    assert_eq!(decoded(token.split('.').next().expect("header")), br#"{"alg":"HS256","typ":"JWT"}"#);
}

#[test]
fn thumbprints_are_those_of_rfc_7638_and_rfc_9449() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF\
             V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9\
             c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1\
             jF44-csFCur-kEgU8awapJzKnqDKgw";
    let rfc_7638 = json!({ "e": "AQAB", "kty": "RSA", "n": n });
    assert_eq!(crate::jose::jwk::thumbprint(&rfc_7638), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let rfc_9449 = json!({
        "crv": "P-256",
        "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    });
    assert_eq!(crate::jose::jwk::thumbprint(&rfc_9449), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

#[test]
fn a_public_jwk_has_the_required_members_in_their_order_and_nothing_private() {
    for (name, members) in [
        ("rsa2048.jwk.json", "e kty n"),
        ("p256.jwk.json", "crv kty x y"),
        ("p384.jwk.json", "crv kty x y"),
        ("ed25519.jwk.json", "crv kty x"),
    ] {
        let key = parse(file(name));
        let public = object(key.public_jwk().expect("public").clone());
        assert_eq!(public.keys().map(String::as_str).collect::<Vec<_>>().join(" "), members);
        let written: Value = serde_json::from_str(file(name)).expect("JSON");
        for (member, value) in public {
            assert_eq!(written[&member], value, "{name}: {member}");
        }
    }
    let secret = parse_for("secret", Algorithm::Hs256);
    assert_eq!((secret.public_jwk(), secret.thumbprint()), (None, None));
}

#[test]
fn x5t_s256_is_the_hash_of_the_first_certificate() {
    let expected = Ok("Lju5AZ7G_t8ZMjbQARUWM6b_hHPn_7d2OzTsgIEasQQ".to_owned());
    assert_eq!(x5t_s256(file("p256-certificate.pem")), expected);
    assert_eq!(x5t_s256(file("p256.with-certificate.pem")), expected);
    assert_eq!(x5t_s256(&file("p256-certificate.pem").replace('\n', "\\n")), expected);

    let none = Err("holds no certificate in PEM form".to_owned());
    assert_eq!(x5t_s256(file("p256.pkcs8.pem")), none);
    assert_eq!(x5t_s256(""), none);
    let broken = file("p256-certificate.pem").replacen("MII", "M!I", 1);
    let broken = broken.replacen("-----\nM", "-----\n!", 1);
    assert_eq!(x5t_s256(&broken), Err("holds a damaged certificate".to_owned()));
}
