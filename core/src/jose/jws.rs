//! The compact form of a signature (RFC 7515 7.1): header, payload and signature with dots between.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::key::SigningKey;
use crate::error::Result;

/// Signs `claims`. The header is `alg` first, which only the key decides, then the members of `header` as they come.
pub(crate) fn compact(key: &SigningKey, mut header: Map<String, Value>, claims: &Map<String, Value>) -> Result<String> {
    header.shift_remove("alg");
    header.shift_insert(0, "alg".to_owned(), key.algorithm().name().into());

    let mut token = String::new();
    URL_SAFE_NO_PAD.encode_string(json(&header), &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(json(claims), &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn json(object: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(object).expect("an object whose keys are text is always JSON")
}
