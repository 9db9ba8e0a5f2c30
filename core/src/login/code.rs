//! A person signs in in a browser, which brings back a code (RFC 6749 4.1) that only we can redeem (RFC 7636).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use url::{Url, form_urlencoded};

use super::{Inner, LoggedIn, Way};
use crate::error::{Error, ErrorCode, Result};
use crate::profile::Profile;
use crate::random::random_hex;
use crate::request;
use crate::response::Verdict;
use crate::runtime::Core;
use crate::secret::Secret;
use crate::signing;
use crate::url_rules;

/// Attempts while nothing has reached the server.
const ATTEMPTS: u32 = 4;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);
const MAX_WORD: usize = 64;
const MAX_DESCRIPTION: usize = 256;

pub(super) struct Code {
    pub(super) url: String,
    redirect_uri: String,
    state: Secret,
    verifier: Secret,
    /// Whose answer it must be (RFC 9207).
    issuer: Option<String>,
    /// The server always says whose it is.
    names_issuer: bool,
}

/// The address for the browser.
pub(super) async fn begin(core: &Core, profile: &Profile, redirect_uri: Option<&str>) -> Result<Code> {
    let redirect_uri = redirect_uri.ok_or_else(|| {
        Error::invalid_argument("redirect_uri: is missing: where the browser is sent after the sign-in")
    })?;
    check_redirect(redirect_uri).map_err(|why| Error::invalid_argument(format!("redirect_uri: {why}")))?;
    let authorize = profile.grant_definition().authorize.as_ref().expect("a checked grant of this kind has the page");
    let now = core.clock.now();
    let metadata = core.metadata(profile, &now.limit(profile.timeout)).await.map_err(|refusal| refusal.error)?;
    let mut scope = profile.scope(now.unix().as_millis(), metadata.as_deref());
    let mut url = request::whole_url(&authorize.url, &scope)?;
    request::name_audience(&mut scope, &url);
    signing::sign(profile, authorize.query.values(), &mut scope)?;
    let client_id = profile.value("client_id").ok_or_else(|| Error::config("client_id: is missing"))?;
    // 256 bits each; hex is within the verifier's alphabet and length (RFC 7636 4.1).
    let (state, verifier) = (random_hex(32), random_hex(32));
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    let declared = request::render_all(&authorize.query, &scope)?;
    // RFC 9449 10: the code is good for the holder of our key alone.
    let key = profile.dpop_key.as_ref().filter(|_| profile.dpop).map(|key| ("dpop_jkt", key.thumbprint()));
    url.query_pairs_mut()
        .extend_pairs([
            ("response_type", "code"),
            ("client_id", client_id.expose()),
            ("redirect_uri", redirect_uri),
            ("state", state.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ])
        .extend_pairs(key)
        .extend_pairs(&declared);
    Ok(Code {
        url: url.into(),
        redirect_uri: redirect_uri.to_owned(),
        state: Secret::new(state),
        verifier: Secret::new(verifier),
        names_issuer: metadata
            .as_ref()
            .is_some_and(|metadata| metadata.says("authorization_response_iss_parameter_supported")),
        issuer: metadata.map(|metadata| metadata.issuer().to_owned()),
    })
}

/// RFC 8252 7: this machine's loopback, an app's own scheme, or https.
fn check_redirect(text: &str) -> std::result::Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => url_rules::parse(text).map(drop),
        _ if url.fragment().is_some() => Err("must not have a fragment (#)".into()),
        // RFC 8252 7.1: an app's own scheme is a domain name in reverse.
        scheme if scheme.contains('.') => Ok(()),
        _ => Err("must begin with http://127.0.0.1, https:// or an app's own scheme such as com.example.app:/".into()),
    }
}

/// Judges what the browser brought, and redeems the code.
pub(super) async fn complete(login: Arc<Inner>, redirected: String) -> Result<LoggedIn> {
    let redirected = Secret::new(redirected);
    let Way::Code(code) = &login.way else {
        let message = "this sign-in ends by itself, once the person has entered the code: call finish";
        return Err(Error::new(ErrorCode::Unsupported, message));
    };
    let answer = Answer::parse(redirected.expose());
    // Before all else: who does not know the state learns nothing, and ends nothing.
    if answer.one("state").ok().flatten() != Some(code.state.expose()) {
        return Err(Error::invalid_argument(
            "state: this redirect is not the answer to this sign-in; it goes on waiting",
        ));
    }
    let _alone = login.pace.lock().await;
    if let Some(outcome) = login.outcome.get() {
        return outcome.clone();
    }
    let outcome = match judge(&login, code, &answer) {
        Ok(granted) => redeem(&login, code, granted).await,
        Err(error) => Err(error),
    };
    login.end(outcome)
}

