//! A person signs in on another device, while this one asks now and then whether it is done (RFC 8628).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Inner, LoggedIn, Way, exchange};
use crate::clock::{Deadline, Moment};
use crate::error::{Error, ErrorCode, Result};
use crate::profile::Profile;
use crate::secret::Secret;
use crate::source::Source;
use crate::url_rules;

/// RFC 8628 3.2: where the server names no interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// A server that says 0 gets no storm.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(300);
/// RFC 8628 3.5: what `slow_down` adds.
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// Where the server names no end, and at most.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
const MAX_USER_CODE: usize = 64;

pub(super) struct Device {
    device_code: Secret,
    pub(super) user_code: String,
    pub(super) verification_uri: String,
    pub(super) verification_uri_complete: Option<String>,
    pub(super) end: Deadline,
}

/// When the server may be asked again.
#[derive(Default)]
pub(super) struct Pace {
    interval: Duration,
    next: Option<Deadline>,
    /// Requests in a row that met no answer.
    troubles: u32,
}

/// What one request said.
enum Answer {
    Ended(Result<LoggedIn>),
    Pending,
    SlowDown,
    /// No word of the server; come back no earlier than this.
    Trouble(Option<Duration>),
}

pub(super) async fn begin(source: &Source, profile: &Profile) -> Result<(Device, Pace)> {
    let core = &source.core;
    let step = profile.grant_definition().device.as_ref().expect("a checked grant of this kind has the request");
    let deadline = core.clock.now().limit(profile.timeout);
    let mut asking = exchange(core, (profile, source.tally()), Vec::new(), deadline);
    // Nothing is bound to a key yet (RFC 9449 5).
    asking.dpop = None;
    let (object, sent) = asking.ask(step.request()).await.map_err(|refusal| refusal.error)?;
    read(&object, sent).map_err(|why| Error::protocol(format!("the answer to the device request {why}")))
}

/// RFC 8628 3.2.
fn read(object: &Map<String, Value>, sent: Moment) -> std::result::Result<(Device, Pace), String> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let device_code = text("device_code").ok_or("has no device_code")?;
    let printable = |code: &&str| code.len() <= MAX_USER_CODE && code.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let user_code = text("user_code").ok_or("has no user_code")?;
    let user_code = Some(user_code).filter(printable).ok_or("has a user_code that nobody can type")?;
    // Google's word is verification_url.
    let uri = text("verification_uri").or_else(|| text("verification_url")).ok_or("has no verification_uri")?;
    let complete = text("verification_uri_complete").or_else(|| text("verification_url_complete"));
    let life = seconds(object.get("expires_in")).filter(|life| !life.is_zero()).unwrap_or(DEFAULT_LIFE);
    let interval = seconds(object.get("interval")).unwrap_or(DEFAULT_INTERVAL);
    let interval = interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
    let device = Device {
        device_code: Secret::new(device_code),
        user_code: user_code.to_owned(),
        verification_uri: page(uri).map_err(|why| format!("has a verification_uri that {why}"))?,
        verification_uri_complete: complete.and_then(|uri| page(uri).ok()),
        end: sent.after(life.min(LONGEST_LIFE)),
    };
    Ok((device, Pace { interval, next: Some(sent.after(interval)), troubles: 0 }))
}

/// A page on which a person will sign in: https, or this machine.
fn page(uri: &str) -> std::result::Result<String, String> {
    let (address, fragment) = uri.split_once('#').unwrap_or((uri, ""));
    url_rules::parse(address)?;
    match uri.bytes().all(|byte| byte.is_ascii_graphic()) && !fragment.contains('#') {
        true => Ok(uri.to_owned()),
        false => Err("holds spaces or control characters".to_owned()),
    }
}

/// A number, or one written as text.
fn seconds(value: Option<&Value>) -> Option<Duration> {
    let number = match value? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64(number).ok()
}

/// Asks until the person has signed in or refused, or the code has expired.
pub(super) async fn finish(login: Arc<Inner>) -> Result<LoggedIn> {
    let Way::Device(device) = &login.way else {
        let message = "this sign-in ends with a redirect of the browser: give it to complete";
        return Err(Error::new(ErrorCode::Unsupported, message));
    };
    let clock = &login.core().clock;
    let mut pace = login.pace.lock().await;
    loop {
        if let Some(outcome) = login.outcome.get() {
            return outcome.clone();
        }
        let now = clock.now();
        let pause = pace.next.map(|next| next.left(&now)).unwrap_or_default();
        // No answer before its end could still be a token.
        if pause >= device.end.left(&now) {
            return login.end(Err(expired()));
        }
        clock.sleep(pause).await;
        // Whoever gives up during the request comes back no earlier either.
        pace.next = Some(clock.now().after(pace.interval));
        let asking = login.clone();
        let answer = login.core().to_the_end(async move { Ok(ask(&asking).await) }).await?;
        pace.learn(&answer, &clock.now());
        if let Answer::Ended(outcome) = answer {
            return outcome;
        }
    }
}

