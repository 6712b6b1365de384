//! One request, one reply: what NBD asks in terms of a store, and what the store says in terms of NBD.
//!
//! Runs on an event loop or on a thread of the pool; it neither waits nor knows of sockets.

use nbd::server::{Extent, Reply};
use nbd::{AllocationFlags, Command, CommandFlags, NbdError, Request, StateFlags};
use store::{Content, Space, State, Store, StoreError};

use crate::exports::CONTEXTS;

/// The most extents told in one reply; a client that wants more asks again.
const EXTENTS_MAX: usize = 4096;
/// CACHE reads this many bytes at a time.
const CACHE_BYTES: usize = 64 * 1024;

/// A request, complete but for the data of a WRITE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) reply: Reply,
    pub(crate) request: Request,
}

/// Why a request was not done.
enum Failure {
    Store(StoreError),
    /// Zeroes that were to be quick would not be.
    NotFast,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Question {
    /// Does what is asked and puts the reply into `out`. `data` is what a WRITE writes.
    pub(crate) fn answer(&self, store: &dyn Store, data: &[u8], out: &mut Vec<u8>) -> Result<(), NbdError> {
        let start = out.len();
        let Err(failure) = self.try_answer(store, data, out) else { return Ok(()) };
        out.truncate(start);
        let (error, text) = match failure {
            Failure::NotFast => (NbdError::NotSupported, "zeroing here is no faster than writing".into()),
            Failure::Store(error) => (code(&error), told(&error)),
        };
        if error == NbdError::Io {
            tracing::warn!("{:?} of {} bytes at {}: {text}", self.request.command, self.request.length, self.request.offset);
        }
        self.reply.error(out, error, &text);
        Err(error)
    }

    fn try_answer(&self, store: &dyn Store, data: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let Request { command, flags, offset, length, .. } = self.request;
        match command {
            Command::Read if self.reply.framing().has_chunks() => return Ok(self.read_chunks(store, out)?),
            Command::Read => {
                self.reply.done(out);
                return Ok(store.append_to(offset, length as usize, out)?);
            }
            Command::BlockStatus => return Ok(self.block_status(store, out)?),
            Command::Write => store.write_at(offset, data)?,
            Command::Flush => store.flush()?,
            Command::Trim => store.trim(offset, length)?,
            Command::WriteZeroes => {
                if flags.contains(CommandFlags::FAST_ZERO) && !store.is_zeroing_fast() {
                    return Err(Failure::NotFast);
                }
                let space = if flags.contains(CommandFlags::NO_HOLE) { Space::Reserve } else { Space::Release };
                store.write_zeroes(offset, length, space)?;
            }
            Command::Cache => cache(store, offset, length)?,
        }
        if flags.contains(CommandFlags::FUA) && command != Command::Flush {
            store.flush()?;
        }
        self.reply.done(out);
        Ok(())
    }

    /// READ in chunks: what is kept is sent, what is not costs a few bytes.
    fn read_chunks(&self, store: &dyn Store, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let whole = self.request.flags.contains(CommandFlags::DF);
        let mut at = self.request.offset;
        let end = at + self.request.length;
        while at < end {
            let (length, content) = match whole {
                true => (end - at, Content::Data),
                false => store.extent_at(at, end - at).map(|extent| (extent.length.min(end - at), extent.content))?,
            };
            let last = at + length == end;
            match content {
                Content::Hole => self.reply.hole(out, at, length as u32, last),
                Content::Data => {
                    self.reply.data(out, at, length as u32, last);
                    store.append_to(at, length as usize, out)?;
                }
            }
            at += length;
        }
        Ok(())
    }

    /// BLOCK_STATUS: one reply for each context asked about.
    fn block_status(&self, store: &dyn Store, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let contexts = self.request.contexts;
        let last = contexts.iter().last();
        for context in contexts.iter() {
            let extents = self.extents(|at, length| look(store, context, at, length))?;
            self.reply.block_status(out, context, &extents, Some(context) == last);
        }
        Ok(())
    }

    /// Extents from the beginning of the range, neighbours of one kind joined.
    fn extents(&self, look: impl Fn(u64, u64) -> Result<Extent, StoreError>) -> Result<Vec<Extent>, StoreError> {
        let count = if self.request.flags.contains(CommandFlags::REQ_ONE) { 1 } else { EXTENTS_MAX };
        let mut at = self.request.offset;
        let end = at + self.request.length;
        let mut extents: Vec<Extent> = Vec::new();
        while at < end {
            let found = look(at, end - at)?;
            let told = extents.len();
            match extents.last_mut() {
                Some(last) if last.flags == found.flags => last.length += found.length,
                _ if told == count => break,
                _ => extents.push(found),
            }
            at += found.length;
        }
        Ok(extents)
    }
}

/// What begins at `at`, in the words of one context.
fn look(store: &dyn Store, context: usize, at: u64, length: u64) -> Result<Extent, StoreError> {
    match CONTEXTS[context] {
        nbd::context::STATE => {
            let found = store.state_at(at, length)?;
            Ok(Extent { length: found.length.min(length), flags: state_flags(found.state).bits().into() })
        }
        _ => {
            let found = store.extent_at(at, length)?;
            let flags = match found.content {
                Content::Data => AllocationFlags::empty(),
                Content::Hole => AllocationFlags::HOLE | AllocationFlags::ZERO,
            };
            Ok(Extent { length: found.length.min(length), flags: flags.bits().into() })
        }
    }
}

fn state_flags(state: State) -> StateFlags {
    let words = [
        (State::RESIDENT, StateFlags::RESIDENT),
        (State::COMPRESSED, StateFlags::COMPRESSED),
        (State::FILE, StateFlags::FILE),
        (State::REMOTE, StateFlags::REMOTE),
        (State::DIRTY, StateFlags::DIRTY),
        (State::RESERVED, StateFlags::RESERVED),
    ];
    words.into_iter().filter(|(of_store, _)| state.contains(*of_store)).map(|(_, on_wire)| on_wire).collect()
}

/// Brings a range closer by reading it: the kernel then has it in memory. What is in memory already is left alone.
fn cache(store: &dyn Store, offset: u64, length: u64) -> Result<(), StoreError> {
    if store.is_immediate() {
        return Ok(());
    }
    let mut buffer = vec![0; CACHE_BYTES.min(length as usize)];
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let extent = store.extent_at(at, end - at)?;
        let count = extent.length.min(end - at).min(buffer.len() as u64);
        match extent.content {
            // There is nothing to bring.
            Content::Hole => at += extent.length,
            Content::Data => {
                store.read_at(at, &mut buffer[..count as usize])?;
                at += count;
            }
        }
    }
    Ok(())
}

fn code(error: &StoreError) -> NbdError {
    match error {
        _ if error.is_out_of_space() => NbdError::NoSpace,
        StoreError::OutOfRange { .. } => NbdError::Invalid,
        StoreError::ReadOnly => NbdError::NotPermitted,
        _ => NbdError::Io,
    }
}

/// An error as a client may see it: the addresses of other servers are none of its business.
fn told(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable(why) => {
            tracing::warn!("a store cannot be reached: {why}");
            "what is behind this export cannot be reached".into()
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
