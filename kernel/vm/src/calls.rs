//! What kernel calls need besides the engines: copies of whole objects, edges that are zeroed, and how much is resident.

use alloc::vec::Vec;

use abi::Code;
use abi::vm::PAGE_SIZE;
use frames::Purpose;

use crate::copy::Copy;
use crate::fault::{Need, Outcome};
use crate::home::Home;
use crate::leaf::LEAF_PAGES;
use crate::map::Map;
use crate::object::ObjectRef;
use crate::pageout::Action;
use crate::want::Want;
use crate::{NoMemory, Pmap, Vm};

/// Pages in an extent of the swap object: what one discard is about.
pub const EXTENT_PAGES: u64 = LEAF_PAGES as u64;

impl<P: Pmap> Vm<P> {
    /// An object with the contents that the pages `first..end` of another have now (vm_map with copy).
    pub fn copy_object(&self, object: &ObjectRef, first: u64, end: u64) -> Result<ObjectRef, NoMemory> {
        let copy = self.snapshot(object, first, end)?;
        self.write_protect_object(object, first, end);
        Ok(copy)
    }

    /// Zeroes a part of a page of a copy.
    pub fn zero_copy(&self, copy: &Copy, number: u64, offset: usize, length: usize) -> Outcome {
        const ZEROES: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];
        let Some((object, page)) = copy.page(number) else { return Outcome::Refuse(Code::INVALID_ARGUMENT) };
        let Some(zeroes) = ZEROES.get(..length) else { return Outcome::Refuse(Code::INVALID_ARGUMENT) };
        let need = Need { page, write: true, reach: 1, purpose: Purpose::User };
        self.resolve(object, need, &mut Want::Bytes(&mut |pool, frame| pool.write(frame, offset, zeroes)))
    }

    /// Bytes of a map's memory that are in RAM.
    pub fn resident_bytes(&self, map: &Map<P>) -> u64 {
        let inner = map.lock();
        let mut pages = 0;
        for (start, entry) in inner.entries() {
            let Some(object) = &entry.object else { continue };
            let (first, end) = entry.pages_from(*start);
            for (leaf_first, leaf) in object.leaves_of(first, end) {
                for at in 0..LEAF_PAGES {
                    let page = leaf_first + at as u64;
                    pages += u64::from((first..end).contains(&page) && leaf.with(at, |cell| cell.page.frame().is_some()));
                }
            }
        }
        pages * PAGE_SIZE
    }

    /// Turns return requests into data, for a pager that will not be asked where pages go any more.
    pub fn as_data(&self, home: &Home, actions: Vec<Action>) -> Vec<Action> {
        let mut data = Vec::new();
        for action in actions {
            match action {
                Action::Request { first, pages, .. } => self.return_as_data(home, first, u64::from(pages), &mut data),
                already @ Action::Data { .. } => data.push(already),
            }
        }
        data
    }
}
