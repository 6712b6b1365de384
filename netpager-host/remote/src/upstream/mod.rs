//! A store that is an export of some NBD server: ours, qemu-nbd, nbdkit, or whatever those can reach.
//!
//! | module | what it is |
//! |---|---|
//! | [`ledger`] | the rules: what may be sent, what is sent again, what a flush covers. No I/O |
//! | [`driver`] | keeps connections, recovers after a loss, moves calls and answers |
//! | [`pipe`] | one connection in its transmission phase |
//! | [`dial`] | from an address to a connection |
//! | [`align`] | ranges that are not multiples of the server's block size |
//!
//! What it promises: a call succeeds only if the server acknowledged it; a lost connection is not seen by callers unless
//! it lasts longer than the deadline, and then the call fails with [`StoreError::Unavailable`]; a flush covers every write
//! acknowledged before, also across a restart of the server; a server that comes back without its contents is noticed
//! (see [`ledger`]) and every call fails until [`NbdStore::accept_loss`].
//!
//! What it cannot promise: a server behind a proxy that resets connections while the server goes on with their writes
//! could carry out a write twice, with another one in between.

mod align;
mod call;
mod config;
mod dial;
mod driver;
mod ledger;
mod pipe;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use nbd::client::Session;
use nbd::{NbdError, TransmissionFlags};
use store::{Content, Extent, Space, State, StateExtent, Store, StoreError};

pub use config::{BoxStream, NbdConfig, Secure, Securing, Stream};

use crate::engine::Engine;
use crate::mirror::Replica;
use crate::range::{check, pieces};
use align::Cut;
use call::{Answer, Call, Work};
use driver::{Shared, Trouble};
use pipe::Failure;

/// Zeroing and trimming take as long as the server likes for a range; in steps of this size a deadline means something.
const STEP: u64 = 256 << 20;
/// Larger reads and writes are split, so that several connections share them.
const PAYLOAD: u64 = 4 << 20;

/// See the module's documentation.
pub struct NbdStore {
    shared: Arc<Shared>,
    size: u64,
    /// Taken whole by writes that begin or end inside a block of the server, which read and write that block.
    edges: RwLock<()>,
    _engine: Engine,
}

/// How an upstream is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// The address.
    pub uri: String,
    /// How many connections take requests now.
    pub connections: usize,
    /// How often a connection was made or tried again.
    pub reconnects: u64,
    /// Bytes acknowledged by the server and not yet flushed, kept here to be sent again.
    pub unflushed_bytes: usize,
    /// What went wrong last, empty when connected.
    pub trouble: String,
}

impl NbdStore {
    /// Opens the export. With [`NbdConfig::size`] this does not wait for the server; otherwise it does, up to the deadline.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub fn open(engine: &Engine, config: NbdConfig) -> Result<Self, StoreError> {
        let (deadline, size) = (config.deadline, config.size);
        let shared = Arc::new(Shared::new(config));
        driver::start(&shared, engine.handle());
        let mut store = Self { shared, size: size.unwrap_or(0), edges: RwLock::new(()), _engine: engine.clone() };
        if size.is_none() {
            let export = store.session(Instant::now() + deadline)?.export;
            // A partial block at the end could never be written.
            store.size = export.size / u64::from(export.block.minimum) * u64::from(export.block.minimum);
        }
        Ok(store)
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> UpstreamStatus {
        UpstreamStatus {
            uri: self.shared.config.uri.to_string(),
            connections: self.shared.with(|ledger| ledger.connections()).unwrap_or(0),
            reconnects: self.shared.reconnects.load(Ordering::Relaxed),
            unflushed_bytes: self.shared.with(|ledger| ledger.unflushed_bytes()).unwrap_or(0),
            trouble: self.shared.last_trouble(),
        }
    }

    /// The export as the server described it, waiting for the first connection if need be.
    fn session(&self, deadline: Instant) -> Result<Session, StoreError> {
        let known = *self.shared.session.borrow();
        if let Some(session) = known {
            return Ok(session);
        }
        let mut changed = self.shared.session.subscribe();
        let waited =
            self._engine.run(deadline, async move { Ok(changed.wait_for(Option::is_some).await.is_ok_and(|seen| seen.is_some())) });
        match (waited, *self.shared.session.borrow()) {
            (_, Some(session)) => Ok(session),
            _ => Err(self.unreachable()),
        }
    }

    fn unreachable(&self) -> StoreError {
        let trouble = self.shared.last_trouble();
        let why = if trouble.is_empty() { "no answer within the deadline".into() } else { trouble };
        StoreError::Unavailable(format!("{}: {why}", self.shared.config.uri))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.config.deadline
    }

