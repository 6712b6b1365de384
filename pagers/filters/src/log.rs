//! Prints what the pager inside is asked.

use abi::Code;
use abi::vm::Protection;
use pager::{Attributes, Control, ObjectId, Pager, Returned, Run};
use runtime::{Pages, println};

use crate::forward::forward;

/// Prints each request, on a line with the pager's name in front.
pub struct Log<P> {
    inner: P,
    name: &'static str,
}

impl<P> Log<P> {
    /// Wraps a pager.
    #[must_use]
    pub const fn new(inner: P, name: &'static str) -> Self {
        Self { inner, name }
    }

    /// The pager inside.
    #[must_use]
    pub const fn inner(&self) -> &P {
        &self.inner
    }

    fn line(&self, object: ObjectId, what: &str, run: Run) {
        println!("{}: object {}: {what} {} pages at {:#x}", self.name, object.0, run.pages(), run.offset());
    }
}

impl<P: Pager> Pager for Log<P> {
    forward!(lock_completed, supply_completed, info, event, deadline, tick);

    fn create(&mut self, object: ObjectId, size: u64) -> Result<(), Code> {
        println!("{}: object {}: created with {size:#x} bytes", self.name, object.0);
        self.inner.create(object, size)
    }

    fn init(&mut self, object: &Control) -> Option<Attributes> {
        println!("{}: object {}: mapped", self.name, object.object().0);
        self.inner.init(object)
    }

    fn adopt(&mut self, object: &Control, size: u64) {
        println!("{}: object {}: adopted with {size:#x} bytes", self.name, object.object().0);
        self.inner.adopt(object, size);
    }

    fn data_request(&mut self, object: &Control, run: Run, access: Protection) {
        self.line(object.object(), "asked for", run);
        self.inner.data_request(object, run, access);
    }

    fn data_unlock(&mut self, object: &Control, run: Run, access: Protection) {
        self.line(object.object(), "asked to unlock", run);
        self.inner.data_unlock(object, run, access);
    }

    fn data_return(&mut self, object: &Control, run: Run, pages: Pages, how: Returned) {
        self.line(object.object(), "given back", run);
        self.inner.data_return(object, run, pages, how);
    }

    fn return_request(&mut self, object: &Control, run: Run) {
        self.line(object.object(), "asked where to put", run);
        self.inner.return_request(object, run);
    }

    fn discard(&mut self, object: &Control, run: Run) {
        self.line(object.object(), "may forget", run);
        self.inner.discard(object, run);
    }

    fn device_failed(&mut self, object: &Control, run: Run, result: Code) {
        self.line(object.object(), "told of a failure with", run);
        self.inner.device_failed(object, run, result);
    }

    fn terminate(&mut self, object: &Control) {
        println!("{}: object {}: terminated", self.name, object.object().0);
        self.inner.terminate(object);
    }

    fn gone(&mut self, object: ObjectId) {
        println!("{}: object {}: gone", self.name, object.0);
        self.inner.gone(object);
    }
}
