//! What connections did between two looks at them.

use std::collections::HashMap;

use super::sample::{CLIENTS_SHOWN, ClientSample, ExportSample, Rates};
use crate::metrics::{Command, Glance, Totals};
use crate::observed::ExportState;
use crate::sampler::milliseconds;

/// A connection that did nothing for so many samples has its latencies forgotten: ten thousand idle clients should be cheap.
/// When it wakes up, its first sample has no latencies.
const IDLE_SAMPLES: u32 = 10;

/// What a connection had done at the last look.
struct Before {
    finished: u64,
    totals: Totals,
    idle: u32,
    forgotten: bool,
}

/// What all connections had done at the last look.
#[derive(Default)]
pub(super) struct Differences(HashMap<u64, Before>);

/// What was done between two looks.
pub(super) struct Done {
    seconds: f64,
    total: Sum,
    exports: HashMap<String, Sum>,
    /// The busiest.
    pub(super) clients: Vec<ClientSample>,
    pub(super) clients_total: usize,
}

#[derive(Default)]
struct Sum {
    done: Totals,
    in_flight: u64,
    connections: u64,
}

impl Differences {
    /// Looks again.
    pub(super) fn advance(&mut self, glances: Vec<Glance>, seconds: f64) -> Done {
        let mut done = Done { seconds, total: Sum::default(), exports: HashMap::new(), clients: Vec::new(), clients_total: 0 };
        let mut after = HashMap::with_capacity(glances.len());
        let mut clients = Vec::new();
        for glance in glances {
            let before = self.0.remove(&glance.id);
            let (difference, now) = difference(before, &glance);
            done.count(&glance, difference.as_ref());
            if glance.open {
                after.insert(glance.id, now);
                clients.push((glance, difference));
            }
        }
        self.0 = after;
        done.clients_total = clients.len();
        // The busiest, then the longest connected; shown in the order they came, so that rows stay in place.
        clients.sort_by_key(|(glance, difference)| (std::cmp::Reverse(difference.as_ref().map_or(0, Totals::requests)), glance.id));
        clients.truncate(CLIENTS_SHOWN);
        clients.sort_by_key(|(glance, _)| glance.id);
        done.clients = clients.into_iter().map(|(glance, difference)| client(&glance, difference, seconds)).collect();
        done
    }
}

/// What one connection did since, if anything, and what it has done by now.
fn difference(before: Option<Before>, glance: &Glance) -> (Option<Totals>, Before) {
    let finished = glance.finished();
    let mut before = before.unwrap_or_else(|| Before { finished: 0, totals: Totals::default(), idle: 0, forgotten: false });
    if finished == before.finished {
        before.idle = before.idle.saturating_add(1);
        if before.idle == IDLE_SAMPLES {
            before.totals.forget_latencies();
            before.forgotten = true;
        }
        return (None, before);
    }
    let totals = glance.totals();
    let mut since = totals.since(&before.totals);
    if before.forgotten {
        since.forget_latencies();
    }
    (Some(since), Before { finished, totals, idle: 0, forgotten: false })
}

fn client(glance: &Glance, difference: Option<Totals>, seconds: f64) -> ClientSample {
    let info = glance.info();
    ClientSample {
        id: glance.id,
        export: info.export.clone(),
        peer: info.peer.clone(),
        identity: info.identity.clone(),
        transport: info.transport.clone(),
        protocol: info.protocol.clone(),
        since_ms: milliseconds(glance.since()),
        rates: Rates::of(&difference.unwrap_or_default(), seconds, glance.in_flight()),
    }
}

impl Done {
    fn count(&mut self, glance: &Glance, difference: Option<&Totals>) {
        let export = match self.exports.get_mut(&glance.info().export) {
            Some(export) => export,
            None => self.exports.entry(glance.info().export.clone()).or_default(),
        };
        for sum in [&mut self.total, export] {
            if let Some(difference) = difference {
                sum.done.merge(difference);
            }
            if glance.open {
                sum.in_flight += glance.in_flight();
                sum.connections += 1;
            }
        }
    }

    pub(super) fn total(&self) -> Rates {
        Rates::of(&self.total.done, self.seconds, self.total.in_flight)
    }

