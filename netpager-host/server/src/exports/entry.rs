//! One export that exists: its store, and who uses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nbd::{BlockSizes, ExportInfo, TransmissionFlags};
use store::Store;
use tokio::sync::{Notify, watch};

use super::catalogue::Catalogue;
use super::link::{Cut, Link};
use super::make::Made;
use super::throttle::Throttle;
use crate::config::{ExportSpec, Lifetime};

/// How an export came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It stands in the configuration.
    Fixed,
    /// A client or an operator asked for it.
    Made { owner: String, lifetime: Lifetime, since: SystemTime },
}

/// One export.
pub(crate) struct Entry {
    pub(crate) spec: ExportSpec,
    pub(crate) source: Source,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) made: Made,
    users: Mutex<Users>,
    /// Told whenever a user leaves.
    left: Notify,
}

struct Users {
    links: Vec<Arc<Link>>,
    /// Clients that are about to come.
    expected: usize,
    /// Since when there are none.
    idle_since: Instant,
    /// Nobody may come any more.
    is_closed: bool,
}

impl Users {
    fn is_idle(&self) -> bool {
        self.links.is_empty() && self.expected == 0
    }
}

/// Why a client cannot use an export now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// It is being removed.
    Closed,
    /// Another client has it for itself, or would lose it.
    Exclusive,
}

impl Entry {
    pub(super) fn new(spec: ExportSpec, source: Source, made: Made) -> Self {
        let users = Users { links: Vec::new(), expected: 0, idle_since: Instant::now(), is_closed: false };
        Self { spec, source, store: made.store.clone(), made, users: Mutex::new(users), left: Notify::new() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(crate) fn is_fixed(&self) -> bool {
        self.source == Source::Fixed
    }

    /// A sentence for people.
    pub(crate) fn describe(&self) -> String {
        self.spec.description.clone().unwrap_or_else(|| {
            let rights = if self.spec.read_only { ", read-only" } else { "" };
            format!("{} in {}{rights}", self.spec.size, self.made.place)
        })
    }

    /// What a client with these rights is told.
    pub(crate) fn info(&self, is_exclusive: bool, may_write: bool) -> ExportInfo {
        info(&self.spec, is_exclusive, may_write)
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        // Nothing in here can be half done.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.users().links.clone()
    }

    /// Has all its clients end.
    pub(crate) fn pull_all(&self, why: Cut) {
        self.users().links.iter().for_each(|link| link.pull(why));
    }

    /// Pulls the cords of the older connections that an exclusive newcomer replaces; waits until the last of their requests
    /// has ended, so that no write of theirs can follow one of the newcomer's.
    ///
    /// # Errors
    /// Another client has the export, or the old requests do not end within `patience`.
    pub(super) async fn fence(&self, newcomer: &Link, patience: Duration) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            match self.pull_older(newcomer) {
                Err(other) => return Err(format!("the export is used by another client ({other})")),
                Ok(true) => return Ok(()),
                Ok(false) => {}
            }
            if tokio::time::timeout_at(deadline, left).await.is_err() {
                return Err("the last writes of an older connection have not ended; try again later".into());
            }
        }
    }

    /// Whether no older connection is left that stands in the newcomer's way.
    fn pull_older(&self, newcomer: &Link) -> Result<bool, String> {
        let users = self.users();
        let in_the_way = || users.links.iter().filter(|link| newcomer.is_exclusive || link.is_exclusive);
        if let Some(other) = in_the_way().find(|link| link.label != newcomer.label) {
            return Err(other.label.clone());
        }
        in_the_way().for_each(|link| link.pull(Cut::Fenced));
        Ok(in_the_way().next().is_none())
    }

    /// Expects a client: until that is over, the export is not given up, though whoever has it now may leave.
    pub(super) fn expect(self: &Arc<Self>, of: &Arc<Catalogue>) -> Result<Expectation, Busy> {
        let mut users = self.users();
        if users.is_closed {
            return Err(Busy::Closed);
        }
        users.expected += 1;
        Ok(Expectation { entry: self.clone(), catalogue: of.clone() })
    }

