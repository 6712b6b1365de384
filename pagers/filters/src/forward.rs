//! The methods that a filter leaves to the pager inside, by name.

/// Writes the methods named, each of which calls the same one of `self.inner`.
macro_rules! forward {
    ($($method:ident),* $(,)?) => { $($crate::forward::forward_one!($method);)* };
}

/// Writes one.
macro_rules! forward_one {
    (create) => {
        fn create(&mut self, object: pager::ObjectId, size: u64) -> Result<(), abi::Code> {
            self.inner.create(object, size)
        }
    };
    (init) => {
        fn init(&mut self, object: &pager::Control) -> Option<pager::Attributes> {
            self.inner.init(object)
        }
    };
    (adopt) => {
        fn adopt(&mut self, object: &pager::Control, size: u64) {
            self.inner.adopt(object, size);
        }
    };
    (data_request) => {
        fn data_request(&mut self, object: &pager::Control, run: pager::Run, access: abi::vm::Protection) {
            self.inner.data_request(object, run, access);
        }
    };
    (data_unlock) => {
        fn data_unlock(&mut self, object: &pager::Control, run: pager::Run, access: abi::vm::Protection) {
            self.inner.data_unlock(object, run, access);
        }
    };
    (data_return) => {
        fn data_return(&mut self, object: &pager::Control, run: pager::Run, pages: runtime::Pages, how: pager::Returned) {
            self.inner.data_return(object, run, pages, how);
        }
    };
    (return_request) => {
        fn return_request(&mut self, object: &pager::Control, run: pager::Run) {
            self.inner.return_request(object, run);
        }
    };
    (discard) => {
        fn discard(&mut self, object: &pager::Control, run: pager::Run) {
            self.inner.discard(object, run);
        }
    };
    (device_failed) => {
        fn device_failed(&mut self, object: &pager::Control, run: pager::Run, result: abi::Code) {
            self.inner.device_failed(object, run, result);
        }
    };
    (lock_completed) => {
        fn lock_completed(&mut self, object: &pager::Control, run: pager::Run) {
            self.inner.lock_completed(object, run);
        }
    };
    (supply_completed) => {
        fn supply_completed(&mut self, object: &pager::Control, run: pager::Run, result: abi::Code, error_offset: u64) {
            self.inner.supply_completed(object, run, result, error_offset);
        }
    };
    (terminate) => {
        fn terminate(&mut self, object: &pager::Control) {
            self.inner.terminate(object);
        }
    };
    (gone) => {
        fn gone(&mut self, object: pager::ObjectId) {
            self.inner.gone(object);
        }
    };
    (info) => {
        fn info(&mut self) -> Option<pager::Info> {
            self.inner.info()
        }
    };
    (event) => {
        fn event(&mut self, message: runtime::Received<'_>) {
            self.inner.event(message);
        }
    };
    (deadline) => {
        fn deadline(&self) -> Option<u64> {
            self.inner.deadline()
        }
    };
    (tick) => {
        fn tick(&mut self) {
            self.inner.tick();
        }
    };
}

pub(crate) use {forward, forward_one};
