//! All connections there are, and the sums of those there were.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::cells::Cells;
use super::{Recorder, Totals};

/// Pairs of export and client that are told apart once their connections are gone. Whoever could make up clients without end
/// must not fill our memory with their names, nor Prometheus'.
const SERIES_MAX: usize = 2048;
/// Connections remembered for the sampler once they have ended; those beyond are missing in one sample, and in no sum.
const LEAVERS_MAX: usize = 4096;
/// What clients beyond that are called.
const OTHERS: &str = "(others)";

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// The export it has chosen.
    pub export: String,
    /// Its address, with port.
    pub peer: String,
    /// Who it has proved to be, if it did.
    pub identity: Option<String>,
    /// In a few words: `TLS 1.3`, `Unix socket`, `plain`.
    pub transport: String,
    /// What was negotiated, in a few words: `extended headers`, `structured replies`, `simple replies`.
    pub protocol: String,
}

impl ClientInfo {
    /// What the client is called where connections are not told apart: its identity, or else its address without the port,
    /// since a name that changes with every connection is no use in a time series.
    fn series(&self) -> String {
        match &self.identity {
            Some(identity) => identity.clone(),
            None => self.peer.parse::<std::net::SocketAddr>().map_or_else(|_| self.peer.clone(), |address| address.ip().to_string()),
        }
    }
}

/// An export and a client of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The export's name.
    pub export: String,
    /// The client's identity or address.
    pub client: String,
}

/// What was and is done by all connections of a [`SeriesKey`].
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The sums.
    pub totals: Totals,
    /// Connections that are open.
    pub connections: u64,
    /// Their requests that are not answered.
    pub in_flight: u64,
}

/// An open connection as it is now.
#[derive(Clone, Debug)]
pub struct ClientTotals {
    /// Its number.
    pub id: u64,
    /// Who it is.
    pub info: Arc<ClientInfo>,
    /// Since when.
    pub since: SystemTime,
    /// What it has done.
    pub totals: Totals,
    /// Requests that are not answered.
    pub in_flight: u64,
}

#[derive(Clone, Debug)]
struct Live {
    info: Arc<ClientInfo>,
    since: SystemTime,
    cells: Arc<Cells>,
}

#[derive(Debug, Default)]
struct Books {
    live: BTreeMap<u64, Live>,
    /// Sums are shared with whoever is looking at them, who must not hold up the connections that come and go.
    retired: HashMap<SeriesKey, Arc<Totals>>,
    /// Connections that ended since the last [`Registry::glance`].
    leavers: Vec<(u64, Live)>,
}

/// The books, which registry and recorders share. Locked when connections come and go and when somebody looks.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Books>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Books> {
        // Nothing in here can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn retire(&self, id: u64) {
        let mut books = self.lock();
        let Some(live) = books.live.remove(&id) else { return };
        let mut key = SeriesKey { export: live.info.export.clone(), client: live.info.series() };
        if books.retired.len() >= SERIES_MAX && !books.retired.contains_key(&key) {
            key.client = OTHERS.into();
        }
        live.cells.add_to(Arc::make_mut(books.retired.entry(key).or_default()));
        if books.leavers.len() < LEAVERS_MAX {
            books.leavers.push((id, live));
        }
    }
}

/// All connections of the service, and what became of those that are gone.
#[derive(Debug, Default)]
pub struct Registry {
    shelf: Arc<Shelf>,
    next: AtomicU64,
}

impl Registry {
    /// A client has chosen an export. Numbers are never given twice.
    pub fn connect(&self, info: ClientInfo) -> Recorder {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let cells = Arc::new(Cells::default());
        let live = Live { info: Arc::new(info), since: SystemTime::now(), cells: cells.clone() };
        self.shelf.lock().live.insert(id, live);
        Recorder::new(id, cells, self.shelf.clone())
    }

    /// An export is no more: neither are the sums of the clients it had.
    pub fn forget(&self, export: &str) {
        self.shelf.lock().retired.retain(|key, _| key.export != export);
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shelf.lock().live.len()
    }

    /// All open connections, in the order they came.
    #[must_use]
    pub fn clients(&self) -> Vec<ClientTotals> {
        let live = self.shelf.lock().live.clone();
        let client = |(id, live): (u64, Live)| ClientTotals {
            id,
            totals: live.totals(),
            in_flight: live.cells.in_flight(),
            info: live.info,
            since: live.since,
        };
        live.into_iter().map(client).collect()
    }

