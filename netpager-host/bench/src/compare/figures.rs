//! The figures of one row on one server.

use serde_json::{Value, json};

use crate::load::Report;

/// What one run gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) iops: f64,
    pub(super) mib_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Unknown where /proc is not.
    pub(super) cpu_us: Option<f64>,
}

impl Figures {
    pub(super) fn of(report: &Report) -> Self {
        let latencies = report.latencies();
        let us = |quantile| latencies.quantile(quantile).as_nanos() as f64 / 1000.0;
        Self { iops: report.iops(), mib_per_second: report.mib_per_second(), p50_us: us(0.5), p99_us: us(0.99), cpu_us: report.cpu_us() }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "iops": self.iops, "mib_per_second": self.mib_per_second, "p50_us": self.p50_us, "p99_us": self.p99_us,
            "server_cpu_us": self.cpu_us,
        })
    }
}

/// The median of each figure by itself.
pub(super) fn median(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => 0.0,
            count => (values[(count - 1) / 2] + values[count / 2]) / 2.0,
        }
    };
    let cpu_known = rounds.iter().all(|figures| figures.cpu_us.is_some()) && !rounds.is_empty();
    Figures {
        iops: of(|figures| figures.iops),
        mib_per_second: of(|figures| figures.mib_per_second),
        p50_us: of(|figures| figures.p50_us),
        p99_us: of(|figures| figures.p99_us),
        cpu_us: cpu_known.then(|| of(|figures| figures.cpu_us.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_round_does_not_decide() {
        let figures = |iops, cpu_us| Figures { iops, cpu_us, ..Figures::default() };
        let rounds = [figures(100.0, Some(3.0)), figures(1.0, Some(90.0)), figures(110.0, Some(1.0))];
        assert_eq!((median(&rounds).iops, median(&rounds).cpu_us), (100.0, Some(3.0)));
        assert_eq!(median(&rounds[..2]).iops, 50.5);
        assert_eq!(median(&[figures(1.0, None), figures(1.0, Some(1.0))]).cpu_us, None);
        assert_eq!(median(&[]), Figures::default());
    }
}
