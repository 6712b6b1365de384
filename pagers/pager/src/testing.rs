//! A pager in a host test: the test is the kernel on the other side of its messages.
//!
//! ```ignore
//! let mut harness = Harness::new(|_| MyPager::default());
//! let object = harness.map_service();
//! harness.request(&object, Run::of_pages(0, 4).unwrap());
//! assert_eq!(harness.answers(&object), [Answer::Unavailable(…)]);
//! ```

use std::time::Duration;
use std::vec::Vec;

use abi::call::mach::Call as MachCall;
use abi::call::memory_object::{
    memory_object_data_request, memory_object_data_return, memory_object_data_unlock, memory_object_init, memory_object_terminate,
};
use abi::call::memory_object_default::memory_object_create;
use abi::call::pvmach::{memory_object_device_failed, memory_object_discard, memory_object_return_request};
use abi::call::pvmach_control::Call as ControlCall;
use abi::vm::{PAGE_SIZE, Protection};
use abi::{Code, Message};
use runtime::fake::{FakeKernel, Installed, Load, PortId, Sent};

use crate::{Pager, Run, Server};

/// A pager, its server, and the kernel under them.
pub struct Harness<P> {
    pub kernel: FakeKernel,
    pub server: Server<P>,
    // The last to go: the server still gives rights back.
    _installed: Installed,
}

/// An object as its kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Where the kernel's messages go.
    pub port: PortId,
    /// Where the pager's answers come.
    pub control: PortId,
    name: PortId,
}

/// What a pager said on an object's control port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Ready { may_cache: bool, copy_strategy: u32 },
    Policy { flags: u32, run_pages: u32, deadline_ms: u32, on_deadline: u32 },
    Supply { offset: u64, bytes: Vec<u8> },
    FromDevice { run: Run, device: PortId, record: u64 },
    Unavailable(Run),
    Error(Run, Code),
    ToDevice { run: Run, device: PortId, record: u64 },
    AsData(Run),
    Refused(Run, Code),
    Lock { run: Run, lock_value: u32 },
    Other(i32),
}

impl<P: Pager> Harness<P> {
    /// Starts a pager.
    pub fn new(make: impl FnOnce(&FakeKernel) -> P) -> Self {
        let (kernel, _installed) = FakeKernel::install();
        let pager = make(&kernel);
        Self { server: Server::new(pager).expect("the fake kernel has ports"), kernel, _installed }
    }

    /// Serves until no message is left.
    pub fn pump(&mut self) {
        while self.server.step(Some(Duration::ZERO)).expect("serving works") {}
    }

    /// The service port.
    #[must_use]
    pub fn service(&self) -> PortId {
        self.kernel.port_of(self.server.service().name).expect("a port")
    }

    /// Maps an object for the first time.
    pub fn map(&mut self, port: PortId) -> Mapped {
        let (control, name) = (self.kernel.outside_port(), self.kernel.outside_port());
        let mut load = Load::default();
        let init = memory_object_init::Request { control: load.send(control), name: load.send(name), page_size: PAGE_SIZE };
        self.kernel.send_with(port, &init, load);
        self.pump();
        Mapped { port, control, name }
    }

    /// Maps the service port's own object.
    pub fn map_service(&mut self) -> Mapped {
        self.map(self.service())
    }

    /// Makes an object as a client does, and maps it.
    pub fn create(&mut self, size: u64) -> Result<Mapped, Code> {
        let object = self.server.create(size)?;
        let port = self.kernel.port_of(object.name).expect("a port");
        Ok(self.map(port))
    }

    /// Gives the pager an object that the kernel made.
    pub fn adopt(&mut self, new_size: u64) -> Mapped {
        let mapped = Mapped { port: self.kernel.port_in_transit(), control: self.kernel.outside_port(), name: self.kernel.outside_port() };
        let mut load = Load::default();
        let create = memory_object_create::Request {
            new_object: load.receive(mapped.port),
            new_size,
            new_control: load.send(mapped.control),
            new_name: load.send(mapped.name),
            new_page_size: PAGE_SIZE,
        };
        self.kernel.send_with(self.service(), &create, load);
        self.pump();
        mapped
    }

    /// Sends a message about an object that carries its control, and serves it.
    pub fn tell<M: Message>(&mut self, object: &Mapped, message: impl FnOnce(abi::message::Port) -> M) {
        let mut load = Load::default();
        let control = load.send(object.control);
        self.kernel.send_with(object.port, &message(control), load);
        self.pump();
    }