    /// Sums by export and client, of open connections and closed ones.
    #[must_use]
    pub fn series(&self) -> BTreeMap<SeriesKey, Series> {
        // A connection that closes between the two readings must not be missed, nor counted twice: one lock for both.
        let (live, retired) = {
            let books = self.shelf.lock();
            (books.live.clone(), books.retired.clone())
        };
        let mut all: BTreeMap<SeriesKey, Series> =
            retired.into_iter().map(|(key, totals)| (key, Series { totals: (*totals).clone(), ..Series::default() })).collect();
        for live in live.values() {
            let mut key = SeriesKey { export: live.info.export.clone(), client: live.info.series() };
            if all.len() >= SERIES_MAX && !all.contains_key(&key) {
                key.client = OTHERS.into();
            }
            let series = all.entry(key).or_default();
            live.cells.add_to(&mut series.totals);
            series.connections += 1;
            series.in_flight += live.cells.in_flight();
        }
        all
    }

    /// All open connections and those that ended since the last glance, without adding anything up.
    pub(crate) fn glance(&self) -> Vec<Glance> {
        let (live, leavers) = {
            let mut books = self.shelf.lock();
            (books.live.clone(), std::mem::take(&mut books.leavers))
        };
        let glance = |open: bool| move |(id, live): (u64, Live)| Glance { id, open, live };
        live.into_iter().map(glance(true)).chain(leavers.into_iter().map(glance(false))).collect()
    }
}

impl Live {
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.cells.add_to(&mut totals);
        totals
    }
}

/// A connection that can be asked for its sums, or not.
pub(crate) struct Glance {
    pub(crate) id: u64,
    /// Not one that has ended.
    pub(crate) open: bool,
    live: Live,
}

impl Glance {
    pub(crate) fn info(&self) -> &Arc<ClientInfo> {
        &self.live.info
    }

    pub(crate) fn since(&self) -> SystemTime {
        self.live.since
    }

    /// How many requests ended: when that stays the same, so do the sums.
    pub(crate) fn finished(&self) -> u64 {
        self.live.cells.finished()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.live.cells.in_flight()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.live.totals()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Command, Outcome};

    fn client(export: &str, peer: &str) -> ClientInfo {
        ClientInfo { export: export.into(), peer: peer.into(), ..ClientInfo::default() }
    }

    fn sums(registry: &Registry) -> Vec<(String, u64, u64)> {
        registry.series().into_iter().map(|(key, series)| (key.client, series.totals.requests(), series.connections)).collect()
    }

    #[test]
    fn what_a_connection_did_outlives_it() {
        let registry = Registry::default();
        let (mut one, mut two) = (registry.connect(client("a", "10.0.0.1:5")), registry.connect(client("a", "10.0.0.1:6")));
        one.begin();
        one.finish(Command::Read, Outcome::Ok, 4096, Duration::from_micros(10));
        two.begin();
        assert_eq!(sums(&registry), [("10.0.0.1".into(), 1, 2)]);
        assert_eq!(registry.clients().iter().map(|client| client.in_flight).collect::<Vec<_>>(), [0, 1]);
        drop(one);
        two.finish(Command::Write, Outcome::NoSpace, 0, Duration::from_micros(10));
        assert_eq!(sums(&registry), [("10.0.0.1".into(), 2, 1)]);
        drop(two);
        assert_eq!(sums(&registry), [("10.0.0.1".into(), 2, 0)]);
        registry.forget("a");
        assert_eq!(sums(&registry), []);
    }

    #[test]
    fn an_identity_goes_before_an_address() {
        let info = ClientInfo { identity: Some("guest-a".into()), ..client("a", "10.0.0.1:5") };
        assert_eq!(info.series(), "guest-a");
        assert_eq!(client("a", "/run/x.sock").series(), "/run/x.sock");
    }

    #[test]
    fn clients_without_end_are_counted_together() {
        let registry = Registry::default();
        for number in 0..SERIES_MAX + 10 {
            let mut recorder = registry.connect(client("a", &format!("peer {number}")));
            recorder.finish(Command::Flush, Outcome::Ok, 0, Duration::ZERO);
        }
        let sums = sums(&registry);
        assert_eq!(sums.len(), SERIES_MAX + 1);
        assert_eq!(sums.iter().map(|(_, requests, _)| *requests).sum::<u64>(), SERIES_MAX as u64 + 10);
        assert_eq!(sums.iter().find(|(client, ..)| client == OTHERS).unwrap().1, 10);
    }

    #[test]
    fn a_connection_that_ended_is_glanced_at_once_more() {
        let registry = Registry::default();
        let mut recorder = registry.connect(client("a", "x"));
        recorder.finish(Command::Trim, Outcome::Ok, 4096, Duration::ZERO);
        drop(recorder);
        let glances = registry.glance();
        assert_eq!((glances.len(), glances[0].open, glances[0].totals().bytes(Command::Trim)), (1, false, 4096));
        assert!(registry.glance().is_empty());
    }
}
