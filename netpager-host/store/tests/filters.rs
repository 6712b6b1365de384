//! What each filter adds to the store it wraps.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use store::{Arena, Call, DelayFilter, Delays, ErrorFilter, ErrorRates, LogFilter, RamStore, Space, StatsFilter, Store, StoreError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

fn ram() -> RamStore {
    RamStore::new(Arc::new(Arena::new(8 << 20)), 1 << 20, u64::MAX).unwrap()
}

#[test]
fn errors_come_as_often_as_asked_and_change_nothing() {
    let filter = ErrorFilter::new(ram(), ErrorRates { read: 0, write: 250, flush: 1000 }, 42);
    let failures = (0..4000).filter(|_| filter.write_at(0, &[1]).is_err()).count();
    assert!((800..1200).contains(&failures), "{failures}");
    assert!(matches!(filter.flush(), Err(StoreError::Injected)));
    filter.read_at(0, &mut [0]).unwrap();
    let always = ErrorFilter::new(ram(), ErrorRates { write: 1000, ..ErrorRates::default() }, 1);
    assert!(always.write_at(0, &[1]).is_err() && always.trim(0, 1).is_err() && always.write_zeroes(0, 1, Space::Reserve).is_err());
    let mut byte = [9];
    always.read_at(0, &mut byte).unwrap();
    assert_eq!(byte, [0]);
    always.armed().store(false, Ordering::Relaxed);
    always.write_at(0, &[1]).unwrap();
}

#[test]
fn a_delay_is_waited_for() {
    let filter = DelayFilter::new(ram(), Delays { read: Duration::from_millis(20), ..Delays::default() });
    let start = Instant::now();
    filter.write_at(0, &[1]).unwrap();
    filter.read_at(0, &mut [0]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20) && !filter.is_immediate());
}

#[test]
fn calls_are_counted_by_kind_and_result() {
    let failing = ErrorFilter::new(ram(), ErrorRates { flush: 1000, ..ErrorRates::default() }, 1);
    let filter = StatsFilter::new(failing);
    let stats = filter.stats();
    filter.write_at(0, &[1; 100]).unwrap();
    filter.read_at(0, &mut [0; 30]).unwrap();
    filter.append_to(0, 12, &mut Vec::new()).unwrap();
    filter.read_at(1 << 20, &mut [0]).unwrap_err();
    filter.flush().unwrap_err();
    filter.trim(0, 4096).unwrap();
    filter.write_zeroes(0, 8192, Space::Release).unwrap();
    filter.extent_at(0, 1).unwrap();
    filter.state_at(0, 1).unwrap();
    let counted = Call::ALL.map(|call| stats.snapshot(call)).map(|call| (call.succeeded, call.failed, call.bytes, call.latency.count()));
    assert_eq!(counted, [(2, 1, 42, 3), (1, 0, 100, 1), (0, 1, 0, 1), (1, 0, 4096, 1), (1, 0, 8192, 1), (2, 0, 0, 2)]);
}

#[test]
fn no_call_of_any_thread_is_missed_and_times_are_true() {
    let filter = StatsFilter::new(DelayFilter::new(ram(), Delays { write: Duration::from_millis(5), ..Delays::default() }));
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| (0..100).for_each(|_| filter.read_at(0, &mut [0]).unwrap()));
        }
        scope.spawn(|| (0..4).for_each(|_| filter.write_at(0, &[1]).unwrap()));
    });
    assert_eq!(filter.stats().snapshot(Call::Read).succeeded, 2000);
    let writes = filter.stats().snapshot(Call::Write);
    assert!(writes.time >= Duration::from_millis(20));
    assert!(writes.latency.quantile(0.5).is_some_and(|half| half >= Duration::from_millis(5)));
}

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "micros" => {}
            "message" => write!(self.0, " {value:?}").unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(if *event.metadata().level() == Level::WARN { "warning:" } else { "info:" }.into());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_line_is_written_for_each_call() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let filter = LogFilter::new(ram(), "heap");
        filter.write_at(5, &[1, 2, 3]).unwrap();
        filter.read_at(5, &mut [0; 3]).unwrap();
        filter.write_zeroes(0, 10, Space::Reserve).unwrap();
        filter.trim(1 << 20, 1).unwrap_err();
        filter.flush().unwrap();
    });
    let expected = [
        "info: write 5+3 store=\"heap\"",
        "info: read 5+3 store=\"heap\"",
        "info: zero and reserve 0+10 store=\"heap\"",
        "warning: trim 1048576+1: the range 1048576+1 ends past the end of the store (1048576 bytes) store=\"heap\"",
        "info: flush store=\"heap\"",
    ];
    assert_eq!(*lines.0.lock().unwrap(), expected);
}