/// The parameters of a redirect.
struct Answer(Vec<(String, Secret)>);

impl Answer {
    /// Of a whole URL, or of a query.
    fn parse(redirected: &str) -> Answer {
        let redirected = redirected.trim();
        let without_fragment = redirected.split_once('#').map_or(redirected, |(before, _)| before);
        let query = without_fragment.split_once('?').map_or(without_fragment, |(_, query)| query);
        let pairs = form_urlencoded::parse(query.as_bytes());
        Answer(pairs.map(|(name, value)| (name.into_owned(), Secret::new(value))).collect())
    }

    /// A parameter, which may stand there once (RFC 6749 3.1); an empty one is none.
    fn one(&self, wanted: &str) -> Result<Option<&str>> {
        let mut values = self.0.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.expose());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Error::protocol(format!("the redirect has {wanted} more than once"))),
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
        }
    }
}

/// The code, if the server granted one and it is for us.
fn judge(login: &Inner, code: &Code, answer: &Answer) -> Result<Secret> {
    match (answer.one("iss")?, &code.issuer) {
        // RFC 9207 2.4: another server's code must not be sent to this one.
        (Some(named), Some(issuer)) if named != issuer => {
            return Err(Error::protocol("the redirect comes from another server (iss) than the one that was asked"));
        }
        (None, Some(_)) if code.names_issuer => {
            return Err(Error::protocol(
                "the redirect does not say which server it comes from (iss), as this one always does",
            ));
        }
        _ => {}
    }
    if let Some(word) = answer.one("error")? {
        return Err(refused(login, code, word, answer)?);
    }
    let granted = answer.one("code")?.ok_or_else(|| Error::protocol("the redirect has neither code nor error"))?;
    Ok(Secret::new(granted))
}

/// RFC 6749 4.1.2.1.
fn refused(login: &Inner, code: &Code, word: &str, answer: &Answer) -> Result<Error> {
    let mut mask = login.profile.mask();
    for secret in [Some(code.state.expose()), Some(code.verifier.expose()), answer.one("code")?].into_iter().flatten() {
        mask.add(secret);
    }
    let is_token = word.len() <= MAX_WORD && word.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    let description = answer.one("error_description")?.map(|text| mask.clean(text, MAX_DESCRIPTION));
    let error = match word {
        "access_denied" => Error::new(ErrorCode::AccessDenied, "the sign-in was refused"),
        _ => Error::new(
            ErrorCode::ReauthenticationRequired,
            "the server ended the sign-in without a code: correct what it complains of and begin again",
        ),
    };
    Ok(error.with_server(is_token.then(|| mask.clean(word, MAX_WORD)), description))
}

/// A code is good once: it is sent again only where it surely was not sent.
async fn redeem(login: &Inner, code: &Code, granted: Secret) -> Result<LoggedIn> {
    let core = login.core();
    let deadline = core.clock.now().limit(login.profile.timeout);
    let _critical = core.running()?.critical();
    let given = vec![
        ("code", granted),
        ("redirect_uri", Secret::new(code.redirect_uri.as_str())),
        ("code_verifier", code.verifier.clone()),
    ];
    let mut attempt = 1;
    loop {
        let refusal = match login.exchange(given.clone(), deadline).await {
            Ok((issued, sent)) => return login.take_over(&issued, sent).await,
            Err(refusal) => refusal,
        };
        let again = refusal.verdict == Verdict::NotSent && refusal.error.retryable() && attempt < ATTEMPTS;
        if !again || deadline.left(&core.clock.now()) <= PAUSE * attempt {
            return Err(refusal.error);
        }
        core.clock.sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_read_from_a_whole_url_or_its_query() {
        for text in [
            "http://127.0.0.1:1/callback?code=a%2Bb&state=s#_=_",
            "?code=a%2Bb&state=s",
            "code=a%2Bb&state=s",
            " code=a%2Bb&state=s\n",
        ] {
            let answer = Answer::parse(text);
            assert_eq!((answer.one("code").unwrap(), answer.one("state").unwrap()), (Some("a+b"), Some("s")), "{text}");
        }
        assert!(Answer::parse("code=a&code=a").one("code").is_err());
        assert_eq!(Answer::parse("code=&x=1").one("code").unwrap(), None);
    }

    #[test]
    fn a_code_is_brought_to_this_machine_to_https_or_to_an_app() {
        for fine in
            ["http://127.0.0.1:4711/callback", "http://localhost/x", "https://app.example/cb", "com.example.app:/cb"]
        {
            assert!(check_redirect(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "http://example.com/cb",
            "callback",
            "javascript:alert(1)",
            "https://app.example/#x",
            "com.example.app:/#x",
        ] {
            assert!(check_redirect(wrong).is_err(), "{wrong}");
        }
    }
}
