//! Works off what changes of ports bring about: wake-ups, notifications, memory that nobody got.

use alloc::vec::Vec;

use ipc::{Effect, How, Sent, Wake};

use crate::kernel::Kernel;
use crate::kobject::{Capability, Effects, Message, Object, Right};
use crate::machine::Machine;
use crate::thread::Delivery;

impl<M: Machine> Kernel<M> {
    /// Does all of it. No lock of this crate is held.
    pub(crate) fn work_off(&self, mut effects: Effects<M>) {
        while let Some(effect) = effects.next() {
            match effect {
                Effect::Wake { waiter, why: Wake::Receive(code) } => self.deliver(&waiter, Delivery::Code(code)),
                Effect::Wake { waiter, why: Wake::TooLarge(size) } => self.deliver(&waiter, Delivery::TooLarge(size)),
                Effect::Wake { waiter, why: Wake::Retry } => self.deliver(&waiter, Delivery::Wake),
                Effect::Deliver { waiter, message } => self.deliver(&waiter, Delivery::Message(message)),
                Effect::Send(message) => self.send_into(message, &mut effects),
                Effect::NoSenders(object) => self.no_senders(&object),
                Effect::Free(memory) => drop(memory),
            }
        }
        self.pagers_step();
    }

    /// Sends a message of the kernel's own.
    pub(crate) fn send(&self, message: Message<M>) {
        let mut effects = Effects::new();
        self.send_into(message, &mut effects);
        self.work_off(effects);
    }

    /// A message of the kernel's own, still without what it carries. None if there is no memory for it: whoever relies on it takes back what it
    /// was about. Sending it needs none.
    pub(crate) fn draft(&self, items: &impl abi::Message) -> Option<Message<M>> {
        #[cfg(test)]
        if crate::fake::memory_fails() {
            return None;
        }
        Message::draft_of(items).ok()
    }

    /// Sends a draft to a right, which is used up.
    pub(crate) fn send_to(&self, to: Right<M>, draft: Message<M>, capabilities: Vec<Option<Capability<M>>>) {
        if to.port().is_some() {
            return self.send(draft.to(to, None, capabilities));
        }
        let mut effects = Effects::new();
        capabilities.into_iter().flatten().for_each(|capability| capability.destroy(&mut effects));
        self.work_off_if_any(effects);
    }

    /// Sends what nobody waits for: without memory it isn't sent.
    pub(crate) fn inform(&self, to: Right<M>, items: &impl abi::Message, capabilities: Vec<Option<Capability<M>>>) {
        let mut effects = Effects::new();
        match self.draft(items) {
            Some(draft) => self.send_to(to, draft, capabilities),
            None => {
                to.destroy(&mut effects);
                capabilities.into_iter().flatten().for_each(|capability| capability.destroy(&mut effects));
            }
        }
        self.work_off_if_any(effects);
    }

    /// Ends rights that nobody needs any more.
    pub(crate) fn end_rights(&self, rights: impl IntoIterator<Item = Right<M>>) {
        let mut effects = Effects::new();
        rights.into_iter().for_each(|right| right.destroy(&mut effects));
        self.work_off_if_any(effects);
    }

    fn send_into(&self, message: Message<M>, effects: &mut Effects<M>) {
        match ipc::send(message, How::Always, effects) {
            Sent::Kernel { object, message } => self.kernel_notified(&object, message, effects),
            Sent::Deliver { waiter, message } => self.deliver(&waiter, Delivery::Message(message)),
            Sent::Queued => (),
            Sent::Full { message, .. } | Sent::Dead(message) | Sent::NoMemory(message) => message.destroy(effects),
        }
    }

    /// The kernel got a notification of its own: a pager's port died.
    fn kernel_notified(&self, object: &Object<M>, message: Message<M>, effects: &mut Effects<M>) {
        const DEAD_NAME: i32 = <abi::call::notify::mach_notify_dead_name::Request as abi::Message>::ID;
        match object {
            Object::Control(pager) if message.header.id == DEAD_NAME => self.pager_port_died(pager),
            // An exception's reply right died unused.
            Object::Thread(thread) => {
                if let Some(code) = Self::reply_code(&message) {
                    self.exception_answered(thread, code);
                }
            }
            _ => (),
        }
        message.consume(effects);
    }

    /// The last send right to a kernel port is gone.
    fn no_senders(&self, object: &Object<M>) {
        if let Object::Net(ring) = object {
            self.ring_closed(ring);
        }
    }
}
