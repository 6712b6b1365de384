//! How long requests took: a histogram with three significant digits, from 100 ns to a minute.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// The latencies of requests of one kind.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("the bounds are in order"))
    }
}

impl Latencies {
    /// Adds one request.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos().try_into().unwrap_or(u64::MAX));
    }

    /// Adds all of another's.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many requests.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `quantile` (0 to 1) of the requests did not exceed.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// The average.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    /// In microseconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let microseconds = |time: Duration| time.as_nanos() as f64 / 1000.0;
        json!({
            "count": self.count(), "mean_us": microseconds(self.mean()),
            "p50_us": microseconds(self.quantile(0.5)), "p99_us": microseconds(self.quantile(0.99)),
            "p999_us": microseconds(self.quantile(0.999)), "max_us": microseconds(self.quantile(1.0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_and_extremes_do_no_harm() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|us| latencies.record(Duration::from_micros(us)));
        for (quantile, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile(quantile).as_secs_f64() * 1e6;
            assert!((found / expected - 1.0).abs() < 0.002, "{found} is not {expected}");
        }
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(3600));
        let mut both = Latencies::default();
        both.add(&latencies);
        assert_eq!(both.count(), 1002);
        assert_eq!(Latencies::default().json()["count"], 0);
    }
}
