//! Streams that can be made secret: TLS over whatever carries the bytes.
//!
//! A connection begins in the clear, as NBD wants it, and asks for TLS ([`Streams::start_tls`]) when the server has agreed. From then on the same
//! stream carries records, and nothing that was said in the clear is believed any more. What is sent becomes a record when the
//! streams are polled, so that a request and its pages share one.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tls::{Credentials, Session, TlsError};

use crate::stream::{Phase, Streams};

/// Streams with or without TLS.
pub struct Secure<S> {
    streams: S,
    credentials: Option<Credentials>,
    sessions: Vec<Option<Session>>,
    /// Why TLS ended a stream, until the next one.
    troubles: Vec<Option<String>>,
}

impl<S: Streams> Secure<S> {
    /// Wraps streams. Without credentials they stay as they are.
    #[must_use]
    pub fn new(streams: S, credentials: Option<Credentials>) -> Self {
        let count = streams.count();
        Self { streams, credentials, sessions: (0..count).map(|_| None).collect(), troubles: alloc::vec![None; count] }
    }

    /// Those below.
    pub const fn inner(&self) -> &S {
        &self.streams
    }

    fn forget(&mut self, index: usize) {
        self.sessions[index] = None;
        self.troubles[index] = None;
    }

    /// Seals what waits and gives the stream what it takes. True if it took something.
    fn push(&mut self, index: usize) -> bool {
        let Some(session) = &mut self.sessions[index] else { return false };
        let flushed = session.flush();
        let mut sent = 0;
        while !session.outgoing().is_empty() {
            match self.streams.send(index, session.outgoing()) {
                0 => break,
                count => {
                    session.sent(count);
                    sent += count;
                }
            }
        }
        self.note(index, flushed);
        sent > 0
    }

    fn note(&mut self, index: usize, result: Result<(), TlsError>) {
        if let Err(error) = result {
            self.troubles[index].get_or_insert(error.to_string());
        }
    }

    /// Ciphertext that came becomes plaintext, if there is none yet. True if some came.
    fn pull(&mut self, index: usize) -> bool {
        let Some(session) = &mut self.sessions[index] else { return false };
        let came = self.streams.receive(index, &mut |bytes| session.receive(bytes));
        let result = session.advance();
        self.note(index, result);
        // A handshake's answers go at once, and an alert before the end.
        self.push(index);
        came
    }
}

impl<S: Streams> Streams for Secure<S> {
    fn count(&self) -> usize {
        self.streams.count()
    }

    fn phase(&self, index: usize) -> Phase {
        let has_ended = |session: &Session| session.plain().is_empty() && session.is_closed();
        if self.troubles[index].is_some() || self.sessions[index].as_ref().is_some_and(has_ended) {
            return Phase::Closed;
        }
        match &self.sessions[index] {
            Some(session) if !session.plain().is_empty() => Phase::Open,
            _ => self.streams.phase(index),
        }
    }

    fn connect(&mut self, index: usize) {
        self.forget(index);
        self.streams.connect(index);
    }

    fn abort(&mut self, index: usize) {
        self.forget(index);
        self.streams.abort(index);
    }

    fn send(&mut self, index: usize, bytes: &[u8]) -> usize {
        let Some(session) = &mut self.sessions[index] else { return self.streams.send(index, bytes) };
        let written = session.write(bytes);
        match written {
            // It is full: perhaps the stream has room.
            Ok(0) if self.push(index) => self.send(index, bytes),
            Ok(count) => count,
            Err(error) => {
                self.note(index, Err(error));
                0
            }
        }
    }

    fn receive(&mut self, index: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> bool {
        if self.sessions[index].is_none() {
            return self.streams.receive(index, take);
        }
        while self.pull(index) && self.troubles[index].is_none() {
            if self.give(index, take) {
                return true;
            }
        }
        self.give(index, take)
    }

    fn poll(&mut self, now_ns: u64) -> bool {
        let pushed = (0..self.count()).fold(false, |any, index| self.push(index) | any);
        self.streams.poll(now_ns) | pushed
    }

    fn next_poll_ns(&mut self, now_ns: u64) -> Option<u64> {
        self.streams.next_poll_ns(now_ns)
    }

    fn start_tls(&mut self, index: usize) -> bool {
        let Some(credentials) = &self.credentials else { return false };
        match Session::new(credentials) {
            Ok(session) => {
                self.sessions[index] = Some(session);
                self.pull(index);
            }
            Err(error) => self.note(index, Err(error)),
        }
        true
    }

    fn trouble(&mut self, index: usize) -> Option<String> {
        self.troubles[index].clone().or_else(|| self.streams.trouble(index))
    }
}

impl<S> Secure<S> {
    /// Shows plaintext. False if there is none.
    fn give(&mut self, index: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> bool {
        let Some(session) = self.sessions[index].as_mut().filter(|session| !session.plain().is_empty()) else { return false };
        let used = take(session.plain());
        session.used(used);
        true
    }
}
