//! One request, one reply: what NBD asks in terms of a store, and what the store says in terms of NBD.
//!
//! Runs on an event loop or on a thread of the pool; it neither waits nor knows of sockets.

use nbd::server::{Extent, put_block_status, put_data_header, put_error, put_hole, put_simple};
use nbd::{AllocationFlags, Command, CommandFlags, NbdError, Request};
use store::{Content, Space, Store, StoreError};

/// The most extents told in one reply; a client that wants more asks again.
const EXTENTS_MAX: usize = 4096;
/// CACHE reads this many bytes at a time.
const CACHE_BYTES: usize = 64 * 1024;

/// A request, complete but for the data of a WRITE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) cookie: u64,
    pub(crate) request: Request,
    pub(crate) structured: bool,
}

impl Question {
    /// Does what is asked and puts the reply into `out`. `data` is what a WRITE writes.
    pub(crate) fn answer(&self, store: &dyn Store, data: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        if let Err(error) = self.try_answer(store, data, out) {
            out.truncate(start);
            if !error.is_out_of_space() {
                tracing::warn!("{:?} of {} bytes at {}: {error}", self.request.command, self.request.length, self.request.offset);
            }
            put_error(out, self.structured, self.cookie, code(&error), &error.to_string());
        }
    }

    fn try_answer(&self, store: &dyn Store, data: &[u8], out: &mut Vec<u8>) -> Result<(), StoreError> {
        let Request { command, flags, offset, length } = self.request;
        match command {
            Command::Read if self.structured => return self.read_chunks(store, out),
            Command::Read => {
                put_simple(out, self.cookie, Ok(()));
                return append(store, offset, length, out);
            }
            Command::BlockStatus => return self.block_status(store, out),
            Command::Write => store.write_at(offset, data)?,
            Command::Flush => store.flush()?,
            Command::Trim => store.trim(offset, length.into())?,
            Command::WriteZeroes => {
                let space = if flags.contains(CommandFlags::NO_HOLE) { Space::Reserve } else { Space::Release };
                store.write_zeroes(offset, length.into(), space)?;
            }
            Command::Cache => cache(store, offset, length)?,
        }
        if flags.contains(CommandFlags::FUA) && command != Command::Flush {
            store.flush()?;
        }
        put_simple(out, self.cookie, Ok(()));
        Ok(())
    }

    /// READ in chunks: what is kept is sent, what is not costs 32 bytes.
    fn read_chunks(&self, store: &dyn Store, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let whole = self.request.flags.contains(CommandFlags::DF);
        let mut at = self.request.offset;
        let end = at + u64::from(self.request.length);
        while at < end {
            let (length, content) = match whole {
                true => (end - at, Content::Data),
                false => store.extent_at(at, end - at).map(|extent| (extent.length, extent.content))?,
            };
            let last = at + length == end;
            match content {
                Content::Hole => put_hole(out, self.cookie, at, length as u32, last),
                Content::Data => {
                    put_data_header(out, self.cookie, at, length as u32, last);
                    append(store, at, length as u32, out)?;
                }
            }
            at += length;
        }
        Ok(())
    }

    fn block_status(&self, store: &dyn Store, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let count = if self.request.flags.contains(CommandFlags::REQ_ONE) { 1 } else { EXTENTS_MAX };
        let mut at = self.request.offset;
        let end = at + u64::from(self.request.length);
        let mut extents = Vec::new();
        while at < end && extents.len() < count {
            let extent = store.extent_at(at, end - at)?;
            let flags = match extent.content {
                Content::Data => AllocationFlags::empty(),
                Content::Hole => AllocationFlags::HOLE | AllocationFlags::ZERO,
            };
            extents.push(Extent { length: extent.length as u32, flags });
            at += extent.length;
        }
        put_block_status(out, self.cookie, &extents);
        Ok(())
    }
}

/// Reads from the store to the end of `out`.
fn append(store: &dyn Store, offset: u64, length: u32, out: &mut Vec<u8>) -> Result<(), StoreError> {
    let start = out.len();
    out.resize(start + length as usize, 0);
    store.read_at(offset, &mut out[start..])
}

