//! One grant on the wire: the server's description where it is needed, the steps before, the request that brings the token.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::clock::{Deadline, Moment};
use crate::discovery::Metadata;
use crate::dpop::{self, DpopKey};
use crate::error::{Error, ErrorCode};
use crate::json;
use crate::metrics::Tally;
use crate::profile::Profile;
use crate::provider::{Bound, Grant, GrantKind, Part, RequestSpec, Scope};
use crate::request;
use crate::response::{self, Asked, Refusal, Verdict};
use crate::runtime::Core;
use crate::secret::Secret;
use crate::token::Issued;
use crate::transport::HttpResponse;

/// What goes into one grant's requests, beside the profile.
pub(crate) struct Exchange<'a> {
    pub(crate) core: &'a Core,
    pub(crate) profile: &'a Profile,
    pub(crate) kind: GrantKind,
    pub(crate) grant: &'a Grant,
    /// Values that this grant alone has: the refresh token, the code and its verifier. Secrets all of them.
    pub(crate) given: Vec<(&'static str, Secret)>,
    /// Binds the token.
    pub(crate) dpop: Option<&'a DpopKey>,
    /// What this source has lent: no server's text repeats it.
    pub(crate) lent: Option<Secret>,
    pub(crate) deadline: Deadline,
    pub(crate) tally: &'a Tally,
}

/// What an exchange gave, and when its last request was sent.
pub(crate) type Exchanged = std::result::Result<(Issued, Moment), Refusal>;

