//! A memory object whose pager is the test itself, message by message.

use abi::call::mach::{memory_object_data_supply, memory_object_ready};
use abi::call::memory_object::{memory_object_data_request, memory_object_init};
use abi::call::pvmach_control::{host_vm_counters, memory_object_set_policy};
use abi::info::VmCounter;
use abi::message::Port;
use abi::policy::ON_DEADLINE_WAIT;
use abi::vm::{CopyStrategy, PAGE_SIZE, Protection};
use abi::{Code, Message};
use runtime::{Pages, ReceiveRight, Receiver, SendRight, port};

use super::harness::{Failure, LONG, Outcome, SHORT, expect, same};
use super::puppet::{Op, Raised, Sandbox};

pub(crate) const PAGES: u64 = 16;
pub(crate) const SIZE: u64 = PAGES * PAGE_SIZE;

/// An object mapped into a sandbox, and its pager's side.
pub(crate) struct Manual {
    pub(crate) sandbox: Sandbox,
    pub(crate) at: u64,
    pub(crate) object: ReceiveRight,
    pub(crate) control: SendRight,
    pub(crate) receiver: Receiver,
}

impl Manual {
    /// Mapped, not ready.
    pub(crate) fn mapped() -> Outcome<Self> {
        let object = port::allocate()?;
        let sandbox = Sandbox::new()?;
        let at = sandbox.space.map(object.send_port(), SIZE, Protection::DEFAULT)?;
        let mut receiver = Receiver::new(512)?;
        let control = {
            let mut message = receiver.receive(object.name(), Some(LONG))?;
            let init: memory_object_init::Request = message.decode()?;
            same("the page size", init.page_size, PAGE_SIZE)?;
            message.claim_send(init.control).ok_or_else(|| Failure::new("no control port"))?
        };
        Ok(Self { sandbox, at, object, control, receiver })
    }

    pub(crate) fn ready() -> Outcome<Self> {
        Self::ready_with(1, 0, ON_DEADLINE_WAIT)
    }

    /// Ready, with runs of so many pages and a deadline.
    pub(crate) fn ready_with(run_pages: u32, deadline_ms: u32, on_deadline: u32) -> Outcome<Self> {
        let manual = Self::mapped()?;
        manual.say(&memory_object_set_policy::Request { flags: 0, run_pages, deadline_ms, on_deadline })?;
        manual.become_ready()?;
        Ok(manual)
    }

    pub(crate) fn become_ready(&self) -> Outcome {
        self.say(&memory_object_ready::Request { may_cache: false, copy_strategy: CopyStrategy::Delay as u32 })
    }

    pub(crate) fn say(&self, message: &impl Message) -> Outcome {
        Ok(self.control.send(message)?)
    }

    /// The next message, which is of this kind.
    pub(crate) fn told<M: Message>(&mut self) -> Outcome<M> {
        let message = self.receiver.receive(self.object.name(), Some(LONG))?;
        if message.id() != M::ID {
            return Err(Failure::new(format_args!("message {} came, not {}", message.id(), M::ID)));
        }
        Ok(message.decode()?)
    }

    /// The next request: its first page and its pages.
    pub(crate) fn asked(&mut self) -> Outcome<(u64, u64)> {
        let request: memory_object_data_request::Request = self.told()?;
        expect(request.offset.is_multiple_of(PAGE_SIZE) && request.length.is_multiple_of(PAGE_SIZE), "a request for parts of pages")?;
        Ok((request.offset / PAGE_SIZE, request.length / PAGE_SIZE))
    }

    pub(crate) fn is_not_told(&mut self) -> Outcome {
        match self.receiver.receive(self.object.name(), Some(SHORT)) {
            Err(Code::RCV_TIMED_OUT) => Ok(()),
            Ok(message) => Err(Failure::new(format_args!("message {} came", message.id()))),
            Err(code) => Err(code.into()),
        }
    }

    /// Supplies pages whose first words are `word`, `word + 1`, …
    pub(crate) fn supply(&self, page: u64, pages: u64, word: u64) -> Outcome {
        self.supply_with(page, pages, word, Port::NULL)
    }

    pub(crate) fn supply_with(&self, page: u64, pages: u64, word: u64, reply_to: Port) -> Outcome {
        let mut memory = Pages::allocate(pages * PAGE_SIZE)?;
        for (bytes, word) in memory.chunks_exact_mut(PAGE_SIZE as usize).zip(word..) {
            bytes[..8].copy_from_slice(&word.to_le_bytes());
        }
        let offset = page * PAGE_SIZE;
        let supply = |data| memory_object_data_supply::Request { offset, data, lock_value: 0, precious: false, reply_to };
        Ok(memory.send(self.control.name(), supply).map_err(|(code, _)| code)?)
    }

    pub(crate) const fn page(&self, page: u64) -> u64 {
        self.at + page * PAGE_SIZE
    }

    /// The puppet begins to load a page's first word; gives what the pager is asked.
    pub(crate) fn touch(&mut self, page: u64) -> Outcome<(u64, u64)> {
        let address = self.page(page);
        self.sandbox.puppet.start(Op::Load, &[(0, address)])?;
        self.asked()
    }

    pub(crate) fn load(&mut self, page: u64) -> Outcome<Result<u64, Raised>> {
        let address = self.page(page);
        self.sandbox.puppet.load(address)
    }

    pub(crate) fn failure(&self, page: u64, code: Code) -> Result<u64, Raised> {
        Err(Raised::bad_access(code, self.page(page)))
    }
}

/// A counter of the VM system.
pub(crate) fn counter(counter: VmCounter) -> Result<u64, Code> {
    let words = SendRight::host_self().call(&host_vm_counters::Request {})?.counters.0;
    words.get(counter as usize * 2).map(|word| u64::from(*word)).ok_or(Code::FAILURE)
}
