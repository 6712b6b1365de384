//! The books of an arena: which parts of which page frames are in use. No memory here, only numbers.
//!
//! A frame is cut into granules, so that a frame holds either one page or several compressed ones, and changes from one use
//! to the other the moment it is empty. (Slabs for each size class, as in zsmalloc, pack a little better, but then memory
//! freed in one class is of no use to another, and a full arena could not begin to compress.) Of the free runs that are
//! large enough the smallest is used, and of equal ones the one in the lowest slab, so that the highest become empty.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU8;

/// Bytes in a page, and in a frame.
pub const PAGE_BYTES: usize = 4096;
/// The least that is handed out.
pub(super) const GRANULE_BYTES: usize = 256;
/// Granules in a frame.
pub(super) const FRAME_GRANULES: usize = PAGE_BYTES / GRANULE_BYTES;
/// Frames in a slab.
pub(super) const SLAB_FRAMES: usize = 512;

/// A run of granules of one frame. Not `Copy`: it is owned by one entry of one store.
#[derive(Debug)]
pub(super) struct Slot {
    frame: NonZeroU32,
    /// The first granule, and the number of granules less one.
    place: u8,
    /// Bits for whoever owns the slot, who may change them while others look. They are here because there is room.
    pub(super) marks: AtomicU8,
}

impl Slot {
    fn new(slab: usize, frame: usize, start: usize, granules: usize) -> Self {
        let frame = NonZeroU32::MIN.saturating_add((slab * SLAB_FRAMES + frame) as u32);
        Self { frame, place: (start << 4 | (granules - 1)) as u8, marks: AtomicU8::new(0) }
    }

    const fn index(&self) -> usize {
        (self.frame.get() - 1) as usize
    }

    /// The slab it is in.
    pub(super) const fn slab(&self) -> usize {
        self.index() / SLAB_FRAMES
    }

    /// How many granules it has.
    pub(super) const fn granules(&self) -> usize {
        (self.place & 15) as usize + 1
    }

    /// How many bytes it has.
    pub(super) const fn bytes(&self) -> usize {
        self.granules() * GRANULE_BYTES
    }

    /// Where it is in its slab.
    pub(super) const fn byte_range(&self) -> std::ops::Range<usize> {
        let start = self.index() % SLAB_FRAMES * PAGE_BYTES + (self.place >> 4) as usize * GRANULE_BYTES;
        start..start + self.bytes()
    }

    /// The bits of its granules in the frame's books.
    const fn mask(&self) -> u16 {
        (u16::MAX >> (FRAME_GRANULES - self.granules())) << (self.place >> 4)
    }
}

/// What came of asking for a slot.
#[derive(Debug)]
pub(super) enum Taken {
    Slot(Slot),
    /// This slab must be there first; see [`Frames::open`].
    NeedsSlab(usize),
    Full,
}

/// The frames of one slab.
#[derive(Debug)]
struct Slab {
    /// One bit for each granule in use.
    used: [u16; SLAB_FRAMES],
    /// How many frames have a longest free run of so many granules.
    rooms: [u16; FRAME_GRANULES + 1],
}

/// The books of all slabs.
#[derive(Debug)]
pub(super) struct Frames {
    limit_frames: usize,
    slabs: Vec<Option<Box<Slab>>>,
    /// For each length, the slabs with a frame whose longest free run it is.
    with_room: [BTreeSet<u32>; FRAME_GRANULES + 1],
    /// Slabs that are not there.
    vacant: BTreeSet<u32>,
    used_frames: usize,
    used_granules: usize,
}

/// The longest run of zero bits.
const fn longest_room(used: u16) -> usize {
    let (mut free, mut length) = (!used, 0);
    while free != 0 {
        free &= free << 1;
        length += 1;
    }
    length
}

/// Where the shortest run of at least `granules` zero bits begins.
fn best_start(used: u16, granules: usize) -> Option<usize> {
    let run = |start: usize| (start..FRAME_GRANULES).take_while(|at| used >> at & 1 == 0).count();
    let begins = |start: &usize| used >> start & 1 == 0 && (*start == 0 || used >> (start - 1) & 1 == 1);
    let runs = (0..FRAME_GRANULES).filter(begins).map(|start| (run(start), start));
    runs.filter(|&(length, _)| length >= granules).min().map(|(_, start)| start)
}

impl Frames {
    pub(super) fn new(limit_frames: usize) -> Self {
        let slabs = limit_frames.div_ceil(SLAB_FRAMES);
        Self {
            limit_frames,
            slabs: (0..slabs).map(|_| None).collect(),
            with_room: std::array::from_fn(|_| BTreeSet::new()),
            vacant: (0..slabs as u32).collect(),
            used_frames: 0,
            used_granules: 0,
        }
    }

