//! The work list that every destructive operation fills, and that `nucleus` works off until it is empty.
//!
//! What ends may hold what ends with it (a queue of messages with receive rights whose queues ...), so ending is a list of piles
//! that are taken down one item per step: no recursion, no stack that a user can make deep.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use abi::Code;

use crate::Host;
use crate::entry;
use crate::list::List;
use crate::message::{Capability, Message};
use crate::names::Names;
use crate::notice::{self, Event};
use crate::queue::Queue;
use crate::request::Request;
use crate::right::Right;
use crate::wait::Wait;

/// Why a thread is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Its receive ends with this code.
    Receive(Code),
    /// Its receive ends with RCV_TOO_LARGE; a message of this size stays queued.
    TooLarge(u32),
    /// Its blocked send may be tried again (there is room, or the port died). If it won't be, call [`crate::decline_retry`].
    Retry,
}

/// What is to be done.
pub enum Effect<H: Host> {
    /// Wake a thread; it waits no more.
    Wake { waiter: H::Waiter, why: Wake },
    /// Give a message to a thread that waited for it; it waits no more.
    Deliver { waiter: H::Waiter, message: Message<H> },
    /// Send a notification, with [`crate::How::Always`].
    Send(Message<H>),
    /// The last send right to the object's port is gone.
    NoSenders(H::Object),
    /// Memory that nobody will receive.
    Free(H::Memory),
}

/// A pile of things that end.
pub(crate) enum Doomed<H: Host> {
    Queue(Queue<H>),
    Capabilities(Vec<Option<Capability<H>>>),
    Rights(Vec<Right<H>>),
    Receivers(List<Wait<H>>, Code),
    Senders(List<H::Waiter>),
    Requests(List<Request<H>>),
    Space(Names<H>),
}

impl<H: Host> Doomed<H> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.is_empty(),
            Self::Capabilities(list) => list.is_empty(),
            Self::Rights(rights) => rights.is_empty(),
            Self::Receivers(waits, _) => waits.is_empty(),
            Self::Senders(waits) => waits.is_empty(),
            Self::Requests(requests) => requests.is_empty(),
            Self::Space(names) => names.is_empty(),
        }
    }
}

/// The work list.
#[must_use = "work it off with next()"]
pub struct Effects<H: Host> {
    ready: VecDeque<Effect<H>>,
    notices: VecDeque<(Right<H>, Event<H>)>,
    doomed: Vec<Doomed<H>>,
}

impl<H: Host> Default for Effects<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Host> Effects<H> {
    /// An empty list; allocates nothing.
    pub const fn new() -> Self {
        Self { ready: VecDeque::new(), notices: VecDeque::new(), doomed: Vec::new() }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.notices.is_empty() && self.doomed.is_empty()
    }

    /// The next thing to do. Call without locks until there is none; doing it may add more.
    #[allow(clippy::should_implement_trait, reason = "not an iterator: what it gives may fill it again")]
    pub fn next(&mut self) -> Option<Effect<H>> {
        loop {
            if let Some(effect) = self.ready.pop_front() {
                return Some(effect);
            }
            if let Some((to, event)) = self.notices.pop_front() {
                if let Some(message) = notice::message(to, event, self) {
                    return Some(Effect::Send(message));
                }
                continue;
            }
            let mut pile = self.doomed.pop()?;
            let below = self.doomed.len();
            self.take_down(&mut pile);
            // What the item held ends before the rest of the pile: the list stays as long as things are nested, and empty
            // piles don't count.
            if !pile.is_empty() {
                self.doomed.insert(below, pile);
            }
        }
    }

    /// Ends one item of a pile.
    fn take_down(&mut self, pile: &mut Doomed<H>) {
        match pile {
            Doomed::Queue(queue) => queue.pop().into_iter().for_each(|message| message.destroy(self)),
            Doomed::Capabilities(list) => list.pop().flatten().into_iter().for_each(|capability| capability.destroy(self)),
            Doomed::Rights(rights) => rights.pop().into_iter().for_each(|right| right.destroy(self)),
            Doomed::Receivers(waits, code) => {
                let why = Wake::Receive(*code);
                waits.pop().into_iter().for_each(|wait| self.push(Effect::Wake { waiter: wait.waiter, why }));
            }
            Doomed::Senders(waits) => {
                waits.pop().into_iter().for_each(|waiter| self.push(Effect::Wake { waiter, why: Wake::Retry }));
            }
            Doomed::Requests(requests) => {
                requests.pop().into_iter().for_each(|request| self.notify(request.notify, Event::DeadName(request.name)));
            }
            Doomed::Space(names) => names.pop().into_iter().for_each(|(name, entry)| entry::end(name, entry, self)),
        }
    }

    pub(crate) fn push(&mut self, effect: Effect<H>) {
        self.ready.push_back(effect);
    }

    /// Frees memory.
    pub fn free(&mut self, memory: H::Memory) {
        self.push(Effect::Free(memory));
    }

    /// Sends a notification, if the right to do so isn't dead.
    pub(crate) fn notify(&mut self, to: Right<H>, event: Event<H>) {
        self.notices.push_back((to, event));
    }

    /// Ends a right later: for callers that hold a lock.
    pub(crate) fn doom(&mut self, right: Right<H>) {
        self.end(Doomed::Rights(vec![right]));
    }

    pub(crate) fn end(&mut self, pile: Doomed<H>) {
        if !pile.is_empty() {
            self.doomed.push(pile);
        }
    }
}

#[cfg(any(test, feature = "strict"))]
impl<H: Host> Drop for Effects<H> {
    fn drop(&mut self) {
        assert!(self.is_empty() || std::thread::panicking(), "effects were dropped");
    }
}
