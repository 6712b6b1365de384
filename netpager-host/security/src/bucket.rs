//! Rates kept: so many requests or bytes a second, with a burst.
//!
//! The generic cell rate algorithm (ITU-T I.371): one number, the time at which everything granted so far is paid for. Time is
//! a parameter, so the service's clock and a test's are the same thing. Nothing is dropped and nobody polls: whoever takes is
//! told how long to wait, and requests are granted in the order in which they asked.

use std::time::Duration;

/// So much a second, and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests or bytes; never zero.
    pub per_second: u64,
    /// What a client that was idle for long may do at full speed, as time: `per_second × burst`.
    pub burst: Duration,
}

/// The state of one rate for one client.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: Rate,
    /// In 1/`per_second` of a nanosecond, so that nothing is ever rounded.
    paid_until: u128,
}

const NANOSECONDS: u128 = 1_000_000_000;

impl TokenBucket {
    /// A bucket that is full.
    pub fn new(rate: Rate) -> Self {
        Self { rate: Rate { per_second: rate.per_second.max(1), ..rate }, paid_until: 0 }
    }

    /// Takes `amount` at the time `now`, which may count from anywhere but must not go back; says how long to wait before
    /// using it. An amount larger than the burst is granted too, only later.
    pub fn take(&mut self, amount: u64, now: Duration) -> Duration {
        let now = now.as_nanos() * self.scale();
        self.paid_until = self.paid_until.max(now) + u128::from(amount) * NANOSECONDS;
        let free = now + self.rate.burst.as_nanos() * self.scale();
        // Rounded up: waiting too short would beat the rate.
        let nanoseconds = self.paid_until.saturating_sub(free).div_ceil(self.scale());
        Duration::from_nanos(nanoseconds.try_into().unwrap_or(u64::MAX))
    }

    /// Changes the rate; what was taken stays taken.
    pub fn set_rate(&mut self, rate: Rate) {
        let old = self.scale();
        self.rate = Rate { per_second: rate.per_second.max(1), ..rate };
        self.paid_until = self.paid_until / old * self.scale();
    }

    fn scale(&self) -> u128 {
        self.rate.per_second.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_burst_is_free_and_the_rest_waits_its_turn() {
        let mut bucket = TokenBucket::new(Rate { per_second: 100, burst: seconds(0.1) });
        let now = seconds(1000.0);
        assert_eq!(bucket.take(10, now), Duration::ZERO);
        assert_eq!(bucket.take(1, now), seconds(0.01));
        assert_eq!(bucket.take(50, now), seconds(0.51));
        assert_eq!(bucket.take(1, now + seconds(0.6)), seconds(0.0), "what was waited for is paid");
    }

    #[test]
    fn idleness_is_worth_one_burst_and_no_more() {
        let mut bucket = TokenBucket::new(Rate { per_second: 10, burst: seconds(1.0) });
        assert_eq!(bucket.take(10, seconds(5000.0)), Duration::ZERO);
        assert_eq!(bucket.take(1, seconds(5000.0)), seconds(0.1));
    }

    #[test]
    fn a_new_rate_keeps_the_debt() {
        let mut bucket = TokenBucket::new(Rate { per_second: 10, burst: Duration::ZERO });
        assert_eq!(bucket.take(10, seconds(1.0)), seconds(1.0));
        bucket.set_rate(Rate { per_second: 1000, burst: Duration::ZERO });
        assert_eq!(bucket.take(1, seconds(1.0)), seconds(1.001));
    }

    proptest! {
        /// Whatever is asked and whenever: in no window is more granted than the rate, a burst and one request; and a client
        /// that asks for less than the rate never waits.
        #[test]
        fn no_window_holds_more_than_the_rate(
            per_second in 1_u64..100_000,
            burst_ms in 0_u64..2000,
            asks in proptest::collection::vec((0_u64..2_000_000, 0_u64..5000), 1..60),
        ) {
            let burst = Duration::from_millis(burst_ms);
            let mut bucket = TokenBucket::new(Rate { per_second, burst });
            let (mut now, mut granted) = (Duration::from_secs(7), Vec::new());
            for (gap_us, amount) in asks {
                now += Duration::from_micros(gap_us);
                granted.push((now + bucket.take(amount, now), amount));
            }
            prop_assert!(granted.is_sorted_by_key(|(at, _)| *at), "granted in the order of asking");
            for first in 0..granted.len() {
                let mut sum = 0_u128;
                for &(at, amount) in &granted[first..] {
                    sum += u128::from(amount);
                    let window = at.saturating_sub(granted[first].0) + burst;
                    let most = window.as_nanos() * u128::from(per_second) / NANOSECONDS + u128::from(granted[first].1) + 1;
                    prop_assert!(sum <= most, "{sum} in {window:?}, at most {most}");
                }
            }
        }
    }
}
