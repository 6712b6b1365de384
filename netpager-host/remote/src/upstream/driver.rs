//! Keeps connections to the server, and carries calls from the ledger to it and answers back.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nbd::client::Session;
use nbd::{ExportInfo, TransmissionFlags};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::align::Cut;
use super::call::{Answer, Call, Work};
use super::config::NbdConfig;
use super::dial::{dial, is_fenced};
use super::ledger::{Duty, Ledger};
use super::pipe::{Failure, Finished, Pipe, PipeError};

const BACKOFF_MIN: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_millis(100);
/// How many calls a connection takes before another one gets a chance.
const BATCH: usize = 16;

/// What a caller waits for.
pub(super) type Reply = SyncSender<Result<Answer, Trouble>>;

/// Why a call failed.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The server said so.
    Failed(Failure),
    /// It was done, but writes before it may be lost.
    FlushFailed,
    /// The contents are gone.
    Lost(String),
}

/// What the caller's threads and the runtime's tasks have in common.
pub(super) struct Shared {
    pub(super) config: NbdConfig,
    ledger: Mutex<Option<Ledger<Reply>>>,
    /// The export as it was first seen.
    pub(super) session: watch::Sender<Option<Session>>,
    work: Notify,
    closing: watch::Sender<bool>,
    next_connection: AtomicU64,
    pub(super) incarnation: AtomicU64,
    pub(super) reconnects: AtomicU64,
    trouble: Mutex<String>,
}

impl Shared {
    pub(super) fn new(config: NbdConfig) -> Self {
        Self {
            config,
            ledger: Mutex::new(None),
            session: watch::Sender::new(None),
            work: Notify::new(),
            closing: watch::Sender::new(false),
            next_connection: AtomicU64::new(1),
            incarnation: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            trouble: Mutex::new(String::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ledger<Reply>>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `work` says about the ledger; `None` before the first handshake.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Ledger<Reply>) -> R) -> Option<R> {
        self.lock().as_mut().map(work)
    }

    /// Tells a connection that there may be something to send.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(super) fn last_trouble(&self) -> String {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_trouble(&self, error: &dyn std::fmt::Display) {
        let text = error.to_string();
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            tracing::warn!(upstream = %self.config.uri, "{text}");
            *last = text;
        }
    }

    fn clear_trouble(&self) {
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut *last).is_empty() {
            tracing::info!(upstream = %self.config.uri, "connected again");
        }
    }
}

/// Spawns the first connection; it spawns the others when the server turns out to allow them.
pub(super) fn start(shared: &Arc<Shared>, runtime: &tokio::runtime::Handle) {
    runtime.spawn(keep(shared.clone(), true));
}

fn spawn_another(shared: &Arc<Shared>) {
    tokio::spawn(keep(shared.clone(), false));
}

/// Keeps one connection until the store is dropped.
async fn keep(shared: Arc<Shared>, is_first: bool) {
    let mut closing = shared.closing.subscribe();
    let mut work = std::pin::pin!(connect_for_ever(&shared, is_first));
    tokio::select! {
        _ = closing.wait_for(|&closing| closing) => {}
        () = &mut work => {}
    }
    // A connection in use says good-bye; one that is being made is dropped.
    let _ = timeout(FAREWELL, work).await;
}