    /// Frames of which any part is in use.
    pub(super) const fn used_frames(&self) -> usize {
        self.used_frames
    }

    /// Granules in use.
    pub(super) const fn used_granules(&self) -> usize {
        self.used_granules
    }

    /// Frames of slabs that are there.
    pub(super) fn resident_frames(&self) -> usize {
        (self.slabs.len() - self.vacant.len()) * SLAB_FRAMES
    }

    /// Takes a slot. A frame that is empty is used only if that leaves `keep_free` of them.
    pub(super) fn take(&mut self, granules: usize, keep_free: usize) -> Taken {
        let shared = (granules..FRAME_GRANULES).find_map(|room| Some((room, *self.with_room[room].first()? as usize)));
        if let Some((room, slab)) = shared {
            return Taken::Slot(self.take_from(slab, room, granules));
        }
        if self.used_frames + keep_free >= self.limit_frames {
            return Taken::Full;
        }
        match (self.with_room[FRAME_GRANULES].first(), self.vacant.first()) {
            (Some(&slab), _) => Taken::Slot(self.take_from(slab as usize, FRAME_GRANULES, granules)),
            (None, Some(&slab)) => Taken::NeedsSlab(slab as usize),
            (None, None) => Taken::Full,
        }
    }

    /// Takes a slot as large as `old` in a frame that is fuller than `old`'s, if there is one.
    pub(super) fn take_fuller(&mut self, old: &Slot) -> Option<Slot> {
        let count = |frames: &Self, slot: &Slot| frames.used(slot).count_ones();
        let Taken::Slot(slot) = self.take(old.granules(), usize::MAX / 2) else { return None };
        // The new slot counts in its frame, as the old one does in its own.
        if slot.frame != old.frame && count(self, &slot) > count(self, old) {
            return Some(slot);
        }
        self.give_back(&slot);
        None
    }

    fn used(&self, slot: &Slot) -> u16 {
        self.slabs[slot.slab()].as_ref().map_or(0, |slab| slab.used[slot.index() % SLAB_FRAMES])
    }

    fn take_from(&mut self, slab: usize, room: usize, granules: usize) -> Slot {
        let books = self.slabs[slab].as_ref().expect("a slab with room is there");
        let fits = |&used: &u16| if room == FRAME_GRANULES { used == 0 } else { used != 0 && longest_room(used) == room };
        let frame = books.used.iter().position(fits).expect("the slab was counted among those with this room");
        let start = best_start(books.used[frame], granules).expect("the frame's longest run is long enough");
        let slot = Slot::new(slab, frame, start, granules);
        self.change(&slot, books.used[frame] | slot.mask());
        slot
    }

    /// Gives a slot back; says which slab is now empty and not needed, and no longer in the books.
    pub(super) fn give_back(&mut self, slot: &Slot) -> Option<usize> {
        debug_assert_eq!(self.used(slot) & slot.mask(), slot.mask(), "given back twice");
        self.change(slot, self.used(slot) & !slot.mask());
        let slab = slot.slab();
        let empty = self.slabs[slab].as_ref().is_some_and(|books| usize::from(books.rooms[FRAME_GRANULES]) == SLAB_FRAMES);
        if !empty || self.with_room[FRAME_GRANULES].len() == 1 {
            return None;
        }
        self.close(slab);
        Some(slab)
    }

    /// Notes that a slab is there, with nothing in use.
    pub(super) fn open(&mut self, slab: usize) {
        let mut rooms = [0; FRAME_GRANULES + 1];
        rooms[FRAME_GRANULES] = SLAB_FRAMES as u16;
        self.slabs[slab] = Some(Box::new(Slab { used: [0; SLAB_FRAMES], rooms }));
        self.vacant.remove(&(slab as u32));
        self.with_room[FRAME_GRANULES].insert(slab as u32);
    }

    fn close(&mut self, slab: usize) {
        self.slabs[slab] = None;
        self.with_room[FRAME_GRANULES].remove(&(slab as u32));
        self.vacant.insert(slab as u32);
    }

