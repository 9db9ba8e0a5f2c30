//! The simulator's clock: real time plus an offset, or standing still.

use std::time::{SystemTime, UNIX_EPOCH};

/// Decides expiry and every time that an answer mentions. It moves only forward with real time, except where
/// a test tells it otherwise.
#[derive(Debug, Default)]
pub(crate) struct SimClock {
    offset: f64,
    frozen_at: Option<f64>,
}

impl SimClock {
    /// Unix seconds, with fractions.
    pub(crate) fn now(&self) -> f64 {
        self.frozen_at.unwrap_or_else(|| real_now() + self.offset)
    }

    /// Moves the clock by `seconds`, backwards if negative. A frozen clock stays frozen at the new time.
    pub(crate) fn advance(&mut self, seconds: f64) {
        match &mut self.frozen_at {
            Some(at) => *at += seconds,
            None => self.offset += seconds,
        }
    }

    /// Stops the clock where it is (`true`), or lets it run on from there (`false`).
    pub(crate) fn freeze(&mut self, frozen: bool) {
        let now = self.now();
        if frozen {
            self.frozen_at = Some(now);
        } else if self.frozen_at.take().is_some() {
            self.offset = now - real_now();
        }
    }
}

fn real_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_moves_only_by_advance() {
        let mut clock = SimClock::default();
        clock.freeze(true);
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.advance(7.5);
        assert_eq!(clock.now(), before + 7.5);
    }

    #[test]
    fn a_thawed_clock_runs_on_from_where_it_stood() {
        let mut clock = SimClock::default();
        clock.freeze(true);
        clock.advance(1000.0);
        let stood = clock.now();
        clock.freeze(false);
        assert!(clock.now() >= stood && clock.now() < stood + 60.0);
    }
}