impl Exchange<'_> {
    /// Sends the grant's requests in their order, each once.
    pub(crate) async fn run(&self) -> Exchanged {
        let metadata = self.core.metadata(self.profile, &self.deadline).await?;
        let mut scope = self.scope(metadata.as_deref());
        let mut secrets: Vec<Secret> =
            self.given.iter().map(|(_, secret)| secret.clone()).chain(self.lent.clone()).collect();
        for step in &self.grant.steps {
            let sent = self.send(step.request(), &scope, metadata.as_deref(), &mut secrets).await?;
            for (name, value) in self.read_step(&step.keep, &sent, &secrets)? {
                secrets.push(value.clone());
                scope.set(&name, Bound::Secret(value));
            }
        }
        let last = self.send(self.grant.request(), &scope, metadata.as_deref(), &mut secrets).await;
        let sent = last.map_err(|refusal| self.after_steps(refusal))?;
        let issued = response::read(&self.asked(&secrets, &sent.at), &sent.response).inspect_err(|refusal| {
            // A description that has grown old: the next one is asked for again.
            if let (Some(metadata), Some(404 | 410)) = (&metadata, refusal.error.status()) {
                self.core.descriptions.forget(metadata.issuer());
            }
        });
        Ok((issued.map_err(|refusal| self.after_steps(refusal))?, sent.at))
    }

    /// What a request before has spent is spent, whatever became of the last one.
    fn after_steps(&self, refusal: Refusal) -> Refusal {
        let spends = matches!(self.kind, GrantKind::RefreshToken | GrantKind::AuthorizationCode)
            || self.profile.single_session();
        match refusal.verdict {
            Verdict::NotSent | Verdict::NotApplied if spends && !self.grant.steps.is_empty() => {
                Refusal { verdict: Verdict::Unknown, ..refusal }
            }
            _ => refusal,
        }
    }

    /// One request whose answer is no token but an object of its own (RFC 8628 3.2), and when it was sent.
    pub(crate) async fn ask(
        &self,
        request: RequestSpec<'_>,
    ) -> std::result::Result<(Map<String, Value>, Moment), Refusal> {
        let metadata = self.core.metadata(self.profile, &self.deadline).await?;
        let scope = self.scope(metadata.as_deref());
        let mut secrets = Vec::new();
        let sent = self.send(request, &scope, metadata.as_deref(), &mut secrets).await?;
        let whole = IndexMap::from([("object".to_owned(), Part::Text)]);
        let kept = self.read_step(&whole, &sent, &secrets)?;
        let object = kept.first().and_then(|(_, text)| json::parse(text.expose().as_bytes(), false).ok());
        match object {
            Some(Value::Object(object)) => Ok((object, sent.at)),
            _ => Err(Refusal { error: Error::protocol("the answer is no JSON object"), verdict: Verdict::Unknown }),
        }
    }

    fn scope(&self, metadata: Option<&Metadata>) -> Scope {
        let mut scope = self.profile.scope(self.core.clock.now().unix().as_millis(), metadata);
        for (name, value) in &self.given {
            scope.set(name, Bound::Secret(value.clone()));
        }
        scope
    }

    fn read_step(
        &self,
        keep: &IndexMap<String, Part>,
        sent: &Sent,
        secrets: &[Secret],
    ) -> std::result::Result<Vec<(String, Secret)>, Refusal> {
        response::read_step(&self.asked(secrets, &sent.at), keep, &sent.response)
    }

    fn asked<'b>(&'b self, secrets: &'b [Secret], sent: &Moment) -> Asked<'b> {
        Asked {
            profile: self.profile,
            kind: self.kind,
            answer: self.grant.answer.as_ref().unwrap_or(&self.profile.provider.definition().answer),
            secrets,
            sent_unix: sent.unix(),
            dpop: self.dpop.is_some(),
        }
    }

    /// One request, once more only where the server wants a nonce in its proof: that one it has not applied (RFC 9449 8).
    async fn send(
        &self,
        request: RequestSpec<'_>,
        scope: &Scope,
        metadata: Option<&Metadata>,
        secrets: &mut Vec<Secret>,
    ) -> std::result::Result<Sent, Refusal> {
        let sent = self.send_once(request, scope, metadata, secrets).await?;
        let Some(sent) = self.without_nonce(sent, secrets)? else {
            let again = self.send_once(request, scope, metadata, secrets).await?;
            return self.without_nonce(again, secrets)?.ok_or_else(|| Refusal {
                error: Error::protocol("the server asks for a new DPoP nonce again and again"),
                verdict: Verdict::Noise,
            });
        };
        Ok(sent)
    }

    /// The answer, unless all it says is that the proof needs the nonce that came with it.
    fn without_nonce(&self, sent: Sent, secrets: &[Secret]) -> std::result::Result<Option<Sent>, Refusal> {
        let Some(key) = self.dpop else { return Ok(Some(sent)) };
        let nonce = dpop::nonce(&sent.response.headers);
        self.core.nonces.learn(key, &sent.url, nonce);
        let refused = nonce.is_some() && matches!(sent.response.status, 400 | 401);
        if !refused {
            return Ok(Some(sent));
        }
        let refusal = response::read(&self.asked(secrets, &sent.at), &sent.response);
        let wants = refusal.is_err_and(|refusal| dpop::refusal_wants_nonce(refusal.error.server_error()));
        Ok((!wants).then_some(sent))
    }

    async fn send_once(
        &self,
        request: RequestSpec<'_>,
        scope: &Scope,
        metadata: Option<&Metadata>,
        secrets: &mut Vec<Secret>,
    ) -> std::result::Result<Sent, Refusal> {
        let at = self.core.clock.now();
        // What is signed in it, and for whom, is this one request's.
        let mut scope = Scope { unix_ms: at.unix().as_millis(), ..scope.clone() };
        let mut built = request::build(self.profile, request, &mut scope, metadata).map_err(not_sent)?;
        secrets.append(&mut built.secrets);
        let mut http = built.http;
        let url = http.url.clone();
        if let Some(key) = self.dpop {
            let proof = self.core.nonces.proof(key, http.method.as_str(), &url, at.unix().as_secs(), None);
            let header = proof.and_then(|proof| dpop::header(&proof)).map_err(not_sent)?;
            http.headers.insert(dpop::PROOF, header);
        }
        http.timeout = Some(self.deadline.left(&at));
        let transport = self.core.transport().map_err(not_sent)?;
        self.tally.count_request();
        let response = transport.send(http).await.map_err(|fault| Refusal {
            verdict: if fault.sent { Verdict::Unknown } else { Verdict::NotSent },
            error: Error::new(fault.code, fault.message),
        })?;
        self.core.notice_clock((self.profile, self.tally), &response.headers, &at);
        Ok(Sent { response, url, at })
    }
}

struct Sent {
    response: HttpResponse,
    url: url::Url,
    at: Moment,
}

/// A fault on our side of the wire.
fn not_sent(error: Error) -> Refusal {
    Refusal { error, verdict: Verdict::NotSent }
}

impl Core {
    /// The server's description, if the profile has variables that only it can give, or wants to know what it takes.
    pub(crate) async fn metadata(
        &self,
        profile: &Profile,
        deadline: &Deadline,
    ) -> std::result::Result<Option<Arc<Metadata>>, Refusal> {
        let Some(issuer) = profile.issuer() else { return Ok(None) };
        let transport = self.transport().map_err(not_sent)?;
        let found = self.descriptions.of(&issuer, profile.identity.as_ref(), transport, &self.clock, deadline).await;
        found.map(Some)
    }
}

/// What a person has to do before there is a token.
pub(crate) fn sign_in_needed(profile: &Profile) -> Error {
    Error::new(
        ErrorCode::ReauthenticationRequired,
        format!("a person has to sign in first: qauth login {}", profile.name),
    )
}