    /// Some change of the users is over: if there are none now, the export may have had its time.
    fn settled(self: &Arc<Self>, mut users: MutexGuard<'_, Users>, catalogue: &Catalogue) {
        let is_idle = users.is_idle();
        if is_idle {
            users.idle_since = Instant::now();
        }
        drop(users);
        if is_idle {
            catalogue.someone_left(self);
        }
    }

    /// Seats a client, unless somebody came first who has the export for himself.
    pub(super) fn seat(self: &Arc<Self>, link: Arc<Link>, cord: watch::Receiver<Option<Cut>>, of: &Arc<Catalogue>) -> Result<Seat, Busy> {
        let mut users = self.users();
        if users.is_closed {
            return Err(Busy::Closed);
        }
        if users.links.iter().any(|other| other.is_exclusive || link.is_exclusive) {
            return Err(Busy::Exclusive);
        }
        users.links.push(link.clone());
        drop(users);
        of.count(&link.label, 1);
        let throttle = of.throttle(&link);
        Ok(Seat { entry: self.clone(), link, cord, throttle, catalogue: of.clone() })
    }

    /// Lets nobody in any more, if nobody is in and that since `idle` ago. Says whether.
    pub(super) fn close_if_idle(&self, idle: Duration) -> bool {
        let mut users = self.users();
        let close = users.is_idle() && users.idle_since.elapsed() >= idle;
        users.is_closed |= close;
        close
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.users().is_closed = true;
    }

    /// Waits until everybody has left.
    pub(super) async fn empty(&self) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.users().links.is_empty() {
                return;
            }
            left.await;
        }
    }
}

/// What a client with these rights is told of an export, which need not have been made yet.
pub(super) fn info(spec: &ExportSpec, is_exclusive: bool, may_write: bool) -> ExportInfo {
    let mut flags = TransmissionFlags::HAS_FLAGS
        | TransmissionFlags::SEND_FLUSH
        | TransmissionFlags::SEND_FUA
        | TransmissionFlags::SEND_TRIM
        | TransmissionFlags::SEND_WRITE_ZEROES
        | TransmissionFlags::SEND_FAST_ZERO
        | TransmissionFlags::SEND_DF
        | TransmissionFlags::SEND_CACHE;
    // True of every store here: a write that returned is seen by all, and a flush covers all connections. But one that is
    // exclusive has one connection only: a second one would end the first.
    flags.set(TransmissionFlags::CAN_MULTI_CONN, !is_exclusive);
    flags.set(TransmissionFlags::READ_ONLY, spec.read_only || !may_write);
    let block = BlockSizes { minimum: 1, preferred: store::PAGE_BYTES as u32, maximum: nbd::limits::PAYLOAD_MAX };
    ExportInfo { size: spec.size.0, flags, block }
}

/// A client's place at an export. Dropped when the last of its requests has ended.
pub(crate) struct Seat {
    pub(crate) entry: Arc<Entry>,
    pub(crate) link: Arc<Link>,
    /// Pulled when the connection must end.
    pub(crate) cord: watch::Receiver<Option<Cut>>,
    /// How fast the client may go, if that is limited.
    pub(crate) throttle: Option<Arc<Throttle>>,
    pub(crate) catalogue: Arc<Catalogue>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut users = self.entry.users();
        users.links.retain(|link| !Arc::ptr_eq(link, &self.link));
        self.catalogue.count(&self.link.label, -1);
        self.entry.settled(users, &self.catalogue);
        self.entry.left.notify_waiters();
    }
}

/// A client on its way to a seat.
pub(super) struct Expectation {
    entry: Arc<Entry>,
    catalogue: Arc<Catalogue>,
}

impl Drop for Expectation {
    fn drop(&mut self) {
        let mut users = self.entry.users();
        users.expected -= 1;
        self.entry.settled(users, &self.catalogue);
    }
}
