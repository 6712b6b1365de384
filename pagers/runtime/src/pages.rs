//! Memory that this task owns by whole pages: allocated, or received out of line.
//!
//! It is a slice of bytes while this task has it, is given back when dropped, and can be moved into a message without a copy.

use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

use abi::message::Memory;
use abi::vm::PAGE_SIZE;
use abi::{Code, Message};

use crate::{rpc, task, trap};

/// Owned pages.
#[derive(Debug)]
pub struct Pages {
    address: u64,
    size: u64,
}

impl Pages {
    /// So many zeroed bytes, at least; they cost no frame before they are touched.
    pub fn allocate(size: u64) -> Result<Self, Code> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(Code::NO_SPACE)?;
        let address = trap::vm_allocate(task::own(), 0, size, true)?;
        Ok(Self { address, size })
    }

    /// Memory that a message brought.
    pub(crate) const fn received(address: u64, size: u64) -> Self {
        Self { address, size: if address == 0 { 0 } else { size } }
    }

    /// Memory that a reply of the kernel brought (`vm_read`, `device_read`).
    #[must_use]
    pub fn from_reply(memory: Memory) -> Self {
        Self::received(memory.address, memory.size)
    }

    /// Its address, as messages name it.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// To be put into a message that leaves the memory here.
    #[must_use]
    pub const fn lend(&self) -> Memory {
        Memory { address: self.address, size: self.size, deallocate: false }
    }

    /// Sends a message that moves the memory to the receiver. If it can't be sent, the memory is given back to the caller.
    pub fn send<M: Message>(self, port: u32, message: impl FnOnce(Memory) -> M) -> Result<(), (Code, Self)> {
        let message = message(Memory { deallocate: true, ..self.lend() });
        match rpc::send(port, &message) {
            Ok(()) => {
                let _moved = ManuallyDrop::new(self);
                Ok(())
            }
            Err(code) => Err((code, self)),
        }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.size == 0 {
            return &[];
        }
        // SAFETY: 1. the range was allocated for this task or mapped into it as its own copy, readable and writable; 2. only this value
        // knows it and gives it back; 3. any bytes are valid u8.
        unsafe { core::slice::from_raw_parts(self.address as *const u8, self.size as usize) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        if self.size == 0 {
            return &mut [];
        }
        // SAFETY: as in `deref`; and `&mut self` is the only way to it now.
        unsafe { core::slice::from_raw_parts_mut(self.address as *mut u8, self.size as usize) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.size != 0 {
            let given = trap::vm_deallocate(task::own(), self.address, self.size);
            debug_assert!(given.is_ok(), "vm_deallocate({:#x}, {:#x}): {given:?}", self.address, self.size);
        }
    }
}