    /// Sets the books of the frame of `slot`.
    fn change(&mut self, slot: &Slot, now: u16) {
        let slab = slot.slab();
        let Some(books) = &mut self.slabs[slab] else { return };
        let before = std::mem::replace(&mut books.used[slot.index() % SLAB_FRAMES], now);
        let (left, entered) = (longest_room(before), longest_room(now));
        books.rooms[left] -= 1;
        if books.rooms[left] == 0 {
            self.with_room[left].remove(&(slab as u32));
        }
        books.rooms[entered] += 1;
        if books.rooms[entered] == 1 {
            self.with_room[entered].insert(slab as u32);
        }
        self.used_frames = self.used_frames + usize::from(now != 0) - usize::from(before != 0);
        self.used_granules = self.used_granules + now.count_ones() as usize - before.count_ones() as usize;
    }

    /// Says whether the books agree; returns which slabs are there.
    #[cfg(test)]
    pub(super) fn check(&self) -> Vec<bool> {
        let (mut frames, mut granules) = (0, 0);
        for (index, slab) in self.slabs.iter().enumerate() {
            assert_eq!(slab.is_none(), self.vacant.contains(&(index as u32)));
            let mut rooms = [0; FRAME_GRANULES + 1];
            slab.iter().flat_map(|slab| slab.used).for_each(|used| rooms[longest_room(used)] += 1);
            assert_eq!(rooms, slab.as_ref().map_or([0; FRAME_GRANULES + 1], |slab| slab.rooms));
            for (count, with_room) in rooms.iter().zip(&self.with_room) {
                assert_eq!(*count > 0, with_room.contains(&(index as u32)));
            }
            let used = || slab.iter().flat_map(|slab| slab.used);
            frames += used().filter(|&used| used != 0).count();
            granules += used().map(|used| used.count_ones() as usize).sum::<usize>();
        }
        assert_eq!((frames, granules), (self.used_frames, self.used_granules));
        assert!(frames <= self.limit_frames);
        self.slabs.iter().map(Option::is_some).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(frames: &mut Frames, granules: usize) -> Option<Slot> {
        match frames.take(granules, 0) {
            Taken::Slot(slot) => Some(slot),
            Taken::NeedsSlab(slab) => {
                frames.open(slab);
                take(frames, granules)
            }
            Taken::Full => None,
        }
    }

    #[test]
    fn the_smallest_run_that_is_large_enough_is_used() {
        assert_eq!(longest_room(0b1111_0000_0111_0010), 5);
        assert_eq!(best_start(0b1111_0000_0111_0010, 2), Some(2));
        assert_eq!(best_start(0b1111_0000_0111_0010, 1), Some(0));
        assert_eq!(best_start(0b1111_0000_0111_0010, 4), Some(7));
        assert_eq!(best_start(0b1111_0000_0111_0010, 6), None);
        assert_eq!((longest_room(0), longest_room(u16::MAX)), (16, 0));
    }

    #[test]
    fn compressed_pages_share_a_frame_and_leave_one_that_is_sparse() {
        let mut frames = Frames::new(3);
        let [first, second] = [6, 6].map(|granules| take(&mut frames, granules).unwrap());
        let third = take(&mut frames, 12).unwrap();
        assert_eq!(frames.used_frames(), 2);
        let fourth = take(&mut frames, 5).unwrap();
        assert_eq!(frames.used_frames(), 3);
        frames.give_back(&first);
        let moved = frames.take_fuller(&fourth).expect("the first frame has six left, and as many in use");
        assert_eq!(moved.frame, second.frame);
        frames.give_back(&fourth);
        assert!(frames.take_fuller(&third).is_none(), "nowhere is twelve");
        frames.check();
    }

    #[test]
    fn some_frames_can_be_kept_for_those_who_make_room() {
        let mut frames = Frames::new(2);
        take(&mut frames, 16).unwrap();
        assert!(matches!(frames.take(16, 1), Taken::Full));
        assert!(matches!(frames.take(4, 0), Taken::Slot(_)));
        assert!(matches!(frames.take(4, 1), Taken::Slot(_)), "of a frame that is in use anyway");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn slots_never_overlap_and_the_books_agree(steps in prop::collection::vec((any::<bool>(), 1..=16usize, any::<prop::sample::Index>()), 1..200)) {
            let mut frames = Frames::new(40);
            let mut held: Vec<Slot> = Vec::new();
            for (give, granules, which) in steps {
                if give && !held.is_empty() {
                    frames.give_back(&held.swap_remove(which.index(held.len())));
                } else if let Some(slot) = take(&mut frames, granules) {
                    for other in held.iter().filter(|other| other.slab() == slot.slab()) {
                        let (one, two) = (other.byte_range(), slot.byte_range());
                        prop_assert!(one.end <= two.start || two.end <= one.start);
                    }
                    held.push(slot);
                }
                frames.check();
                prop_assert_eq!(frames.used_granules(), held.iter().map(Slot::granules).sum::<usize>());
            }
        }
    }
}
