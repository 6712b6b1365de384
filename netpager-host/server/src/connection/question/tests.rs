//! What each request does to a store, by a store that only remembers.

use std::sync::Mutex;

use nbd::Framing;
use store::StateExtent;

use super::*;

/// A store that only remembers what it was asked; flushing fails once anything was trimmed.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<&'static str>>,
    is_slow_at_zeroing: bool,
}

impl Recorder {
    fn note(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }
}

impl Store for Recorder {
    fn size(&self) -> u64 {
        4096
    }

    fn is_immediate(&self) -> bool {
        false
    }

    fn is_zeroing_fast(&self) -> bool {
        !self.is_slow_at_zeroing
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
        if self.calls.lock().unwrap().contains(&"trim") { Err(StoreError::Injected) } else { Ok(()) }
    }

    fn trim(&self, _: u64, _: u64) -> Result<(), StoreError> {
        self.note("trim");
        Ok(())
    }

    fn write_zeroes(&self, _: u64, _: u64, space: Space) -> Result<(), StoreError> {
        self.note(if space == Space::Reserve { "reserve" } else { "release" });
        Ok(())
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<store::Extent, StoreError> {
        let content = if (offset / 1024).is_multiple_of(2) { Content::Data } else { Content::Hole };
        Ok(store::Extent { length: length.min(512), content })
    }

    fn state_at(&self, _: u64, length: u64) -> Result<StateExtent, StoreError> {
        Ok(StateExtent { length, state: State::FILE | State::DIRTY })
    }
}

fn question(request: Request, framing: Framing) -> Question {
    Question { reply: Reply::new(framing, 9, request.offset), request }
}

/// The calls a request makes, and its reply without structure.
fn calls(store: Recorder, request: Request) -> (Vec<&'static str>, Vec<u8>) {
    let mut out = Vec::new();
    let _ = question(request, Framing::Simple).answer(&store, &[], &mut out);
    (store.calls.into_inner().unwrap(), out)
}

fn simple(result: Result<(), NbdError>) -> Vec<u8> {
    let (mut out, reply) = (Vec::new(), Reply::new(Framing::Simple, 9, 0));
    match result {
        Ok(()) => reply.done(&mut out),
        Err(error) => reply.error(&mut out, error, ""),
    }
    out
}

#[test]
fn what_must_be_durable_is_flushed_before_it_is_acknowledged() {
    let ok = simple(Ok(()));
    let calls = |request| calls(Recorder::default(), request);
    assert_eq!(calls(Request::write(0, 1)), (vec!["write"], ok.clone()));
    assert_eq!(calls(Request::write(0, 1).with(CommandFlags::FUA)), (vec!["write", "flush"], ok.clone()));
    assert_eq!(calls(Request::write_zeroes(0, 1).with(CommandFlags::FUA)), (vec!["release", "flush"], ok.clone()));
    assert_eq!(calls(Request::write_zeroes(0, 1).with(CommandFlags::NO_HOLE)), (vec!["reserve"], ok.clone()));
    assert_eq!(calls(Request::flush().with(CommandFlags::FUA)), (vec!["flush"], ok));
}

#[test]
fn a_flush_that_fails_fails_the_request() {
    let trim = Request::trim(0, 1).with(CommandFlags::FUA);
    assert_eq!(calls(Recorder::default(), trim), (vec!["trim", "flush"], simple(Err(NbdError::Io))));
}

#[test]
fn zeroes_that_would_be_slow_are_refused_if_they_were_to_be_fast() {
    let slow = || Recorder { is_slow_at_zeroing: true, ..Recorder::default() };
    let fast = Request::write_zeroes(0, 1).with(CommandFlags::FAST_ZERO);
    assert_eq!(calls(slow(), fast), (vec![], simple(Err(NbdError::NotSupported))));
    assert_eq!(calls(slow(), Request::write_zeroes(0, 1)), (vec!["release"], simple(Ok(()))));
    assert_eq!(calls(Recorder::default(), fast), (vec!["release"], simple(Ok(()))));
}

#[test]
fn cache_reads_what_is_there_and_sends_nothing() {
    assert_eq!(calls(Recorder::default(), Request::cache(0, 4096)), (vec!["read"; 4], simple(Ok(()))));
}

#[test]
fn extents_are_joined_and_told_up_to_what_was_asked() {
    let extents = |flags| {
        let question = question(Request::block_status(0, 4096).with(flags), Framing::Structured);
        question.extents(|at, length| look(&Recorder::default(), 0, at, length)).unwrap()
    };
    let hole = AllocationFlags::HOLE | AllocationFlags::ZERO;
    let expected = [0, hole.bits(), 0, hole.bits()].map(|flags| Extent { length: 1024, flags: flags.into() });
    assert_eq!(extents(CommandFlags::empty()), expected);
    assert_eq!(extents(CommandFlags::REQ_ONE), expected[..1]);
    let state = look(&Recorder::default(), 1, 0, 4096).unwrap();
    assert_eq!(state, Extent { length: 4096, flags: (StateFlags::FILE | StateFlags::DIRTY).bits().into() });
}
