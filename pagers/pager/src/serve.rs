//! The serve loop: receives, and has messages dispatched until the task ends.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;

use abi::Code;
use abi::message::Port;
use runtime::{PortSet, ReceiveRight, Receiver, bootstrap, port, time};

use crate::objects::{Objects, Origin};
use crate::{ObjectId, Pager, dispatch};

/// Room for the messages of the pager protocol.
const MESSAGE: usize = 1024;
/// The kernel may be quicker than the pager for a while.
const QUEUE_LIMIT: u32 = 16;

/// What the framework counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    pub pages_requested: u64,
    pub returns: u64,
    pub pages_returned: u64,
    pub pages_answered: u64,
    /// Pages that were answered more than once while their request was open.
    pub answered_again: u64,
    /// Pages that were answered and not asked for: read ahead, or answered twice.
    pub unasked: u64,
    /// Answers that the kernel didn't want any more.
    pub unsent: u64,
    /// Messages that made no sense, or for whose contents there was no room.
    pub malformed: u64,
}

/// A pager and its ports.
pub struct Server<P> {
    pub(crate) pager: P,
    pub(crate) ports: Ports,
    receiver: Receiver,
}

/// The ports, which dispatch changes.
pub(crate) struct Ports {
    pub(crate) set: PortSet,
    pub(crate) objects: Objects,
    pub(crate) service: u32,
    pub(crate) tally: Rc<Cell<Tally>>,
}

impl Ports {
    /// A new object of this pager behind a new port.
    pub(crate) fn add(&mut self, origin: Origin, port: ReceiveRight) -> Result<ObjectId, Code> {
        self.set.add(&port)?;
        Ok(self.objects.add(origin, port).id)
    }
}

impl<P: Pager> Server<P> {
    /// Makes the ports.
    pub fn new(pager: P) -> Result<Self, Code> {
        let service = port::allocate()?;
        port::set_queue_limit(service.name(), QUEUE_LIMIT)?;
        let name = service.name();
        let set = port::allocate_set()?;
        let mut ports = Ports { set, objects: Objects::default(), service: name, tally: Rc::default() };
        ports.add(Origin::Service, service)?;
        Ok(Self { pager, ports, receiver: Receiver::new(MESSAGE)? })
    }

    /// The right that others send requests by, or map the service object by.
    #[must_use]
    pub fn service(&self) -> Port {
        Port::make_send(self.ports.service)
    }

    /// Tells the bootstrap task under which name this pager is found.
    pub fn register(&self, name: &str) -> Result<(), Code> {
        bootstrap::register(name, self.service())
    }

    /// Messages to this port come to `Pager::event`.
    pub fn watch(&self, port: &ReceiveRight) -> Result<(), Code> {
        self.ports.set.add(port)
    }

    /// Makes an object, as if a client had asked for it; gives the right to map it by.
    pub fn create(&mut self, size: u64) -> Result<Port, Code> {
        dispatch::create(&mut self.pager, &mut self.ports, size)
    }

    /// The pager.
    #[must_use]
    pub const fn pager(&self) -> &P {
        &self.pager
    }

    /// The pager.
    pub const fn pager_mut(&mut self) -> &mut P {
        &mut self.pager
    }

    /// What was counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.ports.tally.get()
    }

    /// Objects with pages that wait for an answer: how many, and since when.
    #[must_use]
    pub fn unanswered(&self) -> Vec<(ObjectId, u64, u64)> {
        let controls = self.ports.objects.iter().filter_map(|object| object.control.as_ref());
        controls.filter_map(|control| Some((control.object(), control.unanswered() + control.unreturned(), control.oldest_ns()?))).collect()
    }

    /// Serves for ever. Only what makes serving impossible ends it.
    pub fn run(mut self) -> Result<(), Code> {
        loop {
            self.step(None)?;
        }
    }

    /// Waits for one message, but not longer than the pager's deadline or so long, and serves it. False if none came.
    pub fn step(&mut self, longest: Option<Duration>) -> Result<bool, Code> {
        let now = time::now_ns();
        let until_deadline = self.pager.deadline().map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
        let timeout = until_deadline.into_iter().chain(longest).min();
        let came = match self.receiver.receive(self.ports.set.name(), timeout) {
            Ok(message) => {
                dispatch::message(&mut self.pager, &mut self.ports, message);
                true
            }
            Err(Code::RCV_TIMED_OUT) => false,
            Err(code) if runtime::is_damaged(code) => {
                let tally = self.ports.tally.get();
                self.ports.tally.set(Tally { malformed: tally.malformed + 1, ..tally });
                true
            }
            Err(code) => return Err(code),
        };
        if self.pager.deadline().is_some_and(|deadline| deadline <= time::now_ns()) {
            self.pager.tick();
        }
        Ok(came)
    }
}
