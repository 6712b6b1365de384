//! One size class of the heap: objects of one size in single frames.
//!
//! A slab is a frame that starts with a [`Header`]; the rest is objects. Slabs with a free object are on the class's list, full ones are
//! on none and found again by the address of an object that is freed. One empty slab is kept so that a class at a slab's edge does not
//! go to the pool each time; the others' frames go back.

use crate::frame::{Frame, FrameNumber, PAGE_SIZE, Purpose};
use crate::pool::Pool;
use core::ptr::{NonNull, null_mut};

/// Bytes before the first object, and the alignment of it.
pub(crate) const HEADER: usize = 64;
/// Says that a frame is a slab.
const MAGIC: u32 = 0x5AB0_F0AA;

/// The start of a slab.
#[repr(C, align(64))]
struct Header {
    next: *mut Header,
    previous: *mut Header,
    frame: FrameNumber,
    magic: u32,
    /// Offset in the frame of the first object that was freed, 0 for none; an object that is free starts with the next one's.
    freed: u16,
    /// Offset of the first object that was never used.
    fresh: u16,
    /// Objects in use.
    used: u16,
}

const _: () = assert!(size_of::<Header>() == HEADER);

/// A size class.
pub(crate) struct Class {
    size: usize,
    /// Slabs with a free object.
    slabs: *mut Header,
    /// How many of them are empty: 0 or 1.
    empty: usize,
    /// Objects in use in all slabs.
    used: usize,
    /// All slabs.
    frames: usize,
}

// SAFETY: the slabs it points to belong to the class alone and have no thread.
unsafe impl Send for Class {}

impl Class {
    pub(crate) const fn new(size: usize) -> Self {
        assert!(size >= size_of::<u16>() && size + HEADER <= PAGE_SIZE);
        Self { size, slabs: null_mut(), empty: 0, used: 0, frames: 0 }
    }

    /// Bytes of objects in use.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used * self.size
    }

    /// Frames taken from the pool.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// An object, from a new slab if need be. Null when the pool has no frame.
    pub(crate) fn allocate(&mut self, pool: &Pool) -> *mut u8 {
        let Some(slab) = NonNull::new(self.slabs).or_else(|| self.grow(pool)) else {
            return null_mut();
        };
        // SAFETY: 1. Slabs on the list are headers at the start of frames that the class owns, and we have the class to ourselves. 2. It
        // has a free object (or it would not be listed): a freed one, which holds the offset of the next, or a fresh one inside the frame.
        unsafe {
            let slab = slab.as_ptr();
            let object = if (*slab).freed != 0 {
                let object = slab.cast::<u8>().add((*slab).freed as usize);
                (*slab).freed = object.cast::<u16>().read();
                object
            } else {
                let object = slab.cast::<u8>().add((*slab).fresh as usize);
                (*slab).fresh += self.size as u16;
                object
            };
            self.empty -= usize::from((*slab).used == 0);
            (*slab).used += 1;
            if self.is_full(slab) {
                self.unlist(slab);
            }
            self.used += 1;
            object
        }
    }

    /// Takes an object back.
    ///
    /// # Safety
    /// `object` came from `allocate` of this class with this pool and is not used any more.
    pub(crate) unsafe fn free(&mut self, object: *mut u8, pool: &Pool) {
        let offset = object.addr() % PAGE_SIZE;
        // SAFETY: 1. Objects lie in the frame whose start is their slab's header, which the class owns. The caller's pointer may be allowed to
        // reach the object only, so the header's is made from the map's again. 2. The object is ours again and has room for an offset.
        unsafe {
            let slab = core::ptr::with_exposed_provenance_mut::<Header>(object.addr() - offset);
            assert_eq!((*slab).magic, MAGIC, "freed what is not an object of the heap");
            let was_full = self.is_full(slab);
            slab.cast::<u8>().add(offset).cast::<u16>().write((*slab).freed);
            (*slab).freed = offset as u16;
            (*slab).used -= 1;
            self.used -= 1;
            if was_full {
                self.list(slab);
            }
            match ((*slab).used, self.empty) {
                (0, 0) => self.empty = 1,
                (0, _) => self.shrink(slab, pool),
                _ => {}
            }
        }
    }

    /// Whether it has neither freed nor fresh objects.
    ///
    /// # Safety
    /// `slab` is a header of this class.
    unsafe fn is_full(&self, slab: *mut Header) -> bool {
        // SAFETY: the caller's promise.
        unsafe { (*slab).freed == 0 && (*slab).fresh as usize + self.size > PAGE_SIZE }
    }

    /// Makes a frame of the pool an empty slab.
    fn grow(&mut self, pool: &Pool) -> Option<NonNull<Header>> {
        let frame = pool.allocate(Purpose::Kernel)?.into_number();
        let slab = pool.pointer(frame).cast::<Header>();
        // SAFETY: the frame is mapped RAM and ours; a page is large and aligned enough for a header. The header is valid before it is listed.
        unsafe {
            slab.write(Header { next: null_mut(), previous: null_mut(), frame, magic: MAGIC, freed: 0, fresh: HEADER as u16, used: 0 });
            self.list(slab);
        }
        self.empty += 1;
        self.frames += 1;
        NonNull::new(slab)
    }

    /// Gives an empty slab's frame back.
    ///
    /// # Safety
    /// `slab` is on the list and no object of it is in use.
    unsafe fn shrink(&mut self, slab: *mut Header, pool: &Pool) {
        // SAFETY: 1. On the list, by the caller. 2. `grow` gave up the frame's owner; nobody uses the slab any more, so it is taken back once.
        let frame = unsafe {
            self.unlist(slab);
            (*slab).magic = 0;
            Frame::from_number((*slab).frame)
        };
        self.frames -= 1;
        pool.free(frame);
    }

    /// # Safety
    /// `slab` is a header of this class and not on the list.
    unsafe fn list(&mut self, slab: *mut Header) {
        // SAFETY: the caller's header, and the list's first, which is valid too.
        unsafe {
            (*slab).next = self.slabs;
            (*slab).previous = null_mut();
            if let Some(next) = NonNull::new(self.slabs) {
                (*next.as_ptr()).previous = slab;
            }
        }
        self.slabs = slab;
    }

    /// # Safety
    /// `slab` is on the list.
    unsafe fn unlist(&mut self, slab: *mut Header) {
        // SAFETY: the caller's header and its neighbours on the list, which are valid.
        unsafe {
            let (next, previous) = ((*slab).next, (*slab).previous);
            match NonNull::new(previous) {
                Some(previous) => (*previous.as_ptr()).next = next,
                None => self.slabs = next,
            }
            if let Some(next) = NonNull::new(next) {
                (*next.as_ptr()).previous = previous;
            }
        }
    }
}
