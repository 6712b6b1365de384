//! Asked: memory_object_data_request (page's life, step 4: Asked).
//!
//! A memory object at its pager, as the kernel sees it, and what the kernel asks it.
//! Requests have ids (the pages they mark), deadlines, and a policy for what happens then; no thread of the kernel ever waits for a pager.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::{Mutex, Once};

use abi::Code;
use abi::call::memory_object::{memory_object_data_request, memory_object_data_return, memory_object_init, memory_object_terminate};
use abi::call::memory_object_default::memory_object_create;
use abi::call::pvmach::{memory_object_device_failed, memory_object_return_request};
use abi::message::{Memory, Port as PortItem, kind};
use abi::policy::{ON_DEADLINE_ADOPT, ON_DEADLINE_ERROR, ON_DEADLINE_WAIT};
use abi::trace::Step as Life;
use abi::vm::{CopyStrategy, PAGE_SIZE, Protection};
use vm::{Action, Ask, Home, PagerId, PagerPolicy};

use crate::kernel::Kernel;
use crate::kobject::{Capability, Effects, Message, Object, Port, Right};
use crate::machine::Machine;
use crate::out_of_line::OutOfLine;

/// A memory object with its ports.
pub(crate) struct Pager<M: Machine> {
    pub(crate) id: PagerId,
    pub(crate) home: Home,
    control: Once<Port<M>>,
    name: Port<M>,
    /// The name under which the kernel holds the memory object, to hear of its death.
    pub(crate) port_name: u32,
    pub(crate) port_id: u64,
    memory_object: Mutex<Option<Right<M>>>,
    attributes: Mutex<Attributes>,
    pub(crate) is_dead: AtomicBool,
}

/// What the pager said.
#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    ready: bool,
    may_cache: bool,
    strategy: CopyStrategy,
    pub(crate) discards: bool,
    deadline_ms: u32,
    on_deadline: u32,
}

const MAKE: u8 = kind::MOVE_SEND;

impl<M: Machine> Pager<M> {
    /// A memory object of which the kernel holds a send right.
    ///
    /// # Errors
    /// There is no memory; the right comes back.
    pub(crate) fn new(id: PagerId, home: Home, memory_object: Right<M>, port_name: u32) -> Result<Arc<Self>, (Code, Right<M>)> {
        let port_id = memory_object.port().map_or(0, |port| port.id());
        let name = match ipc::Port::new_kernel(Object::Name) {
            Ok(name) => name,
            Err(code) => return Err((code, memory_object)),
        };
        let pager = Arc::new(Self {
            id,
            home,
            control: Once::new(),
            name,
            port_name,
            port_id,
            memory_object: Mutex::new(Some(memory_object)),
            attributes: Mutex::new(Attributes {
                ready: false,
                may_cache: false,
                strategy: CopyStrategy::None,
                discards: false,
                deadline_ms: 0,
                on_deadline: ON_DEADLINE_WAIT,
            }),
            is_dead: AtomicBool::new(false),
        });
        match ipc::Port::new_kernel(Object::Control(Arc::clone(&pager))) {
            Ok(control) => {
                pager.control.call_once(|| control);
                Ok(pager)
            }
            Err(code) => Err((code, pager.memory_object.lock().take().unwrap_or(Right::null()))),
        }
    }

    /// A send right to its control port.
    pub(crate) fn control_right(&self) -> Right<M> {
        self.control.get().map_or(Right::dead(), |port| port.make_send())
    }

    /// A send-once right to its control port, for notifications.
    pub(crate) fn control_once(&self) -> Right<M> {
        self.control.get().map_or(Right::dead(), |port| port.make_send_once())
    }

    /// A send right to its name port.
    pub(crate) fn name_right(&self) -> Right<M> {
        self.name.make_send()
    }

    fn memory_object(&self) -> Right<M> {
        self.memory_object.lock().as_ref().map_or(Right::dead(), |right| right.copy_send())
    }

    pub(crate) fn attributes(&self) -> (bool, bool, CopyStrategy) {
        let attributes = self.attributes.lock();
        (attributes.ready, attributes.may_cache, attributes.strategy)
    }

    pub(crate) fn wants_discards(&self) -> bool {
        self.attributes.lock().discards
    }

    /// When a request that is sent now is late.
    fn deadline(&self, now: u64) -> Option<u64> {
        let milliseconds = self.attributes.lock().deadline_ms;
        (milliseconds > 0).then(|| now + u64::from(milliseconds) * 1_000_000)
    }

