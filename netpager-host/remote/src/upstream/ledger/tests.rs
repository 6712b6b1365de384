//! The ledger against a simulated server that crashes, answers late, and carries out requests after their connection ended.
//!
//! One page is one number here. A write puts a number that was never used before, so a read tells which write it sees.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const PAGES: u64 = 2;
const PAGE: u64 = 8;

impl<T> Ledger<T> {
    fn check(&self) {
        self.unflushed.check();
        let ready: BTreeSet<u64> = self.ready.iter().copied().collect();
        assert_eq!(ready.len(), self.ready.len());
        for (id, job) in &self.jobs {
            assert_eq!(job.place == Place::Ready, ready.contains(id));
            if let Place::Sent(connection) = job.place {
                assert!(self.live.contains(&connection) && self.phase == Phase::Serving);
            }
        }
        let moving: Vec<_> = self.jobs.values().filter(|job| job.call.changes_data() && job.place != Place::Held).collect();
        for (at, one) in moving.iter().enumerate() {
            assert!(moving[at + 1..].iter().all(|other| !overlap(&one.call.range(), &other.call.range())), "two writes at once");
        }
        assert!(self.phase == Phase::Serving || self.live.is_empty());
    }
}

/// The server: what it shows, what would survive a crash, and the requests it holds, by connection.
#[derive(Default)]
struct Server {
    shown: [u64; PAGES as usize],
    durable: [u64; PAGES as usize],
    accepted: Vec<(u64, u64, Call)>,
    gone: BTreeSet<u64>,
}

impl Server {
    fn carry_out(&mut self, call: &Call) -> u64 {
        let page = (call.offset / PAGE) as usize;
        match &call.work {
            Work::Read => return self.shown[page],
            Work::Write(data) => self.shown[page] = u64::from_le_bytes(data[..].try_into().unwrap()),
            Work::Zeroes { .. } | Work::Trim => self.shown[page] = 0,
            Work::Flush => self.durable = self.shown,
            Work::Status => {}
        }
        0
    }
}

/// What a caller waits for. `floor` is what was acknowledged when the call began: nothing older may be read.
#[derive(Clone, Debug)]
struct Tag {
    floor: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64),
    Read(u64),
    Flush,
    GiveUp(usize),
    Open,
    Send(usize),
    /// The server carries out a request and answers.
    Serve(usize),
    /// The server carries out a request of a connection that broke. Rare, so that it comes late.
    ServeLate(usize),
    /// The connection breaks; the server may go on with what it holds.
    Abandon(usize),
    /// The server closes a broken connection.
    Settle(usize),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..PAGES).prop_map(Step::Write),
        3 => (0..PAGES).prop_map(Step::Read),
        1 => Just(Step::Flush),
        1 => any::<usize>().prop_map(Step::GiveUp),
        3 => Just(Step::Open),
        9 => any::<usize>().prop_map(Step::Send),
        9 => any::<usize>().prop_map(Step::Serve),
        1 => any::<usize>().prop_map(Step::ServeLate),
        1 => any::<usize>().prop_map(Step::Abandon),
        1 => any::<usize>().prop_map(Step::Settle),
        1 => prop::bool::weighted(0.2).prop_map(|crash| if crash { Step::Crash } else { Step::Open }),
    ];
    prop::collection::vec(step, 100..400)
}

struct World {
    ledger: Ledger<Tag>,
    server: Server,
    /// Callers that wait.
    waiting: BTreeMap<u64, Call>,
    /// The newest acknowledged write of each page.
    acknowledged: [u64; PAGES as usize],
    stamp: u64,
    connection: u64,
    broken: BTreeSet<u64>,
}

impl World {
    fn new() -> Self {
        let stamp = 0;
        Self {
            ledger: Ledger::new(600, true),
            server: Server::default(),
            waiting: BTreeMap::new(),
            acknowledged: [0; PAGES as usize],
            stamp,
            connection: 0,
            broken: BTreeSet::new(),
        }
    }

    fn live(&self, choice: usize) -> Option<u64> {
        let live: Vec<u64> = self.ledger.live.iter().copied().collect();
        live.get(choice % live.len().max(1)).copied()
    }

    fn submit(&mut self, call: Call) {
        let floor = self.acknowledged[(call.offset / PAGE) as usize];
        let id = self.ledger.submit(call.clone(), Tag { floor }).unwrap();
        self.waiting.insert(id, call);
    }