/// Brings a range closer by reading it: the kernel then has it in memory. What is in memory already is left alone.
fn cache(store: &dyn Store, offset: u64, length: u32) -> Result<(), StoreError> {
    if store.is_immediate() {
        return Ok(());
    }
    let mut buffer = vec![0; CACHE_BYTES.min(length as usize)];
    let end = offset + u64::from(length);
    let mut at = offset;
    while at < end {
        let count = (end - at).min(buffer.len() as u64);
        store.read_at(at, &mut buffer[..count as usize])?;
        at += count;
    }
    Ok(())
}

fn code(error: &StoreError) -> NbdError {
    match error {
        _ if error.is_out_of_space() => NbdError::NoSpace,
        StoreError::OutOfRange { .. } => NbdError::Invalid,
        _ => NbdError::Io,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A store that only remembers what it was asked; flushing fails once anything was trimmed.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<&'static str>>);

    impl Recorder {
        fn note(&self, call: &'static str) {
            self.0.lock().unwrap().push(call);
        }
    }

    impl Store for Recorder {
        fn size(&self) -> u64 {
            4096
        }

        fn is_immediate(&self) -> bool {
            false
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), StoreError> {
            self.note("read");
            Ok(())
        }

        fn write_at(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
            self.note("write");
            Ok(())
        }

        fn flush(&self) -> Result<(), StoreError> {
            self.note("flush");
            if self.0.lock().unwrap().contains(&"trim") { Err(StoreError::Injected) } else { Ok(()) }
        }

        fn trim(&self, _: u64, _: u64) -> Result<(), StoreError> {
            self.note("trim");
            Ok(())
        }

        fn write_zeroes(&self, _: u64, _: u64, space: Space) -> Result<(), StoreError> {
            self.note(if space == Space::Reserve { "reserve" } else { "release" });
            Ok(())
        }

        fn extent_at(&self, _: u64, length: u64) -> Result<store::Extent, StoreError> {
            Ok(store::Extent { length: length.min(1024), content: Content::Data })
        }
    }

    /// The calls a request makes, and its reply without structure.
    fn calls(request: Request) -> (Vec<&'static str>, Vec<u8>) {
        let (store, mut out) = (Recorder::default(), Vec::new());
        Question { cookie: 9, request, structured: false }.answer(&store, &[], &mut out);
        (store.0.into_inner().unwrap(), out)
    }

    fn simple(result: Result<(), NbdError>) -> Vec<u8> {
        let mut out = Vec::new();
        put_simple(&mut out, 9, result);
        out
    }

    #[test]
    fn what_must_be_durable_is_flushed_before_it_is_acknowledged() {
        let ok = simple(Ok(()));
        assert_eq!(calls(Request::write(0, 1)), (vec!["write"], ok.clone()));
        assert_eq!(calls(Request::write(0, 1).with(CommandFlags::FUA)), (vec!["write", "flush"], ok.clone()));
        assert_eq!(calls(Request::write_zeroes(0, 1).with(CommandFlags::FUA)), (vec!["release", "flush"], ok.clone()));
        assert_eq!(calls(Request::write_zeroes(0, 1).with(CommandFlags::NO_HOLE)), (vec!["reserve"], ok.clone()));
        assert_eq!(calls(Request::flush().with(CommandFlags::FUA)), (vec!["flush"], ok));
    }

    #[test]
    fn a_flush_that_fails_fails_the_request() {
        assert_eq!(calls(Request::trim(0, 1).with(CommandFlags::FUA)), (vec!["trim", "flush"], simple(Err(NbdError::Io))));
    }

    #[test]
    fn cache_reads_and_sends_nothing() {
        assert_eq!(calls(Request::cache(0, 4096)), (vec!["read"], simple(Ok(()))));
    }

    #[test]
    fn extents_are_told_up_to_what_was_asked() {
        let status = |flags| {
            let request = Request { command: Command::BlockStatus, flags, offset: 0, length: 4096 };
            let mut out = Vec::new();
            Question { cookie: 9, request, structured: true }.answer(&Recorder::default(), &[], &mut out);
            (out.len() - 20 - 4) / 8
        };
        assert_eq!((status(CommandFlags::empty()), status(CommandFlags::REQ_ONE)), (4, 1));
    }
}