    fn on_deadline(&self) -> u32 {
        self.attributes.lock().on_deadline
    }

    /// Ends its ports; gives the rights that the kernel held.
    pub(crate) fn close(&self, effects: &mut Effects<M>) -> Option<Right<M>> {
        if let Some(control) = self.control.get() {
            let _ = control.kill(effects);
        }
        let _ = self.name.kill(effects);
        self.memory_object.lock().take()
    }
}

const fn item(index: u32, kind: u8) -> PortItem {
    PortItem { name: index, kind }
}

impl<M: Machine> Kernel<M> {
    /// What a new object's pager is told first; none if there is no memory for it.
    pub(crate) fn hello(&self) -> Option<Message<M>> {
        self.draft(&memory_object_init::Request { control: item(0, MAKE), name: item(1, MAKE), page_size: PAGE_SIZE })
    }

    /// Says hello to a new object's pager.
    pub(crate) fn pager_init(&self, pager: &Arc<Pager<M>>, hello: Message<M>) {
        let rights = alloc::vec![Some(Capability::Right(pager.control_right())), Some(Capability::Right(pager.name_right()))];
        self.send_to(pager.memory_object(), hello, rights);
    }

    /// What a default pager is told first; none if there is no memory for it.
    pub(crate) fn creation(&self) -> Option<Message<M>> {
        self.draft(&memory_object_create::Request {
            new_object: item(0, kind::MOVE_RECEIVE),
            new_size: 0,
            new_control: item(1, MAKE),
            new_name: item(2, MAKE),
            new_page_size: PAGE_SIZE,
        })
    }

    /// Gives the default pager the object that anonymous memory lives in.
    pub(crate) fn pager_create(&self, manager: &Right<M>, pager: &Arc<Pager<M>>, receive: Right<M>, creation: Message<M>) {
        let rights = [receive, pager.control_right(), pager.name_right()];
        let rights = rights.into_iter().map(|right| Some(Capability::Right(right))).collect();
        self.send_to(manager.copy_send(), creation, rights);
    }

    /// memory_object_data_request. False if there is no memory to send it: the pages are as if nobody had asked.
    pub(crate) fn ask(&self, ask: Ask) -> bool {
        let Some(pager) = self.pagers.by_id(ask.pager) else {
            if ask.pager == PagerId::DEFAULT {
                self.with_wake(|wake| self.vm.request_lost(ask.first, u64::from(ask.pages), Code::MEMORY_ERROR, wake));
            }
            return true;
        };
        self.trace.step(self.machine, Life::Missed, ask.first * PAGE_SIZE);
        let access = if ask.write { Protection::DEFAULT } else { Protection::READ };
        let request = memory_object_data_request::Request {
            control: item(0, MAKE),
            offset: ask.first * PAGE_SIZE,
            length: u64::from(ask.pages) * PAGE_SIZE,
            desired_access: access.bits(),
        };
        let draft = self.draft(&request);
        if draft.is_some() {
            self.pagers.note(pager.id, ask.first, u64::from(ask.pages), pager.deadline(self.machine.now()));
        }
        match draft {
            Some(draft) if !pager.is_dead.load(Ordering::Acquire) => {
                self.trace.step(self.machine, Life::Asked, request.offset);
                self.send_to(pager.memory_object(), draft, alloc::vec![Some(Capability::Right(pager.control_right()))]);
                self.trace.step(self.machine, Life::Carried, request.offset);
                true
            }
            unsent => {
                let pages = u64::from(ask.pages);
                self.with_wake(|wake| match (&unsent, &pager.home) {
                    (Some(_), Home::Swap) => self.vm.request_lost(ask.first, pages, Code::MEMORY_ERROR, wake),
                    _ => self.vm.forget_request(&pager.home, ask.first, pages, wake),
                });
                unsent.is_some()
            }
        }
    }

