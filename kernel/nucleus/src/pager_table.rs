//! All memory objects with pagers: by number, by port, and the requests that are out.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

use abi::Code;
use vm::{Home, Object, ObjectRef, PagerId};

use crate::kernel::Kernel;
use crate::kobject::{Effects, Right};
use crate::machine::Machine;
use crate::pager::Pager;
use crate::requests::{Late, Requests};

/// The table.
pub(crate) struct PagerTable<M: Machine> {
    inner: Mutex<Inner<M>>,
    /// The first deadline of a request, or the largest value.
    next: AtomicU64,
}

struct Inner<M: Machine> {
    by_id: BTreeMap<u64, Arc<Pager<M>>>,
    by_port: BTreeMap<u64, u64>,
    /// Of pagers that have a deadline.
    requests: Requests,
    last_id: u64,
}

const NEVER: u64 = u64::MAX;

impl<M: Machine> PagerTable<M> {
    pub(crate) const fn new() -> Self {
        let inner = Inner { by_id: BTreeMap::new(), by_port: BTreeMap::new(), requests: Requests::new(), last_id: 0 };
        Self { inner: Mutex::new(inner), next: AtomicU64::new(NEVER) }
    }

    pub(crate) fn by_id(&self, id: PagerId) -> Option<Arc<Pager<M>>> {
        self.inner.lock().by_id.get(&id.0).cloned()
    }

    fn by_port(&self, port: u64) -> Option<Arc<Pager<M>>> {
        let inner = self.inner.lock();
        inner.by_id.get(inner.by_port.get(&port)?).cloned()
    }

    fn new_id(&self) -> PagerId {
        let mut inner = self.inner.lock();
        inner.last_id += 1;
        PagerId(inner.last_id)
    }

    /// Adds one, unless its port or its number has one already: then that.
    fn add(&self, pager: Arc<Pager<M>>) -> Result<(), Arc<Pager<M>>> {
        let mut inner = self.inner.lock();
        if let Some(known) = inner.by_id.get(inner.by_port.get(&pager.port_id).unwrap_or(&pager.id.0)) {
            return Err(Arc::clone(known));
        }
        inner.by_port.insert(pager.port_id, pager.id.0);
        inner.by_id.insert(pager.id.0, pager);
        Ok(())
    }

    pub(crate) fn remove(&self, pager: &Pager<M>) {
        let mut inner = self.inner.lock();
        let is_it = inner.by_id.get(&pager.id.0).is_some_and(|known| core::ptr::eq(Arc::as_ptr(known), pager));
        if is_it {
            inner.by_id.remove(&pager.id.0);
        }
        if inner.by_port.get(&pager.port_id) == Some(&pager.id.0) {
            inner.by_port.remove(&pager.port_id);
        }
        inner.requests.forget_all(pager.id.0);
    }

    /// The name port of an object with a pager.
    pub(crate) fn name_of(&self, object: &ObjectRef) -> Option<Right<M>> {
        self.by_id(object.pager_id()?).map(|pager| pager.name_right())
    }

    /// Remembers a request that has a deadline.
    pub(crate) fn note(&self, pager: PagerId, first: u64, pages: u64, deadline: Option<u64>) {
        let Some(deadline) = deadline else { return };
        let mut inner = self.inner.lock();
        inner.requests.note(pager.0, first, pages, deadline);
        // Under the lock, as `late` does: it must not put back what it found before.
        self.next.fetch_min(deadline, Ordering::Relaxed);
    }

    /// An answer for these pages came.
    pub(crate) fn forget(&self, pager: PagerId, first: u64, pages: u64) {
        self.inner.lock().requests.forget(pager.0, first, pages);
    }

    /// Takes a request that is late, and its pager.
    pub(crate) fn late(&self, now: u64) -> Option<(Arc<Pager<M>>, Late)> {
        if self.next.load(Ordering::Relaxed) > now {
            return None;
        }
        let mut inner = self.inner.lock();
        while let Some(late) = inner.requests.late(now) {
            if let Some(pager) = inner.by_id.get(&late.object) {
                return Some((Arc::clone(pager), late));
            }
        }
        self.next.store(inner.requests.next_deadline().unwrap_or(NEVER), Ordering::Relaxed);
        None
    }

    /// All memory objects.
    #[cfg(test)]
    pub(crate) fn objects(&self) -> alloc::vec::Vec<Arc<Object>> {
        let homes = self.inner.lock().by_id.values().map(|pager| pager.home.clone()).collect::<alloc::vec::Vec<_>>();
        homes.into_iter().filter_map(|home| if let Home::Object(object) = home { Some(object) } else { None }).collect()
    }

    /// When the next request is late.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        Some(self.next.load(Ordering::Relaxed)).filter(|next| *next != NEVER)
    }
}