    /// Asks for pages.
    pub fn request(&mut self, object: &Mapped, run: Run) {
        self.tell(object, |control| memory_object_data_request::Request {
            control,
            offset: run.offset(),
            length: run.length(),
            desired_access: Protection::READ.bits(),
        });
    }

    /// Asks for more access.
    pub fn unlock(&mut self, object: &Mapped, run: Run, access: Protection) {
        self.tell(object, |control| memory_object_data_unlock::Request {
            control,
            offset: run.offset(),
            length: run.length(),
            desired_access: access.bits(),
        });
    }

    /// Asks where dirty pages go.
    pub fn return_request(&mut self, object: &Mapped, run: Run) {
        self.tell(object, |control| memory_object_return_request::Request { control, offset: run.offset(), length: run.length() });
    }

    /// Says that pages are needed no more.
    pub fn discard(&mut self, object: &Mapped, run: Run) {
        self.tell(object, |control| memory_object_discard::Request { control, offset: run.offset(), length: run.length() });
    }

    /// Says that a transfer failed.
    pub fn device_failed(&mut self, object: &Mapped, run: Run, result: Code) {
        let (offset, length) = (run.offset(), run.length());
        self.tell(object, |control| memory_object_device_failed::Request { control, offset, length, result });
    }

    /// Returns dirty pages.
    pub fn data_return(&mut self, object: &Mapped, offset: u64, bytes: Vec<u8>) {
        let mut load = Load::default();
        let control = load.send(object.control);
        let data = load.memory(bytes);
        let message = memory_object_data_return::Request { control, offset, data, dirty: true, kernel_copy: false };
        self.kernel.send_with(object.port, &message, load);
        self.pump();
    }

    /// Ends the mapping.
    pub fn terminate(&mut self, object: &Mapped) {
        let mut load = Load::default();
        let message = memory_object_terminate::Request { control: load.send(object.control), name: load.send(object.name) };
        self.kernel.send_with(object.port, &message, load);
        self.pump();
    }

    /// All that the pager said about an object since the last time.
    pub fn answers(&mut self, object: &Mapped) -> Vec<Answer> {
        core::iter::from_fn(|| self.kernel.next_sent(object.control)).map(|sent| answer(&sent)).collect()
    }
}

fn run(offset: u64, length: u64) -> Run {
    Run::new(offset, length).expect("a pager answers about whole pages")
}

fn answer(sent: &Sent) -> Answer {
    if let Some(call) = ControlCall::decode(sent.bytes()) {
        return extension_answer(sent, call.expect("a well formed answer"));
    }
    match MachCall::decode(sent.bytes()).map(|call| call.expect("a well formed answer")) {
        Some(MachCall::memory_object_ready(a)) => Answer::Ready { may_cache: a.may_cache, copy_strategy: a.copy_strategy },
        Some(MachCall::memory_object_data_supply(a)) => Answer::Supply { offset: a.offset, bytes: sent.memory(a.data).to_vec() },
        Some(MachCall::memory_object_data_unavailable(a)) => Answer::Unavailable(run(a.offset, a.size)),
        Some(MachCall::memory_object_data_error(a)) => Answer::Error(run(a.offset, a.size), a.error),
        Some(MachCall::memory_object_lock_request(a)) => Answer::Lock { run: run(a.offset, a.size), lock_value: a.lock_value },
        _ => Answer::Other(sent.id()),
    }
}

fn extension_answer(sent: &Sent, call: ControlCall) -> Answer {
    match call {
        ControlCall::memory_object_set_policy(a) => {
            Answer::Policy { flags: a.flags, run_pages: a.run_pages, deadline_ms: a.deadline_ms, on_deadline: a.on_deadline }
        }
        ControlCall::memory_object_supply_from_device(a) => {
            Answer::FromDevice { run: run(a.offset, a.length), device: sent.port(a.device).expect("a device"), record: a.record }
        }
        ControlCall::memory_object_return_to_device(a) => {
            Answer::ToDevice { run: run(a.offset, a.length), device: sent.port(a.device).expect("a device"), record: a.record }
        }
        ControlCall::memory_object_return_as_data(a) => Answer::AsData(run(a.offset, a.length)),
        ControlCall::memory_object_return_refused(a) => Answer::Refused(run(a.offset, a.length), a.error),
        _ => Answer::Other(sent.id()),
    }
}
