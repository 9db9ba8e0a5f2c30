//! To sign out: the server is told (RFC 7009), and everything that is known here is forgotten.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::call;
use crate::error::{Error, ErrorCode, Result};
use crate::private_file;
use crate::profile::Profile;
use crate::provider::{Operation, Place, parameters};
use crate::refresh::Renewal;
use crate::secret::Secret;
use crate::source::{Limit, Source};
use crate::token::Token;

/// The operation of a provider that ends a token.
const REVOKE: &str = "revoke";
/// RFC 7009 2.2.1: the server cannot end tokens of this type.
const UNSUPPORTED_TYPE: &str = "unsupported_token_type";

/// What signing out did. `Debug` shows no token.
#[derive(Clone, Debug)]
pub struct LoggedOut {
    /// What became of the refresh token at the server.
    pub refresh_token: Revocation,
    /// The same of the access token; with its refresh token it ends at most servers anyway (RFC 7009 2.1).
    pub access_token: Revocation,
    /// The profile's file with the refresh token, which is deleted now.
    pub deleted: Option<PathBuf>,
}

/// What became of a token at the server.
#[derive(Clone, Debug)]
pub enum Revocation {
    /// There was none.
    Absent,
    /// It is good for nothing any more.
    Revoked,
    /// The provider declares no operation `revoke`, or the server has none for this token: it lives until its own end.
    Unsupported,
    /// The server was not reached, or refused: the token lives until its own end.
    Failed(Error),
}

/// Tells the server, then forgets everything here, whatever the server said.
pub(crate) async fn logout(source: Arc<Source>) -> Result<LoggedOut> {
    let _turn = source.turn().await;
    if source.profile().signed_in.is_some() {
        let source = source.clone();
        let _ = tokio::task::spawn_blocking(move || source.reread()).await;
    }
    let profile = source.profile();
    let renewal = Renewal::new(&source.core, &profile, None, source.brief().1);
    let (kept_refresh, kept_access) = renewal.tokens().await;
    let signed_in = profile.signed_in.as_ref();
    let given = signed_in.and_then(|signed_in| signed_in.refresh_token.clone());
    let current = source.current().map(|published| Secret::new(published.access_token()));
    let refresh = distinct([given, kept_refresh]);
    let access = distinct([current, kept_access]);
    let all: Vec<Secret> = refresh.iter().chain(&access).cloned().collect();
    // The refresh token first: the others end with it.
    let refresh_token = revoke_all(&source, &profile, &refresh, "refresh_token", &all).await;
    let access_token = revoke_all(&source, &profile, &access, "access_token", &all).await;
    let emptied = renewal.sign_out().await;
    source.forget();
    let mut deleted = None;
    if let Some(file) = signed_in.and_then(|signed_in| signed_in.file.clone()) {
        let removed = {
            let file = file.clone();
            tokio::task::spawn_blocking(move || private_file::remove(&file)).await
        };
        match removed.unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into())) {
            Ok(true) => deleted = Some(file),
            Ok(false) => {}
            Err(error) => {
                let message = format!("signed out, but {} could not be deleted: {}", file.display(), error.kind());
                return Err(Error::new(ErrorCode::Store, message));
            }
        }
        let source = source.clone();
        let _ = tokio::task::spawn_blocking(move || source.reread()).await;
    }
    if let Err(error) = emptied {
        let message = format!("signed out, but the store still holds the tokens: {}", error.message());
        return Err(error.with_message(message));
    }
    tracing::info!(profile = %profile.name, provider = profile.provider.name(), "signed out");
    Ok(LoggedOut { refresh_token, access_token, deleted })
}

fn distinct(tokens: [Option<Secret>; 2]) -> Vec<Secret> {
    let mut tokens: Vec<Secret> = tokens.into_iter().flatten().collect();
    tokens.dedup();
    tokens
}

/// The worst that became of one of them.
async fn revoke_all(
    source: &Arc<Source>,
    profile: &Profile,
    tokens: &[Secret],
    hint: &'static str,
    all: &[Secret],
) -> Revocation {
    let mut outcome = Revocation::Absent;
    for token in tokens {
        match revoke(source, profile, token, hint, all).await {
            Revocation::Failed(error) => return Revocation::Failed(error),
            one => outcome = one,
        }
    }
    outcome
}

async fn revoke(source: &Arc<Source>, profile: &Profile, token: &Secret, hint: &str, all: &[Secret]) -> Revocation {
    let Some(operation) = profile.provider.definition().operations.get(REVOKE) else { return Revocation::Unsupported };
    let takes = |name: &str| parameters(operation).any(|parameter| parameter == name);
    // One that names no token ends that which it carries.
    let fits = takes("token") || hint == "access_token";
    if !fits || !(operation.grants.is_empty() || operation.grants.contains(&profile.grant)) {
        return Revocation::Unsupported;
    }
    // The call must not be what obtains a token.
    let carries = operation.client_auth.is_none();
    let held = source.current().filter(|current| carries && current.valid(&source.core.clock.now()));
    if carries && held.is_none() {
        return Revocation::Absent;
    }
    match has_address(source, profile, operation).await {
        Ok(true) => {}
        Ok(false) => return Revocation::Unsupported,
        Err(error) => return Revocation::Failed(error),
    }
    let values = [("token", token.expose()), ("token_type_hint", hint)];
    let values = values.into_iter().filter(|(name, _)| takes(name));
    let given: Map<String, Value> = values.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let until = Some(Instant::now() + profile.timeout);
    let limit = Limit { until, min_remaining: std::time::Duration::ZERO, blocking: false };
    match call::call(source, REVOKE, &given, held.map(Token::new), limit).await {
        Ok(_) => Revocation::Revoked,
        // The token that the call carries has ended already.
        Err(error) if carries && error.status() == Some(401) => Revocation::Revoked,
        // An empty answer, or a page: RFC 7009 2.2 wants the body ignored.
        Err(error) if error.status().is_some_and(|status| (200..300).contains(&status)) => Revocation::Revoked,
        Err(error) if error.server_error() == Some(UNSUPPORTED_TYPE) => Revocation::Unsupported,
        Err(error) => Revocation::Failed(failed(&error, all).about(&profile.name, profile.provider.name())),
    }
}

/// Whether there is anybody to tell: a server may describe itself without naming a revocation endpoint.
async fn has_address(source: &Source, profile: &Profile, operation: &Operation) -> Result<bool> {
    let Some(url) = &operation.url else { return Ok(true) };
    let deadline = source.core.clock.now().limit(profile.timeout);
    let metadata = source.core.metadata(profile, &deadline).await.map_err(|refusal| refusal.error)?;
    let scope = profile.scope(0, metadata.as_deref());
    Ok(url.render(&scope, Place::Whole)?.is_some())
}

/// The error without what the server wrote in prose: it was sent a token, and may quote it.
fn failed(error: &Error, tokens: &[Secret]) -> Error {
    let code = match (error.server_error(), error.status()) {
        (Some("invalid_client"), _) | (_, Some(401)) => ErrorCode::InvalidClient,
        _ => error.code(),
    };
    let word = error.server_error().filter(|word| !tokens.iter().any(|token| word.contains(token.expose())));
    let why = match error.status() {
        Some(_) => "the server refused to revoke the token",
        None => error.message(),
    };
    let mut told = Error::new(code, format!("the token could not be revoked, and lives until its own end: {why}"));
    if let Some(status) = error.status() {
        told = told.with_status(status);
    }
    told.with_server(word.map(str::to_owned), None).with_retry_after(error.retry_after())
}