    /// An answer came: runs the engine, which wakes who waited.
    pub(crate) fn answered(&self, pager: &Arc<Pager<M>>, first: u64, pages: u64, engine: impl FnOnce(vm::Wake<'_>)) {
        self.pagers.forget(pager.id, first, pages);
        self.with_wake(engine);
    }

    /// The pager behind a home, unless it ended.
    fn live_pager(&self, home: &Home) -> Option<Arc<Pager<M>>> {
        self.pagers.by_id(home.pager()).filter(|pager| !pager.is_dead.load(Ordering::Acquire))
    }

    /// Does what page-out decided. Pages of which the pager can't be told stay.
    pub(crate) fn act(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Request { home, first, pages } => {
                    self.trace.step(self.machine, Life::Returned, first * PAGE_SIZE);
                    let request = memory_object_return_request::Request {
                        control: item(0, MAKE),
                        offset: first * PAGE_SIZE,
                        length: u64::from(pages) * PAGE_SIZE,
                    };
                    match (self.draft(&request), self.live_pager(&home)) {
                        (Some(draft), Some(pager)) => {
                            self.send_to(pager.memory_object(), draft, alloc::vec![Some(Capability::Right(pager.control_right()))]);
                        }
                        _ => self.vm.return_unsent(&home, first, u64::from(pages)),
                    }
                }
                Action::Data { home, first, data } => {
                    let size = data.bytes();
                    self.trace.step(self.machine, Life::Returned, first * PAGE_SIZE);
                    let request = memory_object_data_return::Request {
                        control: item(0, MAKE),
                        offset: first * PAGE_SIZE,
                        data: Memory { address: 1, size, deallocate: true },
                        dirty: true,
                        kernel_copy: false,
                    };
                    let (Some(draft), Some(pager)) = (self.draft(&request), self.live_pager(&home)) else {
                        self.with_wake(|wake| self.vm.data_unsent(&home, first, &data, wake));
                        continue;
                    };
                    self.vm.data_leaves(&home, &data);
                    let memory = Capability::Memory { memory: OutOfLine::whole(data), size };
                    let carried = alloc::vec![Some(Capability::Right(pager.control_right())), Some(memory)];
                    self.send_to(pager.memory_object(), draft, carried);
                    self.with_wake(|wake| self.vm.data_sent(&home, first, size / PAGE_SIZE, wake));
                }
            }
        }
    }

    /// memory_object_ready, or new attributes.
    pub(crate) fn pager_ready(&self, pager: &Arc<Pager<M>>, may_cache: bool, strategy: CopyStrategy) {
        {
            let mut attributes = pager.attributes.lock();
            attributes.ready = true;
            attributes.may_cache = may_cache;
            attributes.strategy = strategy;
        }
        if let Home::Object(object) = &pager.home {
            object.set_ready();
            self.wake_all(object.ready_key());
            if !object.is_used() {
                self.vm.core().object_unused(pager.id);
                self.pagers_step();
            }
        }
    }

    /// memory_object_set_policy.
    pub(crate) fn pager_policy(
        &self,
        pager: &Arc<Pager<M>>,
        policy: PagerPolicy,
        discards: bool,
        deadline_ms: u32,
        on_deadline: u32,
    ) -> Result<(), Code> {
        if on_deadline > ON_DEADLINE_ADOPT || policy.run_pages == 0 {
            return Err(Code::INVALID_ARGUMENT);
        }
        {
            let mut attributes = pager.attributes.lock();
            attributes.discards = discards;
            attributes.deadline_ms = deadline_ms;
            attributes.on_deadline = on_deadline;
        }
        match &pager.home {
            Home::Object(object) => object.set_policy(policy),
            Home::Swap => {
                let run_pages = policy.run_pages.min(abi::policy::RUN_PAGES_MAX);
                self.vm.core().set_default_policy(Some(PagerPolicy { run_pages, ..policy }));
            }
        }
        Ok(())
    }

    /// Requests whose time is up.
    pub(crate) fn run_pager_deadlines(&self) {
        let now = self.machine.now();
        while let Some((pager, late)) = self.pagers.late(now) {
            self.vm.core().count(vm::Counter::Deadlines, 1);
            match pager.on_deadline() {
                ON_DEADLINE_ERROR => {
                    self.with_wake(|wake| self.vm.failed(&pager.home, late.first, late.pages, Code::TIMEDOUT, wake));
                }
                ON_DEADLINE_ADOPT => self.pager_dead(&pager, Code::TIMEDOUT),
                _ => (),
            }
        }
    }

    /// The memory object's port died.
    pub(crate) fn pager_port_died(&self, pager: &Arc<Pager<M>>) {
        self.pager_dead(pager, Code::MEMORY_ERROR);
    }

    /// memory_object_destroy: pending requests fail first, then the ports go.
    pub(crate) fn pager_destroyed(&self, pager: &Arc<Pager<M>>, reason: Code) {
        let code = if reason == Code::SUCCESS { Code::MEMORY_ERROR } else { reason };
        self.pager_dead(pager, code);
    }

    /// It will not answer any more: whoever waits is told, and so is whoever asks later.
    fn pager_dead(&self, pager: &Arc<Pager<M>>, code: Code) {
        if pager.is_dead.swap(true, Ordering::AcqRel) {
            return;
        }
        match &pager.home {
            Home::Object(object) => self.with_wake(|wake| self.vm.pager_died(object, code, wake)),
            Home::Swap => {
                self.print(format_args!("pvmach: the default pager is gone ({code}): what was paged out is lost\n"));
                self.vm.core().set_default_policy(None);
                self.with_wake(|wake| self.vm.default_pager_died(code, wake));
                let manager = self.default_manager.lock().take();
                self.end_rights(manager);
            }
        }
        self.close_pager(pager);
        self.wake_memory_waiters();
    }

    /// The kernel lets go of an object's ports.
    fn close_pager(&self, pager: &Arc<Pager<M>>) {
        let mut effects = Effects::new();
        self.pagers.remove(pager);
        let right = pager.close(&mut effects);
        if let Some(right) = right {
            right.destroy(&mut effects);
        }
        let _ = self.space.deallocate(pager.port_name, &mut effects);
        self.work_off(effects);
    }

    /// Objects that nobody uses any more: their dirty pages go home, then they are terminated. Extents that are empty are discarded.
    pub(crate) fn pagers_step(&self) {
        // What is sent here leads here again: one at a time does it, for all.
        let mut is_short = false;
        while !is_short && self.vm.core().has_chores() && !self.chores.swap(true, Ordering::AcqRel) {
            while let Some(id) = self.vm.core().take_unused() {
                if let Some(pager) = self.pagers.by_id(id)
                    && !self.pager_unused(&pager)
                {
                    // Later, when there is memory to tell it.
                    self.vm.core().object_unused(id);
                    is_short = true;
                    break;
                }
            }
            self.discard_extents();
            self.chores.store(false, Ordering::Release);
        }
    }

    /// Ends an unused object. False if there is no memory to tell its pager.
    fn pager_unused(&self, pager: &Arc<Pager<M>>) -> bool {
        let Home::Object(object) = &pager.home else { return true };
        let (ready, may_cache, strategy) = pager.attributes();
        // What isn't ready yet is looked at when it is.
        if object.is_used() || !ready || may_cache {
            return true;
        }
        let Some(farewell) = self.draft(&memory_object_terminate::Request { control: item(0, MAKE), name: item(1, MAKE) }) else {
            return false;
        };
        if strategy != CopyStrategy::Temporary {
            let mut actions = Vec::new();
            self.vm.clean(object, 0, u64::MAX / PAGE_SIZE, &mut actions);
            // The pager takes what it is offered as data: it will not be asked where any more.
            let as_data = self.vm.as_data(&pager.home, actions);
            self.act(as_data);
        }
        if pager.is_dead.swap(true, Ordering::AcqRel) {
            return true;
        }
        let rights = alloc::vec![Some(Capability::Right(pager.control_right())), Some(Capability::Right(pager.name_right()))];
        self.send_to(pager.memory_object(), farewell, rights);
        self.close_pager(pager);
        true
    }

    fn discard_extents(&self) {
        while let Some(extent) = self.vm.core().take_dead_extent() {
            let pager = self.pagers.by_id(PagerId::DEFAULT).filter(|pager| pager.wants_discards());
            if let Some(pager) = pager {
                let bytes = vm::EXTENT_PAGES * PAGE_SIZE;
                let request = abi::call::pvmach::memory_object_discard::Request {
                    control: item(0, MAKE),
                    offset: u64::from(extent) * bytes,
                    length: bytes,
                };
                // Without it, the pager keeps what nobody reads until something else is written there.
                self.inform(pager.memory_object(), &request, alloc::vec![Some(Capability::Right(pager.control_right()))]);
            }
            self.vm.core().extent_discarded(extent);
        }
    }

    /// A device's transfer for a pager ended in an error. The pages are still the kernel's, or asked for again: the pager only learns why.
    pub(crate) fn tell_device_failed(&self, pager: &Arc<Pager<M>>, first: u64, pages: u64, result: Code) {
        let request =
            memory_object_device_failed::Request { control: item(0, MAKE), offset: first * PAGE_SIZE, length: pages * PAGE_SIZE, result };
        self.inform(pager.memory_object(), &request, alloc::vec![Some(Capability::Right(pager.control_right()))]);
    }
}