    /// Makes calls side by side and waits for all of them.
    fn calls(&self, calls: impl IntoIterator<Item = Call>, deadline: Instant) -> Result<Vec<Answer>, StoreError> {
        let mut waiting = Vec::new();
        for call in calls {
            let (sender, receiver) = sync_channel(1);
            let Some(submitted) = self.shared.with(|ledger| ledger.submit(call, sender)) else { return Err(self.unreachable()) };
            waiting.push((submitted.map_err(StoreError::Unavailable)?, receiver));
            self.shared.wake();
        }
        let mut answers = Vec::with_capacity(waiting.len());
        let mut failed = None;
        // All of them, also after one has failed: what the caller gave up must not be left in flight without need.
        for (id, receiver) in waiting {
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left).or_else(|error| {
                if error == RecvTimeoutError::Timeout {
                    self.shared.with(|ledger| ledger.give_up(id));
                    self.shared.wake();
                }
                receiver.try_recv()
            }) {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(trouble)) => failed = failed.or(Some(store_error(trouble))),
                Err(_) => failed = failed.or_else(|| Some(self.unreachable())),
            }
        }
        failed.map_or(Ok(answers), Err)
    }

    /// Reads whole blocks.
    fn read_blocks(&self, offset: u64, buffer: &mut [u8], session: &Session, deadline: Instant) -> Result<(), StoreError> {
        let step = payload(session);
        let calls =
            pieces(offset..offset + buffer.len() as u64, step).map(|piece| Call::new(Work::Read, piece.start, piece.end - piece.start));
        let mut at = 0;
        for answer in self.calls(calls, deadline)? {
            let Answer::Bytes(bytes) = answer else { continue };
            buffer[at..at + bytes.len()].copy_from_slice(&bytes);
            at += bytes.len();
        }
        Ok(())
    }

    fn write_blocks(&self, offset: u64, data: &[u8], session: &Session, deadline: Instant) -> Result<(), StoreError> {
        let calls = pieces(offset..offset + data.len() as u64, payload(session)).map(|piece| {
            let bytes = &data[(piece.start - offset) as usize..(piece.end - offset) as usize];
            Call::write(piece.start, bytes)
        });
        self.calls(calls, deadline).map(drop)
    }

    /// Reads the blocks around `offset..offset + data.len()`, puts `data` in, and writes them back.
    fn write_inside(&self, offset: u64, data: &[u8], session: &Session, deadline: Instant) -> Result<(), StoreError> {
        let outer = Cut::new(offset, data.len() as u64, session.export.block.minimum).outer;
        let mut blocks = vec![0; (outer.end - outer.start) as usize];
        self.read_blocks(outer.start, &mut blocks, session, deadline)?;
        let at = (offset - outer.start) as usize;
        blocks[at..at + data.len()].copy_from_slice(data);
        self.write_blocks(outer.start, &blocks, session, deadline)
    }

    fn zero_blocks(&self, range: std::ops::Range<u64>, reserve: bool, session: &Session, deadline: Instant) -> Result<(), StoreError> {
        if session.export.can(TransmissionFlags::SEND_WRITE_ZEROES) {
            let work = Work::Zeroes { reserve };
            return self
                .calls(pieces(range, STEP).map(|piece| Call::new(work.clone(), piece.start, piece.end - piece.start)), deadline)
                .map(drop);
        }
        let step = payload(session);
        let zeroes = vec![0; step.min(range.end - range.start) as usize];
        for piece in pieces(range, step) {
            self.write_blocks(piece.start, &zeroes[..(piece.end - piece.start) as usize], session, deadline)?;
        }
        Ok(())
    }

    fn writable(&self, deadline: Instant) -> Result<Session, StoreError> {
        let session = self.session(deadline)?;
        match session.export.can(TransmissionFlags::READ_ONLY) {
            true => Err(StoreError::ReadOnly),
            false => Ok(session),
        }
    }

    fn shared_edges(&self) -> std::sync::RwLockReadGuard<'_, ()> {
        self.edges.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn whole_edges(&self) -> std::sync::RwLockWriteGuard<'_, ()> {
        self.edges.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The largest piece to ask for at once: a multiple of the server's block size.
fn payload(session: &Session) -> u64 {
    let block = session.export.block;
    let most = u64::from(block.maximum).min(PAYLOAD.max(u64::from(block.minimum)));
    most / u64::from(block.minimum) * u64::from(block.minimum)
}

fn store_error(trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Lost(why) => StoreError::Unavailable(why),
        Trouble::FlushFailed => StoreError::Io(io::Error::other("the upstream could not flush writes that it had acknowledged")),
        Trouble::Failed(Failure { error, text }) => match error {
            NbdError::NoSpace => {
                StoreError::Io(io::Error::new(io::ErrorKind::StorageFull, format!("the upstream has no space left: {text}")))
            }
            NbdError::NotPermitted => StoreError::ReadOnly,
            NbdError::Shutdown => StoreError::Unavailable("the upstream is shutting down".into()),
            NbdError::NotSupported => StoreError::Io(io::Error::new(io::ErrorKind::Unsupported, text)),
            other => StoreError::Io(io::Error::other(format!("the upstream answered: {other} {text}"))),
        },
    }
}