    fn open(&mut self) {
        self.connection += 1;
        let connection = self.connection;
        if let Duty::Recover { witnesses, replay } = self.ledger.opened(connection) {
            // A durable server loses nothing that was flushed.
            for witness in witnesses {
                assert!(witness.recognises(&self.server.shown[(witness.offset / PAGE) as usize].to_le_bytes()));
            }
            for call in replay {
                self.server.carry_out(&call);
            }
            self.ledger.recovered(connection);
        }
    }

    fn serve(&mut self, choice: usize, late: bool) {
        let fits = |(connection, ..): &(u64, u64, Call)| self.broken.contains(connection) == late;
        let places: Vec<usize> = (0..self.server.accepted.len()).filter(|&at| fits(&self.server.accepted[at])).collect();
        let Some(&at) = places.get(choice % places.len().max(1)) else { return };
        let (connection, id, call) = self.server.accepted.remove(at);
        let seen = self.server.carry_out(&call);
        if self.broken.contains(&connection) {
            return;
        }
        let Some((tag, _)) = self.ledger.answered(id, true) else { return };
        self.waiting.remove(&id);
        let page = (call.offset / PAGE) as usize;
        match &call.work {
            Work::Read => assert!(seen >= tag.floor, "page {page}: read {seen}, acknowledged before was {}", tag.floor),
            Work::Write(_) => self.acknowledged[page] = self.acknowledged[page].max(self.server.shown[page]),
            // Everything acknowledged before the flush was submitted must survive.
            Work::Flush => assert!(self.server.durable.iter().sum::<u64>() > 0 || tag.floor == 0),
            _ => {}
        }
    }

    /// The connection ends on our side; the server keeps what it has accepted.
    fn abandon(&mut self, connection: u64) {
        self.broken.insert(connection);
        self.ledger.ended(connection, false);
    }

    fn settle(&mut self, connection: u64) {
        self.server.accepted.retain(|(of, ..)| *of != connection);
        self.server.gone.insert(connection);
        self.broken.remove(&connection);
        self.ledger.settled(connection);
    }

    fn crash(&mut self) {
        self.server.shown = self.server.durable;
        self.server.accepted.clear();
        for connection in self.ledger.live.clone() {
            self.ledger.ended(connection, true);
        }
        for connection in std::mem::take(&mut self.broken) {
            self.ledger.settled(connection);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write(page) => {
                self.stamp += 1;
                self.submit(Call::write(page * PAGE, &self.stamp.to_le_bytes()));
            }
            Step::Read(page) => self.submit(Call::new(Work::Read, page * PAGE, PAGE)),
            Step::Flush => self.submit(Call::new(Work::Flush, 0, 0)),
            Step::GiveUp(choice) => {
                let ids: Vec<u64> = self.waiting.keys().copied().collect();
                if let Some(id) = ids.get(choice % ids.len().max(1)) {
                    self.waiting.remove(id);
                    self.ledger.give_up(*id);
                }
            }
            Step::Open => self.open(),
            Step::Send(choice) => {
                if let Some(connection) = self.live(choice)
                    && let Some((id, call)) = self.ledger.take(connection)
                {
                    self.server.accepted.push((connection, id, call));
                }
            }
            Step::Serve(choice) => self.serve(choice, false),
            Step::ServeLate(choice) => self.serve(choice, true),
            Step::Abandon(choice) => self.live(choice).into_iter().for_each(|connection| self.abandon(connection)),
            Step::Settle(choice) => {
                let broken: Vec<u64> = self.broken.iter().copied().collect();
                broken.get(choice % broken.len().max(1)).into_iter().for_each(|&connection| self.settle(connection));
            }
            Step::Crash => self.crash(),
        }
        self.ledger.check();
    }