impl<M: Machine> Kernel<M> {
    /// The kernel's object for a memory object's port, made and initialized now if there is none. The right is used up.
    pub(crate) fn object_of_port(&self, right: Right<M>) -> Result<ObjectRef, Code> {
        let mut effects = Effects::new();
        let known = right.port().and_then(|port| self.pagers.by_port(port.id()));
        if let Some(Home::Object(object)) = known.map(|pager| pager.home.clone()) {
            right.destroy(&mut effects);
            self.work_off_if_any(effects);
            return Ok(Object::used(&object));
        }
        let Some(hello) = self.hello() else {
            self.end_rights([right]);
            return Err(Code::RESOURCE_SHORTAGE);
        };
        let id = self.pagers.new_id();
        let object = Object::with_pager(self.vm.core(), id);
        let used = Object::used(&object);
        let pager = self.watched_pager(id, Home::Object(object), right)?;
        match self.pagers.add(Arc::clone(&pager)) {
            Ok(()) => {
                self.pager_init(&pager, hello);
                Ok(used)
            }
            // Another CPU was quicker: its object is the one.
            Err(known) => {
                self.unwatch(&pager);
                match &known.home {
                    Home::Object(object) => Ok(Object::used(object)),
                    Home::Swap => Err(Code::INVALID_ARGUMENT),
                }
            }
        }
    }

    /// A memory object that isn't needed after all.
    fn unwatch(&self, pager: &Arc<Pager<M>>) {
        let mut effects = Effects::new();
        pager.close(&mut effects).into_iter().for_each(|right| right.destroy(&mut effects));
        let _ = self.space.deallocate(pager.port_name, &mut effects);
        self.work_off(effects);
    }

    /// A memory object of whose death the kernel hears.
    fn watched_pager(&self, id: PagerId, home: Home, right: Right<M>) -> Result<Arc<Pager<M>>, Code> {
        const DEAD_NAME: i32 = <abi::call::notify::mach_notify_dead_name::Request as abi::Message>::ID;
        let mut effects = Effects::new();
        let kept = right.copy_send();
        let name = match self.space.insert(right, &mut effects) {
            Ok(name) if kept.port().is_some() => name,
            Ok(_) => {
                self.work_off(effects);
                return Err(Code::INVALID_ARGUMENT);
            }
            Err(code) => {
                kept.destroy(&mut effects);
                self.work_off(effects);
                return Err(code);
            }
        };
        let pager = match Pager::new(id, home, kept, name) {
            Ok(pager) => pager,
            Err((code, kept)) => {
                kept.destroy(&mut effects);
                let _ = self.space.deallocate(name, &mut effects);
                self.work_off(effects);
                return Err(code);
            }
        };
        let noted = self.space.request_notification(name, DEAD_NAME, 1, Some(pager.control_once()), &mut effects);
        let result = match noted {
            Ok(previous) => {
                previous.into_iter().for_each(|previous| previous.destroy(&mut effects));
                Ok(pager)
            }
            Err(code) => {
                self.unwatch(&pager);
                Err(code)
            }
        };
        self.work_off(effects);
        result
    }

    /// vm_set_default_memory_manager. The null port only asks. Gives the one there was.
    pub(crate) fn set_default_manager(&self, manager: Right<M>) -> Result<Right<M>, Code> {
        let old = self.default_manager.lock().as_ref().map_or(Right::null(), |right| right.copy_send());
        if manager.port().is_none() {
            return Ok(old);
        }
        // One at a time: what is at the old one would be lost.
        if self.pagers.by_id(PagerId::DEFAULT).is_some() {
            let mut effects = Effects::new();
            manager.destroy(&mut effects);
            old.destroy(&mut effects);
            self.work_off(effects);
            return Err(Code::NO_ACCESS);
        }
        let made = self.creation().ok_or(Code::RESOURCE_SHORTAGE).and_then(|creation| Ok((self.default_object()?, creation)));
        match made {
            Ok(((pager, receive), creation)) => {
                let before = self.default_manager.lock().replace(manager.copy_send());
                self.vm.core().set_default_policy(Some(vm::PagerPolicy::default()));
                self.pager_create(&manager, &pager, receive, creation);
                self.end_rights(before.into_iter().chain([manager]));
                Ok(old)
            }
            Err(code) => {
                self.end_rights([manager, old]);
                Err(code)
            }
        }
    }

    /// The memory object of anonymous memory, and its receive right.
    fn default_object(&self) -> Result<(Arc<Pager<M>>, Right<M>), Code> {
        let receive = ipc::Port::new_receive()?;
        let made = self.watched_pager(PagerId::DEFAULT, Home::Swap, receive.make_send());
        match made.map(|pager| (self.pagers.add(Arc::clone(&pager)), pager)) {
            Ok((Ok(()), pager)) => Ok((pager, receive)),
            Ok((Err(_), pager)) => {
                self.unwatch(&pager);
                self.end_rights([receive]);
                Err(Code::NO_ACCESS)
            }
            Err(code) => {
                self.end_rights([receive]);
                Err(code)
            }
        }
    }
}