impl Store for NbdStore {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_immediate(&self) -> bool {
        false
    }

    fn is_zeroing_fast(&self) -> bool {
        let session = *self.shared.session.borrow();
        session.is_some_and(|session| session.export.can(TransmissionFlags::SEND_WRITE_ZEROES))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check(self.size, offset, buffer.len() as u64)?;
        if buffer.is_empty() {
            return Ok(());
        }
        let deadline = self.deadline();
        let session = self.session(deadline)?;
        let cut = Cut::new(offset, buffer.len() as u64, session.export.block.minimum);
        if cut.is_aligned() {
            return self.read_blocks(offset, buffer, &session, deadline);
        }
        let mut blocks = vec![0; (cut.outer.end - cut.outer.start) as usize];
        self.read_blocks(cut.outer.start, &mut blocks, &session, deadline)?;
        let at = (offset - cut.outer.start) as usize;
        buffer.copy_from_slice(&blocks[at..at + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        check(self.size, offset, data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        let deadline = self.deadline();
        let session = self.writable(deadline)?;
        if Cut::new(offset, data.len() as u64, session.export.block.minimum).is_aligned() {
            let _guard = self.shared_edges();
            return self.write_blocks(offset, data, &session, deadline);
        }
        let _guard = self.whole_edges();
        self.write_inside(offset, data, &session, deadline)
    }

    fn flush(&self) -> Result<(), StoreError> {
        let deadline = self.deadline();
        if !self.session(deadline)?.export.can(TransmissionFlags::SEND_FLUSH) {
            return Ok(());
        }
        self.calls([Call::new(Work::Flush, 0, 0)], deadline).map(drop)
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        check(self.size, offset, length)?;
        let deadline = self.deadline();
        let session = self.writable(deadline)?;
        let inner = Cut::new(offset, length, session.export.block.minimum).inner;
        if inner.is_empty() || !session.export.can(TransmissionFlags::SEND_TRIM) {
            return Ok(());
        }
        let _guard = self.shared_edges();
        self.calls(pieces(inner, STEP).map(|piece| Call::new(Work::Trim, piece.start, piece.end - piece.start)), deadline).map(drop)
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        check(self.size, offset, length)?;
        if length == 0 {
            return Ok(());
        }
        let deadline = self.deadline();
        let session = self.writable(deadline)?;
        let cut = Cut::new(offset, length, session.export.block.minimum);
        let reserve = space == Space::Reserve;
        if cut.is_aligned() {
            let _guard = self.shared_edges();
            return self.zero_blocks(cut.inner, reserve, &session, deadline);
        }
        let _guard = self.whole_edges();
        for edge in cut.edges() {
            self.write_inside(edge.start, &vec![0; (edge.end - edge.start) as usize], &session, deadline)?;
        }
        if cut.inner.is_empty() { Ok(()) } else { self.zero_blocks(cut.inner, reserve, &session, deadline) }
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        check(self.size, offset, length)?;
        let deadline = self.deadline();
        let session = self.session(deadline)?;
        let whole = Extent { length, content: Content::Data };
        let outer = Cut::new(offset, length, session.export.block.minimum).outer;
        if session.contexts.is_empty() {
            return Ok(whole);
        }
        let asked = (outer.end - outer.start).min(STEP);
        let answers = self.calls([Call::new(Work::Status, outer.start, asked)], deadline)?;
        let Some(Answer::Extents(extents)) = answers.into_iter().next() else { return Ok(whole) };
        let Some(&(_, first)) = extents.first() else { return Ok(whole) };
        // Servers may cut one extent into several.
        let same: u64 = extents.iter().take_while(|(_, is_hole)| *is_hole == first).map(|(length, _)| length).sum();
        let covered = same.saturating_sub(offset - outer.start).clamp(1, length);
        Ok(Extent { length: covered, content: if first { Content::Hole } else { Content::Data } })
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        let extent = self.extent_at(offset, length)?;
        let state = if extent.content == Content::Data { State::REMOTE } else { State::empty() };
        Ok(StateExtent { length: extent.length, state })
    }
}

impl Replica for NbdStore {
    fn incarnation(&self) -> u64 {
        self.shared.incarnation.load(Ordering::Acquire)
    }

    fn accept_loss(&self) {
        self.shared.with(|ledger| ledger.accept_loss());
        self.shared.wake();
    }
}

impl Drop for NbdStore {
    fn drop(&mut self) {
        self.shared.close();
    }
}
