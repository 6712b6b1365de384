//! An entry of an address map: a range, what it shows, and with which rights.

use alloc::sync::Arc;

use abi::vm::{Inherit, PAGE_SIZE, Protection};

use crate::core_state::Core;
use crate::object::{Object, ObjectRef};

/// An entry; its start is its key in the map.
#[derive(Clone)]
pub struct Entry {
    pub(crate) end: u64,
    /// Anonymous memory has no object before the first touch.
    pub(crate) object: Option<ObjectRef>,
    /// Byte offset in the object of the entry's start.
    pub(crate) offset: u64,
    pub(crate) protection: Protection,
    pub(crate) max_protection: Protection,
    pub(crate) inherit: Inherit,
    /// How often it was wired.
    pub(crate) wired: u16,
}

impl Entry {
    /// Its object, made now if it had none.
    pub(crate) fn object_or_new(&mut self, core: &'static Core) -> &ObjectRef {
        self.object.get_or_insert_with(|| Object::anonymous(core))
    }

    /// The part from `at` on, which the entry loses.
    pub(crate) fn split_off(&mut self, start: u64, at: u64) -> Self {
        let tail = Self { offset: self.offset + (at - start), ..self.clone() };
        self.end = at;
        tail
    }

    /// Whether an entry that starts at `self.end` continues this one, so that they can be one.
    pub(crate) fn continues_with(&self, next: &Self, start: u64) -> bool {
        self.protection == next.protection
            && self.max_protection == next.max_protection
            && self.inherit == next.inherit
            && self.wired == next.wired
            && match (&self.object, &next.object) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a.arc(), b.arc()) && self.offset + (self.end - start) == next.offset,
                // An object may hold pages past the entry's end that nobody shows any more: it must not grow over them.
                _ => false,
            }
    }

    /// The pages of its object that it shows, starting at `start`.
    pub(crate) const fn pages_from(&self, start: u64) -> (u64, u64) {
        (self.offset / PAGE_SIZE, (self.offset + (self.end - start)) / PAGE_SIZE)
    }

    /// Whether it shows this object.
    pub(crate) fn is_of(&self, object: &ObjectRef) -> bool {
        self.object.as_ref().is_some_and(|shown| Arc::ptr_eq(shown.arc(), object.arc()))
    }
}