async fn connect_for_ever(shared: &Arc<Shared>, mut spawn_others: bool) {
    let mut backoff = BACKOFF_MIN;
    while !*shared.closing.borrow() {
        match dial(&shared.config).await {
            Ok(link) => match admit(shared, link.client.session()) {
                Ok(session) => {
                    if is_fenced(&session) {
                        shared.with(|ledger| ledger.fenced());
                    }
                    if std::mem::take(&mut spawn_others) && session.export.can(TransmissionFlags::CAN_MULTI_CONN) {
                        (1..shared.config.connections).for_each(|_| spawn_another(shared));
                    }
                    if use_link(shared, Pipe::new(link, shared.config.stall)).await {
                        backoff = BACKOFF_MIN;
                    }
                }
                Err(why) => shared.note_trouble(&why),
            },
            Err(error) => shared.note_trouble(&error),
        }
        shared.reconnects.fetch_add(1, Ordering::Relaxed);
        sleep(jittered(backoff)).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Between half of `longest` and all of it, so that many clients do not come back at the same moment.
fn jittered(longest: Duration) -> Duration {
    let half = longest / 2;
    half + half.mul_f64((RandomState::new().hash_one(0) % 1024) as f64 / 1024.0)
}

/// Checks that the export is still what it was when we first saw it, or sees it for the first time.
fn admit(shared: &Shared, session: Option<&Session>) -> Result<Session, String> {
    let session = *session.ok_or("the handshake did not end in a session")?;
    let seen = *shared.session.borrow();
    match seen {
        Some(before) => still_fits(&before.export, &session.export)?,
        None => {
            if let Some(size) = shared.config.size.filter(|&size| size > session.export.size) {
                return Err(format!("the export has {} bytes, but {size} are expected", session.export.size));
            }
            let can_flush = session.export.can(TransmissionFlags::SEND_FLUSH);
            shared.lock().get_or_insert_with(|| Ledger::new(shared.config.unflushed_bytes, can_flush));
            shared.session.send_if_modified(|kept| kept.is_none() && kept.replace(session).is_none());
        }
    }
    Ok(session)
}

fn still_fits(before: &ExportInfo, now: &ExportInfo) -> Result<(), String> {
    if now.size != before.size {
        return Err(format!("the export had {} bytes and has {} now", before.size, now.size));
    }
    let lost = before.flags.difference(now.flags);
    if !lost.is_empty() || now.can(TransmissionFlags::READ_ONLY) != before.can(TransmissionFlags::READ_ONLY) {
        return Err("the export can no longer do what it could before the connection was lost".into());
    }
    if now.block.minimum > before.block.minimum || now.block.maximum < before.block.maximum {
        return Err("the export's block sizes have changed".into());
    }
    Ok(())
}

/// Uses a connection until it ends. True if it was of use.
async fn use_link(shared: &Arc<Shared>, mut pipe: Pipe) -> bool {
    let connection = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    let (served, error) = match begin(shared, &mut pipe, connection).await {
        Ok(true) => {
            shared.clear_trouble();
            (true, serve(shared, &mut pipe, connection).await)
        }
        Ok(false) => return false,
        Err(error) => (false, error),
    };
    if matches!(error, PipeError::Finished) {
        pipe.disconnect().await;
        return served;
    }
    shared.note_trouble(&error);
    let settled = error.is_settled();
    shared.with(|ledger| ledger.ended(connection, settled));
    shared.wake();
    if !settled {
        tokio::spawn(settle(shared.clone(), pipe, connection));
    }
    served
}

/// Waits until the server is through with an abandoned connection.
async fn settle(shared: Arc<Shared>, pipe: Pipe, connection: u64) {
    let quarantine = shared.config.quarantine;
    let began = tokio::time::Instant::now();
    if !timeout(quarantine, pipe.drain()).await.unwrap_or(false) {
        tokio::time::sleep_until(began + quarantine).await;
        tracing::warn!(upstream = %shared.config.uri, "an abandoned connection was not closed by the server; assuming that it is dead");
    }
    shared.with(|ledger| ledger.settled(connection));
    shared.wake();
}

/// Does what must be done before requests flow. False if the contents are lost.
async fn begin(shared: &Shared, pipe: &mut Pipe, connection: u64) -> Result<bool, PipeError> {
    loop {
        match shared.with(|ledger| ledger.opened(connection)) {
            Some(Duty::Serve) => return Ok(true),
            Some(Duty::Recover { witnesses, replay }) => {
                for witness in &witnesses {
                    let blocks = Cut::new(witness.offset, witness.length, pipe.block()).outer;
                    let within = (witness.offset - blocks.start) as usize..(witness.offset + witness.length - blocks.start) as usize;
                    match pipe.call(&Call::new(Work::Read, blocks.start, blocks.end - blocks.start)).await? {
                        Ok(Answer::Bytes(bytes)) if witness.recognises(&bytes[within]) => {}
                        other => {
                            let why = match other {
                                Err(failure) => failure.text,
                                Ok(_) => "they read differently".into(),
                            };
                            return Ok(lost(shared, &format!("flushed bytes at {}: {why}", witness.offset)));
                        }
                    }
                }
                for call in &replay {
                    if let Err(failure) = pipe.call(call).await? {
                        return Ok(lost(shared, &format!("writing again what was not flushed: {} {}", failure.error, failure.text)));
                    }
                }
                if !replay.is_empty() {
                    tracing::info!(upstream = %shared.config.uri, writes = replay.len(), "sent again what was not flushed");
                }
                shared.with(|ledger| ledger.recovered(connection));
                return Ok(true);
            }
            Some(Duty::Wait) if shared.with(|ledger| ledger.loss().is_none()) == Some(true) => {
                let mut finished = Vec::new();
                tokio::select! {
                    ended = pipe.step(&mut finished) => ended?,
                    () = sleep(Duration::from_millis(20)) => {}
                }
            }
            Some(Duty::Wait) | None => return Ok(false),
        }
    }
}

fn lost(shared: &Shared, why: &str) -> bool {
    let text = format!("{} came back without its contents ({why})", shared.config.uri);
    tracing::error!("{text}");
    shared.incarnation.fetch_add(1, Ordering::Relaxed);
    for reply in shared.with(|ledger| ledger.lost(&text)).unwrap_or_default() {
        let _ = reply.try_send(Err(Trouble::Lost(text.clone())));
    }
    false
}

/// Sends what is ready and hands on the answers, until the connection ends.
async fn serve(shared: &Shared, pipe: &mut Pipe, connection: u64) -> PipeError {
    let mut finished = Vec::new();
    let mut closing = shared.closing.subscribe();
    shared.wake();
    loop {
        fill(shared, pipe, connection);
        let has_room = pipe.has_room();
        let stepped = tokio::select! {
            biased;
            stepped = pipe.step(&mut finished) => stepped,
            () = shared.work.notified(), if has_room => Ok(()),
            _ = closing.wait_for(|&closing| closing) => Err(PipeError::Finished),
        };
        for done in finished.drain(..) {
            answer(shared, done);
        }
        if let Err(error) = stepped {
            return error;
        }
    }
}

fn fill(shared: &Shared, pipe: &mut Pipe, connection: u64) {
    for _ in 0..BATCH {
        if !pipe.has_room() {
            break;
        }
        let Some((id, call)) = shared.with(|ledger| ledger.take(connection)).flatten() else { return };
        if let Err(failure) = pipe.send(id, &call) {
            answer(shared, (id, Err(failure)));
        }
    }
    if shared.with(|ledger| ledger.has_ready()) == Some(true) {
        shared.wake();
    }
}

fn answer(shared: &Shared, (id, result): Finished) {
    let Some((reply, flush_failed)) = shared.with(|ledger| ledger.answered(id, result.is_ok())).flatten() else { return };
    let _ = reply.try_send(match result {
        Ok(_) if flush_failed => Err(Trouble::FlushFailed),
        result => result.map_err(Trouble::Failed),
    });
}