    /// Lets everything come to an end, then crashes once more: what was acknowledged must still be there after recovery.
    fn finish(&mut self) {
        for connection in self.broken.clone() {
            self.settle(connection);
        }
        self.open();
        while self.ledger.has_ready() || !self.server.accepted.is_empty() {
            self.step(&Step::Send(0));
            self.step(&Step::Serve(0));
        }
        assert!(self.waiting.is_empty() && self.ledger.jobs.is_empty(), "somebody waits for ever");
        self.crash();
        self.open();
        for page in 0..PAGES as usize {
            assert!(self.server.shown[page] >= self.acknowledged[page], "page {page} went back");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn an_acknowledged_write_is_never_undone(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}

fn opened(can_flush: bool) -> Ledger<u8> {
    let mut ledger = Ledger::new(1000, can_flush);
    assert!(matches!(ledger.opened(1), Duty::Recover { .. }));
    ledger.recovered(1);
    ledger
}

fn write(ledger: &mut Ledger<u8>, offset: u64, fill: u8) {
    ledger.submit(Call::write(offset, &[fill; 8]), 0).unwrap();
    let (id, _) = ledger.take(1).unwrap();
    ledger.answered(id, true).unwrap();
}

#[test]
fn a_write_waits_until_the_old_connection_is_settled() {
    let mut ledger = opened(true);
    ledger.submit(Call::write(0, &[1; 8]), 1).unwrap();
    let (first, _) = ledger.take(1).unwrap();
    ledger.opened(2);
    ledger.ended(1, false);
    ledger.give_up(first);
    ledger.submit(Call::write(4, &[2; 8]), 2).unwrap();
    ledger.submit(Call::write(8, &[3; 8]), 3).unwrap();
    assert_eq!(ledger.take(2), None, "the first write overlaps, the last overlaps what waits");
    ledger.submit(Call::new(Work::Read, 0, 8), 4).unwrap();
    assert!(ledger.take(2).is_some_and(|(_, call)| call.work == Work::Read));
    ledger.settled(1);
    assert!(ledger.take(2).is_some_and(|(_, call)| call.offset == 4));
    assert_eq!(ledger.take(2), None);
}

#[test]
fn an_emptied_server_is_noticed_by_what_was_flushed() {
    let mut ledger = opened(true);
    write(&mut ledger, 0, 7);
    write(&mut ledger, 8, 0);
    ledger.submit(Call::new(Work::Flush, 0, 0), 0).unwrap();
    let (id, _) = ledger.take(1).unwrap();
    write(&mut ledger, 16, 9);
    ledger.answered(id, true);
    ledger.ended(1, true);
    let Duty::Recover { witnesses, replay } = ledger.opened(2) else { panic!() };
    assert!(witnesses.len() == 1 && witnesses[0].recognises(&[7; 8]) && !witnesses[0].recognises(&[0; 8]));
    assert_eq!(replay, [Call::write(16, &[9; 8])], "acknowledged after the flush was sent");
    ledger.submit(Call::new(Work::Read, 0, 8), 42).unwrap();
    assert_eq!(ledger.lost("gone"), [42]);
    assert_eq!(ledger.submit(Call::new(Work::Read, 0, 8), 0), Err("gone".into()));
    ledger.accept_loss();
    assert_eq!(ledger.opened(3), Duty::Recover { witnesses: vec![], replay: vec![] });
}

#[test]
fn memory_for_replay_is_bounded_by_flushes_of_our_own() {
    let mut ledger = opened(true);
    let mut flushes = 0;
    for round in 0..100 {
        write(&mut ledger, round * 8, 1);
        if ledger.jobs.values().any(|job| job.call.work == Work::Flush && job.place == Place::Ready) {
            let (id, call) = ledger.take(1).unwrap();
            assert!(call.work == Work::Flush && ledger.answered(id, true).is_none());
            flushes += 1;
        }
        assert!(ledger.unflushed_bytes() <= 1200);
    }
    assert!(flushes > 5, "{flushes}");
}

#[test]
fn a_failed_flush_of_our_own_is_reported_by_the_next_flush() {
    let mut ledger = opened(true);
    while ledger.ready.is_empty() {
        write(&mut ledger, 0, 1);
    }
    let (id, _) = ledger.take(1).unwrap();
    assert!(ledger.answered(id, false).is_none());
    for failed in [true, false] {
        ledger.submit(Call::new(Work::Flush, 0, 0), 5).unwrap();
        let (id, _) = ledger.take(1).unwrap();
        assert_eq!(ledger.answered(id, true), Some((5, failed)));
    }
}

#[test]
fn without_flush_the_oldest_writes_are_dropped_but_witnessed() {
    let mut ledger = opened(false);
    for round in 0..100 {
        write(&mut ledger, round * 8, 1 + round as u8);
    }
    assert!(ledger.unflushed_bytes() <= 1000 && ledger.witnesses.kept().len() > 10);
}
