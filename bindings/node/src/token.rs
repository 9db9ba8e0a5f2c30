//! Tokens as JavaScript gets them.

use std::time::UNIX_EPOCH;

use napi::Result;
use napi::bindgen_prelude::External;
use napi_derive::napi;
use qauth_core::Token;
use serde_json::Value;

use crate::convert::infallible;

/// What `lib/token.js` makes a `Token` of.
#[napi(object, object_from_js = false, use_nullable = true)]
pub(crate) struct TokenParts {
    /// For `sourceInvalidate` and `tokenExpiresIn`.
    pub handle: External<Token>,
    /// The access token itself.
    pub access_token: String,
    /// The type as the server spelled it.
    pub token_type: String,
    /// Milliseconds since 1970.
    pub expires_at: Option<f64>,
    /// What the server granted.
    pub scope: Option<String>,
    /// A JSON object.
    pub extras: String,
    /// Exact in a double.
    pub generation: f64,
    /// `Bearer eyJ…`
    pub header_value: String,
}

impl From<Token> for TokenParts {
    fn from(token: Token) -> TokenParts {
        let expires_at = token.expires_at().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        TokenParts {
            access_token: token.access_token().to_owned(),
            token_type: token.token_type().to_owned(),
            expires_at: expires_at.map(|at| at.as_millis() as f64),
            scope: token.scope().map(str::to_owned),
            extras: Value::Object(token.extras().clone()).to_string(),
            generation: token.generation() as f64,
            header_value: token.header_value().to_owned(),
            handle: External::new(token),
        }
    }
}

/// Seconds until its end.
#[napi]
pub(crate) fn token_expires_in(token: &External<Token>) -> Result<Option<f64>> {
    infallible(|| token.expires_in().map(|left| left.as_secs_f64()))
}