impl Pace {
    fn learn(&mut self, answer: &Answer, now: &Moment) {
        let mut after = None;
        match answer {
            Answer::Ended(_) | Answer::Pending => self.troubles = 0,
            Answer::SlowDown => {
                self.troubles = 0;
                self.interval = (self.interval + SLOW_DOWN).min(LONGEST_INTERVAL);
            }
            Answer::Trouble(until) => {
                self.troubles += 1;
                after = *until;
            }
        }
        // RFC 8628 3.5: less and less often while nobody answers.
        let pause = self.interval * (1 << self.troubles.min(8));
        self.next = Some(now.after(pause.min(LONGEST_INTERVAL).max(after.unwrap_or_default())));
    }
}

/// One request. The token that it may bring is kept before anybody hears of it.
async fn ask(login: &Inner) -> Answer {
    let Way::Device(device) = &login.way else { return Answer::Pending };
    let now = login.core().clock.now();
    let deadline = now.limit(login.profile.timeout.min(device.end.left(&now)));
    let running = match login.core().running() {
        Ok(running) => running,
        Err(error) => return Answer::Ended(Err(error)),
    };
    let _critical = running.critical();
    let refusal = match login.exchange(vec![("device_code", device.device_code.clone())], deadline).await {
        Ok((issued, sent)) => return Answer::Ended(login.end(login.take_over(&issued, sent).await)),
        Err(refusal) => refusal,
    };
    let error = refusal.error;
    match (error.server_error(), error.code()) {
        (Some("authorization_pending"), _) => Answer::Pending,
        (Some("slow_down"), _) => Answer::SlowDown,
        (Some("expired_token"), _) => Answer::Ended(login.end(Err(expired()))),
        (Some("access_denied"), _) => {
            let denied = Error::new(ErrorCode::AccessDenied, "the sign-in was refused");
            let description = error.server_error_description().map(str::to_owned);
            Answer::Ended(login.end(Err(denied.with_server(Some("access_denied".to_owned()), description))))
        }
        (_, ErrorCode::Network | ErrorCode::Timeout | ErrorCode::ServerError | ErrorCode::RateLimited) => {
            tracing::debug!(profile = %login.profile.name, code = %error.code(), "asked for the sign-in's token in vain");
            Answer::Trouble(error.retry_after())
        }
        _ => Answer::Ended(login.end(Err(error))),
    }
}

fn expired() -> Error {
    Error::new(
        ErrorCode::ReauthenticationRequired,
        "nobody has signed in in time: the code has expired; begin the sign-in again",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Clock;

    fn parsed(object: Value) -> std::result::Result<(Device, Pace), String> {
        read(object.as_object().unwrap(), Clock::manual().now())
    }

    #[test]
    fn an_answer_may_leave_out_what_is_optional_and_spell_it_its_own_way() {
        let (device, pace) = parsed(json!({
            "device_code": "d", "user_code": "ABCD EFGH", "verification_url": "https://x.example/device", "expires_in": "600"
        }))
        .unwrap();
        assert_eq!((device.user_code.as_str(), device.verification_uri_complete), ("ABCD EFGH", None));
        assert_eq!(pace.interval, DEFAULT_INTERVAL);
    }

    #[test]
    fn what_would_confuse_a_terminal_or_lead_astray_is_refused() {
        let good = json!({"device_code": "d", "user_code": "u", "verification_uri": "https://x.example/#device"});
        assert!(parsed(good.clone()).is_ok());
        for (name, value) in [
            ("device_code", json!("")),
            ("device_code", json!(7)),
            ("user_code", json!("\u{1b}[2J")),
            ("user_code", json!("u".repeat(65))),
            ("verification_uri", json!("http://x.example/")),
            ("verification_uri", json!("javascript:alert(1)")),
            ("verification_uri", json!("https://x.example/\u{7}")),
        ] {
            let mut object = good.clone();
            object[name] = value.clone();
            assert!(parsed(object).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn a_server_that_does_not_answer_is_asked_less_and_less_often() {
        let now = Clock::manual().now();
        let mut pace = Pace { interval: Duration::from_secs(5), next: None, troubles: 0 };
        let mut pauses = Vec::new();
        for answer in [
            Answer::Trouble(None),
            Answer::Trouble(None),
            Answer::Trouble(Some(Duration::from_secs(90))),
            Answer::SlowDown,
            Answer::Pending,
        ] {
            pace.learn(&answer, &now);
            pauses.push(pace.next.unwrap().left(&now).as_secs());
        }
        assert_eq!(pauses, [10, 20, 90, 10, 10]);
    }
}
