//! What the pager knows of each object: where its pages are, which were ever written, and which are lost.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use abi::Code;
use abi::vm::PAGE_SIZE;
use pager::ObjectId;

use crate::bits::Bits;
use crate::extents::{EXTENT_BYTES, Extents};
use crate::seal::Stamp;

/// Pages in an extent.
pub const EXTENT_PAGES: u64 = EXTENT_BYTES / PAGE_SIZE;

/// One object.
#[derive(Debug)]
pub struct Layout {
    extents: Vec<u32>,
    pages: u64,
    /// Pages that came home and weren't all zero: the server has them, or will have.
    written: Bits,
    /// Pages that a server had and lost, and that nobody has written since.
    lost: Bits,
    /// What is remembered of each page's seal; empty if pages aren't sealed.
    stamps: Vec<Stamp>,
}

/// What there is of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Zero,
    Stored,
    Lost,
}

impl Layout {
    /// How many pages it has.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Where in the export a page is; none past the object's end.
    #[must_use]
    pub fn place(&self, page: u64) -> Option<u64> {
        let extent = *self.extents.get(usize::try_from(page / EXTENT_PAGES).ok()?)?;
        Some(u64::from(extent) * EXTENT_BYTES + page % EXTENT_PAGES * PAGE_SIZE)
    }

    /// What there is of a page.
    #[must_use]
    pub fn content(&self, page: u64) -> Content {
        match (self.lost.get(page), self.written.get(page)) {
            (true, _) => Content::Lost,
            (false, true) => Content::Stored,
            (false, false) => Content::Zero,
        }
    }

    /// A page was written: `is_zero` if there is nothing to store of it.
    pub fn wrote(&mut self, page: u64, is_zero: bool) {
        self.written.put(page, !is_zero);
        if is_zero {
            self.lost.put(page, false);
        }
    }

    /// The server has a page that was written.
    pub fn stored(&mut self, page: u64) {
        self.lost.put(page, false);
    }

    /// What the server has of a page is worthless.
    pub fn lose(&mut self, page: u64) {
        self.lost.put(page, true);
    }

    /// The seal of a page as it was last written.
    #[must_use]
    pub fn stamp(&self, page: u64) -> Stamp {
        usize::try_from(page).ok().and_then(|page| self.stamps.get(page)).copied().unwrap_or_default()
    }

    /// A page was sealed.
    pub fn sealed(&mut self, page: u64, stamp: Stamp) {
        if let Some(place) = usize::try_from(page).ok().and_then(|page| self.stamps.get_mut(page)) {
            *place = stamp;
        }
    }

    /// The extents, when the object is no more.
    pub fn into_extents(self) -> Vec<u32> {
        self.extents
    }
}

/// All objects.
#[derive(Debug, Default)]
pub struct Objects {
    all: BTreeMap<ObjectId, Layout>,
    /// Pages are sealed.
    seals: bool,
}

impl Objects {
    /// None yet, whose pages will be sealed or not.
    #[must_use]
    pub fn new(seals: bool) -> Self {
        Self { all: BTreeMap::new(), seals }
    }

    /// Lays an object out. Nothing is taken if it doesn't fit.
    pub fn create(&mut self, object: ObjectId, bytes: u64, extents: &mut Extents) -> Result<(), Code> {
        let pages = bytes.div_ceil(PAGE_SIZE);
        let count = usize::try_from(pages.div_ceil(EXTENT_PAGES)).map_err(|_| Code::INVALID_ARGUMENT)?;
        if pages == 0 {
            return Err(Code::INVALID_ARGUMENT);
        }
        if count > extents.free() as usize {
            return Err(Code::NO_SPACE);
        }
        let shortage = |_| Code::RESOURCE_SHORTAGE;
        let (written, lost) = (Bits::new(pages).map_err(shortage)?, Bits::new(pages).map_err(shortage)?);
        let mut stamps = Vec::new();
        if self.seals {
            let length = usize::try_from(pages).map_err(|_| Code::INVALID_ARGUMENT)?;
            stamps.try_reserve_exact(length).map_err(shortage)?;
            stamps.resize(length, Stamp::default());
        }
        let mut taken = Vec::new();
        taken.try_reserve_exact(count).map_err(shortage)?;
        taken.extend(core::iter::from_fn(|| extents.allocate()).take(count));
        self.all.insert(object, Layout { extents: taken, pages, written, lost, stamps });
        Ok(())
    }

    /// An object.
    #[must_use]
    pub fn get(&self, object: ObjectId) -> Option<&Layout> {
        self.all.get(&object)
    }

    /// An object.
    pub fn get_mut(&mut self, object: ObjectId) -> Option<&mut Layout> {
        self.all.get_mut(&object)
    }

    /// Forgets an object.
    pub fn remove(&mut self, object: ObjectId) -> Option<Layout> {
        self.all.remove(&object)
    }

    /// The server has lost all that was written. Gives the number of pages.
    pub fn lose_all(&mut self) -> u64 {
        for layout in self.all.values_mut() {
            layout.lost.join(&layout.written);
        }
        self.all.values().map(|layout| layout.lost.count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use abi::Code;
    use pager::ObjectId;

    use super::{Content, EXTENT_PAGES, Objects};
    use crate::extents::{EXTENT_BYTES, Extents};

    #[test]
    fn objects_have_places_of_their_own_and_fit_or_take_nothing() {
        let mut extents = Extents::new(6 * EXTENT_BYTES).unwrap();
        let mut objects = Objects::default();
        let (one, two) = (ObjectId(1), ObjectId(2));
        objects.create(one, 2 * EXTENT_BYTES + 1, &mut extents).unwrap();
        assert_eq!(objects.create(two, 3 * EXTENT_BYTES, &mut extents), Err(Code::NO_SPACE));
        assert_eq!(objects.create(two, 0, &mut extents), Err(Code::INVALID_ARGUMENT));
        assert_eq!(extents.free(), 2);
        objects.create(two, 2 * EXTENT_BYTES, &mut extents).unwrap();
        let places = |object| (0..3 * EXTENT_PAGES).map(move |page| (object, page)).collect::<Vec<_>>();
        let mut all: Vec<_> =
            [places(one), places(two)].concat().into_iter().filter_map(|(id, page)| objects.get(id)?.place(page)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((count, all.len()), (5 * EXTENT_PAGES as usize, count));
        assert!(all[0] >= EXTENT_BYTES);
        assert_eq!(objects.remove(one).unwrap().into_extents().len(), 3);
    }

    #[test]
    fn lost_pages_stay_lost_until_they_are_stored_again() {
        let mut extents = Extents::new(9 * EXTENT_BYTES).unwrap();
        let mut objects = Objects::default();
        let id = ObjectId(1);
        objects.create(id, EXTENT_BYTES, &mut extents).unwrap();
        let layout = objects.get_mut(id).unwrap();
        (0..4).for_each(|page| layout.wrote(page, page == 3));
        assert_eq!(objects.lose_all(), 3);
        let layout = objects.get_mut(id).unwrap();
        layout.wrote(0, false);
        layout.stored(0);
        layout.wrote(1, true);
        layout.wrote(2, false);
        let contents = [0, 1, 2, 3, 4].map(|page| layout.content(page));
        assert_eq!(contents, [Content::Stored, Content::Zero, Content::Lost, Content::Zero, Content::Zero]);
    }
}
