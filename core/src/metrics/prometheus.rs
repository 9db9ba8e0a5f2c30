//! The text that Prometheus reads (OpenMetrics 1.0), by its own client library.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, ProfileMetrics};

/// The text of a snapshot.
pub(super) fn text(metrics: &Metrics) -> String {
    let mut registry = Registry::with_prefix("qauth");
    registry.register_collector(Box::new(metrics.clone()));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("writing to a string does not fail");
    out
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encoder
            .encode_descriptor("sources", "Sources that the engine holds", None, MetricType::Gauge)?
            .encode_gauge(&(self.sources as i64))?;
        let help = "Sources that were let go of, since nobody used them";
        encoder
            .encode_descriptor("evicted_sources", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, u64>(&self.evicted, None)?;
        let help = "1 while the store cannot be used as it should";
        encoder
            .encode_descriptor("store_degraded", help, None, MetricType::Gauge)?
            .encode_gauge(&i64::from(self.store_degraded))?;
        let mut family =
            encoder.encode_descriptor("events", "What happened to tokens, by kind", None, MetricType::Counter)?;
        for profile in &self.profiles {
            for (event, count) in &profile.events {
                counter(&mut family, &labels(profile, Some(("event", event.name()))), *count)?;
            }
        }
        let help = "Renewals that brought no token, by the error's code";
        let mut family = encoder.encode_descriptor("renewal_failures", help, None, MetricType::Counter)?;
        for profile in &self.profiles {
            for (code, count) in &profile.failures {
                counter(&mut family, &labels(profile, Some(("code", code.name()))), *count)?;
            }
        }
        let mut family =
            encoder.encode_descriptor("token_requests", "Requests for tokens", None, MetricType::Counter)?;
        for profile in &self.profiles {
            counter(&mut family, &labels(profile, None), profile.requests)?;
        }
        let help = "How long renewals took, whatever came of them";
        let seconds = Unit::Seconds;
        let mut family = encoder.encode_descriptor("renewal_duration", help, Some(&seconds), MetricType::Histogram)?;
        for profile in &self.profiles {
            let buckets: Vec<(f64, u64)> = profile.buckets.iter().map(|(to, count)| (*to, u64::from(*count))).collect();
            let labels = labels(profile, None);
            let sum = profile.renewing.as_secs_f64();
            let mut histogram = family.encode_family(&labels)?;
            histogram.encode_histogram::<NoLabelSet>(sum, u64::from(profile.renewals), &buckets, None)?;
        }
        let help = "When the token that came last ends, since 1970";
        let mut family =
            encoder.encode_descriptor("token_expires_timestamp", help, Some(&seconds), MetricType::Gauge)?;
        for profile in &self.profiles {
            if let Some(unix) = profile.expires_at {
                family.encode_family(&labels(profile, None))?.encode_gauge(&(unix as i64))?;
            }
        }
        let help = "By how much the server's clock is ahead of ours, where it is far off";
        let mut family = encoder.encode_descriptor("clock_skew", help, Some(&seconds), MetricType::Gauge)?;
        for profile in &self.profiles {
            family.encode_family(&labels(profile, None))?.encode_gauge(&profile.clock_skew)?;
        }
        Ok(())
    }
}

fn labels<'a>(profile: &'a ProfileMetrics, more: Option<(&'static str, &'a str)>) -> Labels<'a> {
    [("profile", profile.profile.as_str()), ("provider", &profile.provider)].into_iter().chain(more).collect()
}

fn counter(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, count: u32) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, u64, u64>(&u64::from(count), None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Tallies;
    use crate::error::ErrorCode;
    use crate::events::EventKind;

    #[test]
    fn the_text_has_every_family_with_its_labels() {
        let tallies = Tallies::default();
        let tally = tallies.of("pricing", "acme");
        tally.count(EventKind::Obtained);
        tally.count_failure(ErrorCode::Network);
        tally.count_request();
        tally.renewal_took(Duration::from_millis(40));
        tally.renewal_took(Duration::from_secs(20));
        tally.token_ends(Some(Duration::from_secs(1_767_225_600)));
        let text = tallies.snapshot(2, 1, true).to_prometheus();
        for line in [
            "qauth_sources 2",
            "qauth_evicted_sources_total 1",
            "qauth_store_degraded 1",
            "# TYPE qauth_events counter",
            "qauth_events_total{profile=\"pricing\",provider=\"acme\",event=\"obtained\"} 1",
            "qauth_renewal_failures_total{profile=\"pricing\",provider=\"acme\",code=\"network\"} 1",
            "qauth_token_requests_total{profile=\"pricing\",provider=\"acme\"} 1",
            "qauth_renewal_duration_seconds_count{profile=\"pricing\",provider=\"acme\"} 2",
            "qauth_renewal_duration_seconds_bucket{le=\"0.05\",profile=\"pricing\",provider=\"acme\"} 1",
            "qauth_renewal_duration_seconds_bucket{le=\"+Inf\",profile=\"pricing\",provider=\"acme\"} 2",
            "qauth_token_expires_timestamp_seconds{profile=\"pricing\",provider=\"acme\"} 1767225600",
            "qauth_clock_skew_seconds{profile=\"pricing\",provider=\"acme\"} 0.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|got| got == line), "{line} is missing in\n{text}");
        }
    }
}
