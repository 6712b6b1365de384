//! How fast one identity may go, over all its connections.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use security::{Limits, TokenBucket};

/// The rates of one identity.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// What the buckets' time counts from.
    epoch: Instant,
    requests: Option<Mutex<TokenBucket>>,
    bytes: Option<Mutex<TokenBucket>>,
}

impl Throttle {
    /// The rates that `limits` sets, if it sets any.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        let bucket = |rate| Mutex::new(TokenBucket::new(rate));
        let (requests, bytes) = (limits.requests.map(bucket), limits.bytes.map(bucket));
        (requests.is_some() || bytes.is_some()).then(|| Self { epoch: Instant::now(), requests, bytes })
    }

    /// Takes one request with so many bytes; returns how long to wait before the next.
    pub(crate) fn take(&self, bytes: u64) -> Duration {
        let now = self.epoch.elapsed();
        let wait = |bucket: &Option<Mutex<TokenBucket>>, amount| {
            let take = |bucket: &Mutex<TokenBucket>| bucket.lock().unwrap_or_else(PoisonError::into_inner).take(amount, now);
            bucket.as_ref().map_or(Duration::ZERO, take)
        };
        wait(&self.requests, 1).max(wait(&self.bytes, bytes))
    }
}

#[cfg(test)]
mod tests {
    use security::Rate;

    use super::*;

    #[test]
    fn the_slower_of_two_rates_counts() {
        assert!(Throttle::new(&Limits::default()).is_none());
        let rate = |per_second| Some(Rate { per_second, burst: Duration::ZERO });
        let throttle = Throttle::new(&Limits { requests: rate(10), bytes: rate(1 << 20), ..Limits::default() }).unwrap();
        let wait = throttle.take(4096);
        assert!(wait > Duration::from_millis(90) && wait <= Duration::from_millis(100), "{wait:?}");
        assert!(throttle.take(10 << 20) > Duration::from_secs(9));
    }
}
