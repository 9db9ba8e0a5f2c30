//! Whether a server's clock is far from ours, by the `Date` of its answers (RFC 9110 6.6.1). What is signed for a minute is
//! refused by such a server, and certificates may seem to lie in the future: people look for that for a long time.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::{AGE, DATE, HeaderMap};

use crate::clock::Moment;
use crate::events::EventKind;
use crate::metrics::Tally;
use crate::profile::Profile;
use crate::runtime::Core;

/// Less does no harm: signatures and lifetimes allow for as much.
const FAR: Duration = Duration::from_secs(60);
/// Told again when it has changed by so much.
const CHANGED: Duration = Duration::from_secs(30);

/// By how many milliseconds the server is surely ahead of us. `None`: the answer does not tell.
fn measured(headers: &HeaderMap, sent: &Moment, received: &Moment) -> Option<i64> {
    // A cache in between gives an answer of earlier.
    if headers.contains_key(AGE) {
        return None;
    }
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let date = date.duration_since(UNIX_EPOCH).ok()?.as_millis() as i64;
    // It tells whole seconds, of some moment between the two.
    let (earliest, latest) = (sent.unix().as_millis() as i64 - 1000, received.unix().as_millis() as i64);
    let skew = if date > latest { date - latest } else { (date - earliest).min(0) };
    Some(skew)
}

impl Core {
    /// Looks at an answer's date and tells when it is far off: once, and again when that has changed.
    pub(crate) fn notice_clock(&self, (profile, tally): (&Profile, &Tally), headers: &HeaderMap, sent: &Moment) {
        let Some(skew) = measured(headers, sent, &self.clock.now()) else { return };
        // Compared with what was told, so that a clock that drifts away is told again and again. Back in range is far back:
        // one that stands at the very limit is not told with every answer.
        if skew.abs_diff(tally.skew()) < CHANGED.as_millis() as u64 {
            return;
        }
        let far = skew.unsigned_abs() >= FAR.as_millis() as u64;
        tally.set_skew(if far { skew } else { 0 });
        if !far {
            return;
        }
        let reason = if skew > 0 { "server_ahead" } else { "server_behind" };
        self.report((profile, tally), EventKind::Skew, reason, Duration::from_millis(skew.unsigned_abs()), |event| {
            event
        });
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_skew_is_what_is_certain_of_it() {
        let clock = Clock::manual_at(Duration::from_secs(1_000_000_000));
        let sent = clock.now();
        clock.advance(Duration::from_secs(5)).unwrap();
        let received = clock.now();
        let skew = |date: &str, age: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_str(date).unwrap());
            if age {
                headers.insert(AGE, HeaderValue::from_static("3600"));
            }
            measured(&headers, &sent, &received)
        };
        // 2001-09-09 01:46:40 is second 1,000,000,000.
        assert_eq!(skew("Sun, 09 Sep 2001 01:46:42 GMT", false), Some(0));
        assert_eq!(skew("Sun, 09 Sep 2001 01:47:44 GMT", false), Some(59_000), "since we received it");
        assert_eq!(skew("Sun, 09 Sep 2001 01:47:45 GMT", false), Some(60_000));
        assert_eq!(skew("Sun, 09 Sep 2001 01:45:39 GMT", false), Some(-60_000));
        assert_eq!(skew("Sun, 09 Sep 2001 00:46:40 GMT", true), None, "out of a cache");
        assert_eq!(skew("yesterday", false), None);
        assert_eq!(measured(&HeaderMap::new(), &sent, &received), None);
    }
}
