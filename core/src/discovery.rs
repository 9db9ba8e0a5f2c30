//! What a server says of itself: RFC 8414 and OpenID Connect Discovery, fetched once, checked, kept for a while.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use crate::clock::{Clock, Deadline};
use crate::error::{Error, ErrorCode};
use crate::forkmap::ForkMap;
use crate::json;
use crate::response::{Refusal, Verdict};
use crate::transport::{HttpRequest, HttpResponse, Identity, Transport};
use crate::url_rules;

/// Larger documents are refused; the largest real ones have 20 kB.
const MAX_DOCUMENT: usize = 256 * 1024;
/// Kept this long, unless `Cache-Control` says otherwise, within these bounds.
const DEFAULT_AGE: Duration = Duration::from_secs(3600);
const MIN_AGE: Duration = Duration::from_secs(60);
const MAX_AGE: Duration = Duration::from_secs(86_400);
/// How long a server may take while its old description would do.
const PATIENCE: Duration = Duration::from_secs(5);
/// An engine speaks to a handful of servers; beyond that descriptions are forgotten.
const MAX_DESCRIPTIONS: usize = 1024;

/// A server's description, whose issuer is the one that was asked for.
#[derive(Clone)]
pub(crate) struct Metadata {
    issuer: String,
    document: Value,
    until: Deadline,
}

/// The descriptions that this engine has read, by issuer.
#[derive(Default)]
pub(crate) struct Descriptions(ForkMap<String, Arc<Metadata>>);

impl Metadata {
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// An address or other text; for connections with a client certificate the alias, where there is one (RFC 8705 5).
    pub(crate) fn endpoint(&self, member: &str, mtls: bool) -> Option<&str> {
        let alias = self.document.get("mtls_endpoint_aliases").filter(|_| mtls).and_then(|all| all.get(member));
        alias.or_else(|| self.document.get(member))?.as_str()
    }

