//! The one formula for when a token is renewed, waited for and dropped (DESIGN.md 4, "Windows").

use std::time::Duration;

use crate::clock::{Deadline, Moment};
use crate::profile::Mode;

/// What a profile or provider says about windows, and this source's share of the spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowRules {
    pub(crate) buffer: Option<Duration>,
    pub(crate) ahead: Option<Duration>,
    /// 0.8 to 1.0, drawn once per process and source, so that a fleet does not renew in one instant.
    pub(crate) spread: f64,
    pub(crate) mode: Mode,
}

/// The turning points in one token's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Renewed behind the callers' back from here on.
    pub(crate) refresh_at: Deadline,
    /// Callers wait for the renewal from here on, shortly.
    pub(crate) stale_at: Deadline,
    /// Never served from here on; `None` for a token without an end.
    pub(crate) expires_at: Option<Deadline>,
    /// The hot path serves without a further thought until here.
    pub(crate) serve_until: Deadline,
}

const DEFAULT_BUFFER: Duration = Duration::from_secs(60);
const DEFAULT_AHEAD: Duration = Duration::from_secs(240);

impl Windows {
    /// The windows of a token that was asked for at `sent` and lives for `lifetime`.
    pub(crate) fn new(sent: &Moment, lifetime: Duration, rules: &WindowRules) -> Windows {
        let buffer = match rules.buffer {
            Some(buffer) => buffer.min(lifetime / 4),
            None => DEFAULT_BUFFER.min(lifetime / 10),
        };
        let ahead = match rules.ahead {
            Some(ahead) => ahead.min(lifetime / 2),
            None => DEFAULT_AHEAD.min(lifetime / 10).mul_f64(rules.spread),
        };
        let expires_at = sent.after(lifetime);
        let stale_at = expires_at.minus(buffer);
        // On demand nothing happens before a caller finds the token stale.
        let refresh_at = if rules.mode == Mode::OnDemand { stale_at } else { stale_at.minus(ahead) };
        Windows { refresh_at, stale_at, expires_at: Some(expires_at), serve_until: refresh_at }
    }

    /// The server has no newer token yet and gave the same one again: it serves to its very end, or renewing would loop.
    pub(crate) fn to_the_end(self) -> Windows {
        match self.expires_at {
            Some(end) => Windows { refresh_at: end, stale_at: end, expires_at: Some(end), serve_until: end },
            None => self,
        }
    }

    /// A token without an end.
    pub(crate) fn endless() -> Windows {
        let never = Moment::never();
        Windows { refresh_at: never, stale_at: never, expires_at: None, serve_until: never }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn offsets(lifetime: u64, buffer: Option<u64>, mode: Mode) -> (f64, f64) {
        let now = Clock::manual().now();
        let rules = WindowRules { buffer: buffer.map(Duration::from_secs), ahead: None, spread: 1.0, mode };
        let windows = Windows::new(&now, Duration::from_secs(lifetime), &rules);
        (windows.refresh_at.left(&now).as_secs_f64(), windows.stale_at.left(&now).as_secs_f64())
    }

    #[test]
    fn windows_scale_with_the_lifetime() {
        // fault 44
        assert_eq!(offsets(3600, Some(60), Mode::Background), (3300.0, 3540.0));
        assert_eq!(offsets(300, Some(30), Mode::Background), (240.0, 270.0));
        assert_eq!(offsets(2, Some(60), Mode::Background), (1.3, 1.5));
        assert_eq!(offsets(604_800, None, Mode::Background), (604_500.0, 604_740.0));
        assert_eq!(offsets(3600, None, Mode::OnDemand), (3540.0, 3540.0));
    }

    #[test]
    fn absurd_rules_still_leave_a_token_half_its_life() {
        // fault 6
        let now = Clock::manual().now();
        let huge = Some(Duration::from_secs(u64::MAX / 4));
        let rules = WindowRules { buffer: huge, ahead: huge, spread: 1.0, mode: Mode::Always };
        let windows = Windows::new(&now, Duration::from_secs(100), &rules);
        assert_eq!(windows.refresh_at.left(&now), Duration::from_secs(25));
    }
}