    pub(super) fn export(&mut self, state: ExportState) -> ExportSample {
        let sum = self.exports.remove(&state.name).unwrap_or_default();
        ExportSample { state, rates: Rates::of(&sum.done, self.seconds, sum.in_flight), connections: sum.connections }
    }
}

impl Totals {
    /// What was done since `earlier`, an older state of the same sums.
    fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (sums, old) in difference.commands.iter_mut().zip(&earlier.commands) {
            sums.requests.iter_mut().zip(old.requests).for_each(|(count, old)| *count = count.saturating_sub(old));
            sums.bytes = sums.bytes.saturating_sub(old.bytes);
            sums.latency_ns = sums.latency_ns.saturating_sub(old.latency_ns);
            if let (Some(latencies), Some(old)) = (&mut sums.latencies, &old.latencies) {
                *latencies = latencies.since(old);
            }
        }
        difference
    }

    fn forget_latencies(&mut self) {
        Command::ALL.iter().for_each(|&command| self.commands[command as usize].latencies = None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{ClientInfo, Outcome, Recorder, Registry};

    fn connect(registry: &Registry, export: &str) -> Recorder {
        registry.connect(ClientInfo { export: export.into(), peer: "x".into(), ..ClientInfo::default() })
    }

    fn read(recorder: &mut Recorder, count: usize, microseconds: u64) {
        for _ in 0..count {
            recorder.begin();
            recorder.finish(Command::Read, Outcome::Ok, 4096, Duration::from_micros(microseconds));
        }
    }

    #[test]
    fn rates_are_of_the_interval_only() {
        let registry = Registry::default();
        let mut differences = Differences::default();
        let mut recorder = connect(&registry, "a");
        read(&mut recorder, 10, 1000);
        differences.advance(registry.glance(), 1.0);
        read(&mut recorder, 20, 10);
        let rates = differences.advance(registry.glance(), 2.0).total();
        assert_eq!((rates.read_ops, rates.read_bytes), (10.0, 40960.0));
        assert!(rates.p99_us.unwrap() < 11.0, "the slow ones were before: {rates:?}");
        let rates = differences.advance(registry.glance(), 1.0).total();
        assert_eq!((rates.read_ops, rates.p50_us), (0.0, None));
    }

    #[test]
    fn who_left_is_counted_to_the_end() {
        let registry = Registry::default();
        let mut differences = Differences::default();
        let mut recorder = connect(&registry, "a");
        read(&mut recorder, 3, 10);
        differences.advance(registry.glance(), 1.0);
        read(&mut recorder, 4, 10);
        drop(recorder);
        let mut done = differences.advance(registry.glance(), 1.0);
        let export = done.export(ExportState { name: "a".into(), ..Default::default() });
        assert_eq!((export.rates.read_ops, export.connections, done.clients_total), (4.0, 0, 0));
        assert_eq!(differences.advance(registry.glance(), 1.0).total().read_ops, 0.0);
        assert!(differences.0.is_empty());
    }

    #[test]
    fn who_wakes_up_is_counted_but_its_old_latencies_are_not() {
        let registry = Registry::default();
        let mut differences = Differences::default();
        let mut recorder = connect(&registry, "a");
        read(&mut recorder, 10, 90_000);
        (0..=IDLE_SAMPLES).for_each(|_| drop(differences.advance(registry.glance(), 1.0)));
        read(&mut recorder, 5, 10);
        let rates = differences.advance(registry.glance(), 1.0).total();
        assert_eq!((rates.read_ops, rates.p99_us), (5.0, None));
        read(&mut recorder, 5, 10);
        assert!(differences.advance(registry.glance(), 1.0).total().p99_us.unwrap() < 11.0);
    }

    #[test]
    fn the_busiest_clients_are_shown_in_the_order_they_came() {
        let registry = Registry::default();
        let mut recorders: Vec<_> = (0..CLIENTS_SHOWN + 10).map(|_| connect(&registry, "a")).collect();
        for recorder in recorders.iter_mut().rev().take(3) {
            read(recorder, 1, 10);
        }
        let done = Differences::default().advance(registry.glance(), 1.0);
        let ids: Vec<u64> = done.clients.iter().map(|client| client.id).collect();
        assert_eq!((ids.len(), done.clients_total), (CLIENTS_SHOWN, CLIENTS_SHOWN + 10));
        assert!(ids.is_sorted() && ids.ends_with(&[72, 73, 74]), "{ids:?}");
    }
}
