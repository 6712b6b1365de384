//! One connection: what the server sent goes in, what is for the server comes out, and in between it is plain.
//!
//! Four buffers, each with a limit, so that neither side of it can make it grow: ciphertext that came, plaintext for the reader, plaintext from the
//! writer, ciphertext to be sent. What is written stays plain until [`Session::flush`] or a record is full: a request's header and its pages
//! are one record then, not two.

use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use thiserror::Error;

use crate::credentials::Credentials;

/// Plaintext of a full record (RFC 8446, 5.1).
pub const RECORD: usize = 16 * 1024;
/// A record as it travels: header, content type, tag, and what a peer may pad.
const SEALED: usize = RECORD + 5 + 256;
/// Ciphertext that may wait for the rest of its record, or for the reader.
const INCOMING_MAX: usize = 2 * SEALED;
/// Plaintext that may wait for the reader.
const PLAIN_MAX: usize = 2 * RECORD;
/// Ciphertext that may wait to be sent, before more is taken.
const OUTGOING_MAX: usize = 4 * SEALED;

/// Why a connection can't go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("TLS: {0}")]
pub struct TlsError(String);

/// A connection.
pub struct Session {
    connection: UnbufferedClientConnection,
    incoming: Queue,
    plain: Queue,
    staged: Vec<u8>,
    outgoing: Queue,
    is_open: bool,
    is_closed: bool,
}

impl Session {
    /// Begins: the first message is there to be sent after [`Session::advance`].
    pub fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        let connection =
            UnbufferedClientConnection::new(credentials.config.clone(), credentials.server.clone()).map_err(|error| failed(&error))?;
        Ok(Self {
            connection,
            incoming: Queue::with_capacity(INCOMING_MAX),
            plain: Queue::with_capacity(PLAIN_MAX),
            staged: Vec::with_capacity(RECORD),
            outgoing: Queue::with_capacity(OUTGOING_MAX),
            is_open: false,
            is_closed: false,
        })
    }

    /// Whether the handshake is over and what is written can be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open && !self.is_closed
    }

    /// The server said that it sends no more. A stream that ends without these words was cut.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes bytes from the server, as many as there is room for.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(INCOMING_MAX.saturating_sub(self.incoming.len()));
        self.incoming.push(&bytes[..count]);
        count
    }

    /// What the server said, in order.
    #[must_use]
    pub fn plain(&self) -> &[u8] {
        self.plain.bytes()
    }

    /// The first bytes of [`Session::plain`] were used.
    pub fn used(&mut self, count: usize) {
        self.plain.drop_front(count);
    }

    /// Takes bytes for the server, as many as there is room for; none before the handshake is over.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        let mut taken = 0;
        while self.is_open() && taken < bytes.len() && self.outgoing.len() < OUTGOING_MAX {
            let count = (bytes.len() - taken).min(RECORD - self.staged.len());
            self.staged.extend_from_slice(&bytes[taken..taken + count]);
            taken += count;
            if self.staged.len() == RECORD {
                self.flush()?;
            }
        }
        Ok(taken)
    }

    /// Seals what was written.
    pub fn flush(&mut self) -> Result<(), TlsError> {
        if !self.staged.is_empty() { self.advance() } else { Ok(()) }
    }

    /// What is to be sent.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.bytes()
    }

    /// The first bytes of [`Session::outgoing`] were sent.
    pub fn sent(&mut self, count: usize) {
        self.outgoing.drop_front(count);
    }

    /// Goes on with what came and what was written, as far as it can. After an error an alert is left to be sent, and nothing else works.
    pub fn advance(&mut self) -> Result<(), TlsError> {
        loop {
            if self.is_closed || self.plain.len() >= PLAIN_MAX {
                return Ok(());
            }
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(self.incoming.bytes_mut());
            let goes_on = match state {
                Ok(state) => step(state, &mut self.plain, &mut self.staged, &mut self.outgoing),
                Err(error) => Err(failed(&error)),
            };
            self.incoming.drop_front(discard);
            match goes_on {
                Ok(Step::Again) => {}
                Ok(Step::Open) => {
                    self.is_open = true;
                    return Ok(());
                }
                Ok(Step::Wait) => return Ok(()),
                Ok(Step::Closed) => {
                    self.is_closed = true;
                    return Ok(());
                }
                Err(error) => {
                    self.is_closed = true;
                    self.last_words();
                    return Err(error);
                }
            }
        }
    }

    /// The alert that tells the server why.
    fn last_words(&mut self) {
        // It is first in line, and asked for once: rustls must not be shown the same bad bytes again.
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = self.connection.process_tls_records(self.incoming.bytes_mut()).state {
            // Without it the server only learns less.
            let _ = encode(&mut data, &mut self.outgoing);
        }
    }
}

// Neither keys nor what is said.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Session");
        shown.field("is_open", &self.is_open).field("is_closed", &self.is_closed);
        shown.field("plain", &self.plain.len()).field("outgoing", &self.outgoing.len()).finish_non_exhaustive()
    }
}

/// What to do after a step.
enum Step {
    Again,
    Wait,
    Open,
    Closed,
}

fn step<D>(state: ConnectionState<'_, '_, D>, plain: &mut Queue, staged: &mut Vec<u8>, outgoing: &mut Queue) -> Result<Step, TlsError> {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                plain.push(record.map_err(|error| failed(&error))?.payload);
            }
            Ok(Step::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => encode(&mut data, outgoing).map(|()| Step::Again),
        ConnectionState::TransmitTlsData(data) => {
            // It is in `outgoing`, and nothing overtakes it there.
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            if !staged.is_empty() {
                seal(|room| traffic.encrypt(staged, room), outgoing)?;
                staged.clear();
            }
            Ok(Step::Open)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Wait),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Closed),
        _ => Err(TlsError(String::from("a state that a client never is in"))),
    }
}

fn encode<D>(data: &mut rustls::unbuffered::EncodeTlsData<'_, D>, outgoing: &mut Queue) -> Result<(), TlsError> {
    let fill = |room: &mut [u8]| match data.encode(room) {
        Err(EncodeError::InsufficientSize(more)) => Err(EncryptError::InsufficientSize(more)),
        Ok(count) => Ok(count),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
    };
    seal(fill, outgoing)
}

/// Puts what `fill` makes at the end of a queue; it is asked twice, since only it knows how long that is.
fn seal(mut fill: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>, outgoing: &mut Queue) -> Result<(), TlsError> {
    let mut wanted = 0;
    for _ in 0..2 {
        match outgoing.append(wanted, &mut fill) {
            Ok(()) => return Ok(()),
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => wanted = required_size,
            Err(error) => return Err(TlsError(error.to_string())),
        }
    }
    Err(TlsError(String::from("a record that doesn't know its length")))
}

fn failed(error: &rustls::Error) -> TlsError {
    TlsError(error.to_string())
}

/// Bytes that are put in at one end and taken from the other.
struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), start: 0 }
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Room at the end comes from what was taken, before it comes from the heap.
    fn compact(&mut self, more: usize) {
        if self.bytes.len() + more > self.bytes.capacity() || self.start == self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.compact(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Lets `fill` write into so many bytes, of which it says how many it used.
    fn append(&mut self, room: usize, fill: &mut impl FnMut(&mut [u8]) -> Result<usize, EncryptError>) -> Result<(), EncryptError> {
        self.compact(room);
        let end = self.bytes.len();
        self.bytes.resize(end + room, 0);
        let result = fill(&mut self.bytes[end..]);
        self.bytes.truncate(end + result.as_ref().map_or(0, |count| (*count).min(room)));
        result.map(drop)
    }

    fn drop_front(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
    }
}
