//! What a pager is: a method for each thing that the kernel or a client asks.

use abi::Code;
use abi::vm::{Protection, RETURN_NONE};
use runtime::{Pages, Received};

use crate::{Attributes, Control, Lock, ObjectId, Run};

/// How pages came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// They were written to; else they are precious ones that nobody changed.
    pub dirty: bool,
    /// The kernel keeps them too.
    pub kernel_copy: bool,
    /// First contents of a temporary object: to be ignored for pages that the pager has.
    pub initial: bool,
}

/// What default_pager_info tells, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub total: u64,
    pub free: u64,
}

/// A pager. Only page-ins must be written; the rest has the answer that loses nothing.
pub trait Pager {
    /// A client asks for a new object of so many bytes.
    fn create(&mut self, object: ObjectId, size: u64) -> Result<(), Code> {
        let _ = (object, size);
        Err(Code::MIG_BAD_ID)
    }

    /// The kernel maps an object for the first time. None: the pager will call `Control::ready` itself.
    fn init(&mut self, object: &Control) -> Option<Attributes> {
        let _ = object;
        Some(Attributes::default())
    }

    /// The kernel made an object and gives it to this pager, the default pager: as `init`, but it is ready from the start.
    fn adopt(&mut self, object: &Control, size: u64) {
        let _ = (object, size);
    }

    /// Pages are wanted: each is to be supplied, or said to be unavailable or in error; now or later.
    fn data_request(&mut self, object: &Control, run: Run, access: Protection);

    /// Pages that were supplied with a lock are wanted for more.
    fn data_unlock(&mut self, object: &Control, run: Run, access: Protection) {
        let _ = access;
        object.lock_request(run, Lock { should_return: RETURN_NONE, flush: false, lock: Some(Protection::NONE), tell: false });
    }

    /// Pages come home.
    fn data_return(&mut self, object: &Control, run: Run, pages: Pages, how: Returned);

    /// Dirty pages ask where to go: each is to be sent to a device, asked for as data, or refused.
    fn return_request(&mut self, object: &Control, run: Run) {
        object.return_as_data(run);
    }

    /// Pages are needed no more.
    fn discard(&mut self, object: &Control, run: Run) {
        let _ = (object, run);
    }

    /// A transfer that this pager asked for failed. The default takes it for a page-in, and says so to whoever waits.
    fn device_failed(&mut self, object: &Control, run: Run, result: Code) {
        object.supply_failed(run);
        object.error(run, result);
    }

    /// A lock request is done.
    fn lock_completed(&mut self, object: &Control, run: Run) {
        let _ = (object, run);
    }

    /// A supply is done; on `MEMORY_PRESENT` pages from `error_offset` on were there already.
    fn supply_completed(&mut self, object: &Control, run: Run, result: Code, error_offset: u64) {
        let _ = (object, run, result, error_offset);
    }

    /// The kernel has no use for an object any more. It may be mapped again, unless `gone` follows.
    fn terminate(&mut self, object: &Control) {
        let _ = object;
    }

    /// Nobody can map the object any more.
    fn gone(&mut self, object: ObjectId) {
        let _ = object;
    }

    /// Room, for default_pager_info.
    fn info(&mut self) -> Option<Info> {
        None
    }

    /// A message that isn't about an object: to a port that the pager watches, or to its service port.
    fn event(&mut self, message: Received<'_>) {
        // A failure to answer means that the asker is gone.
        let _ = message.reply_bad_id();
    }

    /// When `tick` is to be called at the latest, in nanoseconds of `runtime::time`.
    fn deadline(&self) -> Option<u64> {
        None
    }

    /// The deadline has come.
    fn tick(&mut self) {}
}