    /// A statement about itself; what it does not say is not so.
    pub(crate) fn says(&self, member: &str) -> bool {
        self.document.get(member).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A list of words.
    pub(crate) fn list(&self, member: &str) -> Option<Vec<&str>> {
        Some(self.document.get(member)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }
}

impl Descriptions {
    /// The description of this issuer: kept, or fetched. While a fetch fails an old one still serves.
    pub(crate) async fn of(
        &self,
        issuer: &str,
        identity: Option<&Arc<Identity>>,
        transport: &Transport,
        clock: &Clock,
        deadline: &Deadline,
    ) -> Result<Arc<Metadata>, Refusal> {
        let kept = self.0.get(issuer);
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.until.passed(&clock.now())) {
            return Ok(kept.clone());
        }
        let Some(kept) = kept else {
            return fetch(issuer, identity, transport, clock, deadline).await.map(|metadata| self.keep(metadata));
        };
        let now = clock.now();
        let patience = now.after(PATIENCE.min(deadline.left(&now) / 4));
        Ok(match fetch(issuer, identity, transport, clock, &patience).await {
            Ok(metadata) => self.keep(metadata),
            // Not asked for again at once: each renewal would wait for it.
            Err(_) => self.keep(Metadata { until: clock.now().after(MIN_AGE), ..Metadata::clone(&kept) }),
        })
    }

    fn keep(&self, metadata: Metadata) -> Arc<Metadata> {
        let metadata = Arc::new(metadata);
        if self.0.len() >= MAX_DESCRIPTIONS {
            self.0.clear();
        }
        self.0.insert(&metadata.issuer, metadata.clone());
        metadata
    }

    /// The next request reads it again: an endpoint that it names is not there.
    pub(crate) fn forget(&self, issuer: &str) {
        self.0.remove(issuer);
    }
}

/// Whether this can be an issuer: https without query or fragment (RFC 8414 2).
pub(crate) fn check_issuer(issuer: &str) -> Result<(), String> {
    let url = url_rules::parse(issuer)?;
    match url.query() {
        Some(_) => Err("must not have a query".into()),
        None => Ok(()),
    }
}

/// OpenID Connect appends the well-known path, RFC 8414 puts it before the issuer's own: most servers have the first.
fn places(issuer: &str) -> Vec<String> {
    let issuer = issuer.trim_end_matches('/');
    let openid = format!("{issuer}/.well-known/openid-configuration");
    let Ok(url) = Url::parse(issuer) else { return vec![openid] };
    let origin = url.origin().ascii_serialization();
    let path = url.path().trim_end_matches('/');
    vec![openid, format!("{origin}/.well-known/oauth-authorization-server{path}")]
}

async fn fetch(
    issuer: &str,
    identity: Option<&Arc<Identity>>,
    transport: &Transport,
    clock: &Clock,
    deadline: &Deadline,
) -> Result<Metadata, Refusal> {
    let mut last = None;
    for place in places(issuer) {
        let url = url_rules::parse(&place).map_err(|why| not_sent(ErrorCode::Config, format!("issuer: {why}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let request = HttpRequest {
            method: reqwest::Method::GET,
            url,
            headers,
            body: None,
            timeout: Some(deadline.left(&clock.now())),
            max_body: MAX_DOCUMENT,
            identity: identity.cloned(),
        };
        // A description has no effect, so it counts as nothing sent: it is asked for again like that.
        let response = transport.send(request).await.map_err(|fault| {
            not_sent(fault.code, format!("the server's description (issuer) could not be read: {}", fault.message))
        })?;
        match response.status {
            200 => return read(issuer, &response, clock),
            404 | 400 | 401 | 403 | 405 | 410 => last = Some(response.status),
            status => return Err(unusable(status)),
        }
    }
    Err(unusable(last.unwrap_or(404)))
}

fn unusable(status: u16) -> Refusal {
    let (code, why) = match status {
        300..400 => (ErrorCode::Protocol, "redirects, which is never followed; correct issuer"),
        500.. => (ErrorCode::ServerError, "the server failed"),
        429 => (ErrorCode::RateLimited, "the server asks for fewer requests"),
        _ => (ErrorCode::Config, "there is none at this issuer: correct it, or give the endpoints themselves"),
    };
    let mut refusal = not_sent(code, format!("the server's description (issuer): {why}"));
    refusal.error = refusal.error.with_status(status);
    if matches!(code, ErrorCode::Config | ErrorCode::Protocol) {
        refusal.verdict = Verdict::Noise;
    }
    refusal
}

fn not_sent(code: ErrorCode, message: String) -> Refusal {
    Refusal { error: Error::new(code, message), verdict: Verdict::NotSent }
}

fn read(issuer: &str, response: &HttpResponse, clock: &Clock) -> Result<Metadata, Refusal> {
    let wrong = |code, why: &str| Refusal {
        error: Error::new(code, format!("the server's description (issuer): {why}")),
        verdict: Verdict::Noise,
    };
    let document = json::parse(&response.body, false)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| wrong(ErrorCode::Protocol, "is no JSON object"))?;
    // RFC 8414 3.3: exactly the same text, or anybody could speak for the server.
    match document.get("issuer").and_then(Value::as_str) {
        Some(named) if named == issuer => {}
        Some(named) if named.trim_end_matches('/') == issuer.trim_end_matches('/') => {
            let slash = if named.ends_with('/') { "with" } else { "without" };
            return Err(wrong(
                ErrorCode::Config,
                &format!("the server writes its issuer {slash} a slash at the end; do so too"),
            ));
        }
        Some(_) => return Err(wrong(ErrorCode::Config, "it is another issuer's: correct issuer")),
        None => return Err(wrong(ErrorCode::Protocol, "it names no issuer")),
    }
    let aliases = document.get("mtls_endpoint_aliases").and_then(Value::as_object);
    for (member, value) in document.as_object().into_iter().flatten().chain(aliases.into_iter().flatten()) {
        let endpoint = member.ends_with("_endpoint").then(|| value.as_str()).flatten();
        if let Some(why) = endpoint.and_then(|url| url_rules::parse(url).err()) {
            let member: String = member.chars().filter(char::is_ascii_graphic).take(64).collect();
            return Err(wrong(ErrorCode::Protocol, &format!("its {member} {why}")));
        }
    }
    let age = max_age(response).unwrap_or(DEFAULT_AGE).clamp(MIN_AGE, MAX_AGE);
    Ok(Metadata { issuer: issuer.to_owned(), document, until: clock.now().after(age) })
}

fn max_age(response: &HttpResponse) -> Option<Duration> {
    let directives = response.headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = directives.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example/realms/a";

    fn answer(body: &str) -> HttpResponse {
        HttpResponse { status: 200, headers: HeaderMap::new(), body: body.as_bytes().to_vec() }
    }

    fn refused(body: &str) -> Error {
        read(ISSUER, &answer(body), &Clock::manual()).err().expect("a refusal").error
    }

    #[test]
    fn a_description_is_looked_for_where_both_standards_put_it() {
        assert_eq!(
            places("https://id.example/realms/a/"),
            [
                "https://id.example/realms/a/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server/realms/a"
            ]
        );
        assert_eq!(places("https://id.example")[1], "https://id.example/.well-known/oauth-authorization-server");
    }

    #[test]
    fn only_the_issuers_own_description_is_believed() {
        let good = format!(r#"{{"issuer": "{ISSUER}", "token_endpoint": "https://id.example/token"}}"#);
        let metadata =
            read(ISSUER, &answer(&good), &Clock::manual()).unwrap_or_else(|refusal| panic!("{:?}", refusal.error));
        assert_eq!(metadata.endpoint("token_endpoint", false), Some("https://id.example/token"));
        let slash = refused(&format!(r#"{{"issuer": "{ISSUER}/"}}"#));
        assert!(slash.code() == ErrorCode::Config && slash.message().contains("with a slash"), "{slash}");
        let other = refused(r#"{"issuer": "https://canary.example"}"#);
        assert!(other.code() == ErrorCode::Config && !other.to_string().contains("canary"), "{other}");
        for body in ["", "[]", "<html>", "{}", r#"{"issuer": 7}"#] {
            assert_eq!(refused(body).code(), ErrorCode::Protocol, "{body}");
        }
    }

    #[test]
    fn an_endpoint_that_a_credential_must_not_be_sent_to_spoils_the_description() {
        // fault 4
        for url in
            ["http://id.example/t", "https://u:p@id.example/t", "ftp://id.example", "/token", "https://id.example/#a"]
        {
            let body = format!(r#"{{"issuer": "{ISSUER}", "token_endpoint": "{url}"}}"#);
            assert!(refused(&body).message().contains("token_endpoint"), "{url}");
            let body = format!(r#"{{"issuer": "{ISSUER}", "mtls_endpoint_aliases": {{"token_endpoint": "{url}"}}}}"#);
            assert!(refused(&body).message().contains("token_endpoint"), "{url}");
        }
    }

    #[test]
    fn a_connection_with_a_certificate_has_addresses_of_its_own() {
        // RFC 8705 5
        let body = format!(
            r#"{{"issuer": "{ISSUER}", "token_endpoint": "https://a.example/t", "revocation_endpoint": "https://a.example/r",
                "mtls_endpoint_aliases": {{"token_endpoint": "https://b.example/t"}}}}"#
        );
        let metadata =
            read(ISSUER, &answer(&body), &Clock::manual()).unwrap_or_else(|refusal| panic!("{:?}", refusal.error));
        assert_eq!(metadata.endpoint("token_endpoint", true), Some("https://b.example/t"));
        assert_eq!(metadata.endpoint("revocation_endpoint", true), Some("https://a.example/r"));
    }

    #[test]
    fn how_long_a_description_is_kept_is_bounded() {
        let clock = Clock::manual();
        let body = format!(r#"{{"issuer": "{ISSUER}"}}"#);
        for (said, kept) in [(None, 3600), (Some("max-age=5"), 60), (Some("public, max-age=99999999"), 86_400)] {
            let mut response = answer(&body);
            said.map(|said| response.headers.insert(CACHE_CONTROL, HeaderValue::from_static(said)));
            let metadata = read(ISSUER, &response, &clock).unwrap_or_else(|refusal| panic!("{:?}", refusal.error));
            assert_eq!(metadata.until.left(&clock.now()), Duration::from_secs(kept), "{said:?}");
        }
    }
}
