//! A store as a map: some hundreds of cells, each coloured by what most of it is.
//!
//! A store may have more extents than anybody wants to wait for. So each cell is looked at in at most [`PROBES`] places, evenly
//! spread, and each answer counts as far as it reaches: what is coarse is seen exactly, what is finely mixed is a sample.

use serde::{Deserialize, Serialize};
use store::{State, Store, StoreError};

/// The most cells in a map.
pub const CELLS_MAX: usize = 4096;
/// Places looked at in a cell.
const PROBES: u64 = 32;
/// Cells are no smaller than a page.
const CELL_BYTES_MIN: u64 = 4096;

/// What most of a cell's kept bytes are. The letter is what stands for it in [`AllocationMap::states`].
const LETTERS: [(State, char); 5] =
    [(State::RESIDENT, 'R'), (State::COMPRESSED, 'C'), (State::FILE, 'F'), (State::REMOTE, 'N'), (State::RESERVED, 'V')];
/// Nothing is kept.
const EMPTY: char = '.';

/// A range of an export in cells of equal size (the last may be shorter).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationMap {
    /// Where the first cell begins.
    pub offset: u64,
    /// How many bytes all cells are.
    pub length: u64,
    /// How many bytes a cell is.
    pub cell_bytes: u64,
    /// A letter for each cell: `R` in RAM, `C` compressed in RAM, `F` in a file, `N` on the network, `V` reserved, `.` nothing.
    pub states: String,
    /// How much of each cell is kept, in percent; at least 1 if anything is.
    pub filled: Vec<u8>,
    /// How much of each cell is not yet durable, in percent.
    pub dirty: Vec<u8>,
}

/// Bytes seen in a cell.
#[derive(Default)]
struct Seen {
    all: u64,
    kept: u64,
    dirty: u64,
    by_letter: [u64; LETTERS.len()],
}

impl AllocationMap {
    /// Looks at a range of a store; `length` 0 is everything from `offset` on, and what is beyond the end is cut off.
    ///
    /// # Errors
    /// The store could not tell.
    pub fn of_store(store: &dyn Store, offset: u64, length: u64, cells: usize) -> Result<Self, StoreError> {
        let size = store.size();
        let offset = offset.min(size);
        let length = if length == 0 { size - offset } else { length.min(size - offset) };
        let cells = cells.clamp(1, CELLS_MAX) as u64;
        let cell_bytes = length.div_ceil(cells).max(CELL_BYTES_MIN).next_multiple_of(CELL_BYTES_MIN);
        let mut map = Self { offset, length, cell_bytes, ..Self::default() };
        let mut at = offset;
        while at < offset + length {
            let end = (offset + length).min(at.saturating_add(cell_bytes));
            map.push(&look(store, at, end)?);
            at = end;
        }
        Ok(map)
    }

    fn push(&mut self, seen: &Seen) {
        let most = (0..LETTERS.len()).rev().max_by_key(|&index| seen.by_letter[index]).filter(|&index| seen.by_letter[index] > 0);
        let percent = |bytes: u64| match bytes {
            0 => 0,
            bytes => (u128::from(bytes) * 100 / u128::from(seen.all.max(1))).clamp(1, 100) as u8,
        };
        self.states.push(most.map_or(EMPTY, |index| LETTERS[index].1));
        self.filled.push(percent(seen.kept));
        self.dirty.push(percent(seen.dirty));
    }
}

/// Looks at one cell.
fn look(store: &dyn Store, start: u64, end: u64) -> Result<Seen, StoreError> {
    let stride = (end - start).div_ceil(PROBES).max(1);
    let mut seen = Seen::default();
    let mut at = start;
    while at < end {
        let extent = store.state_at(at, end - at)?;
        let length = extent.length.clamp(1, end - at);
        // A short answer stands for its surroundings, up to the next probe.
        let weight = length.max(stride.min(end - at));
        seen.count(extent.state, weight);
        at += weight;
    }
    Ok(seen)
}

impl Seen {
    fn count(&mut self, state: State, weight: u64) {
        self.all += weight;
        if state.contains(State::DIRTY) {
            self.dirty += weight;
        }
        // A page in a file that is cached in RAM is counted where it is fastest.
        if let Some(index) = LETTERS.iter().position(|(flag, _)| state.contains(*flag)) {
            self.kept += weight;
            self.by_letter[index] += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use store::{Content, Extent, Space, StateExtent};

    use super::*;

    /// A store that is what a function says, and counts how often it is asked.
    struct Painted(u64, fn(u64) -> (u64, State), std::sync::atomic::AtomicU64);

    impl Store for Painted {
        fn size(&self) -> u64 {
            self.0
        }
        fn is_immediate(&self) -> bool {
            true
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), StoreError> {
            unreachable!("a map reads nothing")
        }
        fn write_at(&self, _: u64, _: &[u8]) -> Result<(), StoreError> {
            unreachable!("a map writes nothing")
        }
        fn flush(&self) -> Result<(), StoreError> {
            Ok(())
        }
        fn trim(&self, _: u64, _: u64) -> Result<(), StoreError> {
            Ok(())
        }
        fn write_zeroes(&self, _: u64, _: u64, _: Space) -> Result<(), StoreError> {
            Ok(())
        }
        fn extent_at(&self, _: u64, length: u64) -> Result<Extent, StoreError> {
            Ok(Extent { length, content: Content::Data })
        }
        fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
            self.2.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (reach, state) = (self.1)(offset);
            Ok(StateExtent { length: reach.min(length), state })
        }
    }

    fn paint(size: u64, paint: fn(u64) -> (u64, State)) -> Painted {
        Painted(size, paint, 0.into())
    }

    #[test]
    fn coarse_states_are_seen_exactly() {
        let store = paint(64 << 20, |at| match at >> 20 {
            0..16 => ((16 << 20) - at, State::RESIDENT),
            16..32 => ((32 << 20) - at, State::FILE | State::DIRTY),
            _ => ((64 << 20) - at, State::empty()),
        });
        let map = AllocationMap::of_store(&store, 0, 0, 8).unwrap();
        assert_eq!((map.states.as_str(), map.cell_bytes), ("RRFF....", 8 << 20));
        assert_eq!(map.filled, [100, 100, 100, 100, 0, 0, 0, 0]);
        assert_eq!(map.dirty, [0, 0, 100, 100, 0, 0, 0, 0]);
    }

    #[test]
    fn fine_states_are_sampled_in_bounded_time() {
        let store = paint(1 << 40, |at| (4096, if (at >> 12).is_multiple_of(3) { State::COMPRESSED } else { State::empty() }));
        let map = AllocationMap::of_store(&store, 0, 0, 1024).unwrap();
        assert_eq!(map.states.len(), 1024);
        assert!(store.2.into_inner() <= 1024 * PROBES);
        let mean = map.filled.iter().map(|&percent| u64::from(percent)).sum::<u64>() / 1024;
        assert!((25..42).contains(&mean), "{mean}");
    }

    #[test]
    fn one_page_in_a_large_cell_shows() {
        let store = paint(1 << 30, |at| if at < 4096 { (4096 - at, State::RESIDENT) } else { ((1 << 30) - at, State::empty()) });
        let map = AllocationMap::of_store(&store, 0, 0, 1).unwrap();
        assert_eq!((map.states.as_str(), map.filled[0] >= 1), ("R", true));
    }

    #[test]
    fn ranges_beyond_the_end_are_cut_off() {
        let store = paint(10_000, |_| (10_000, State::RESIDENT));
        let map = AllocationMap::of_store(&store, 8192, u64::MAX, 100).unwrap();
        assert_eq!((map.offset, map.length, map.states.as_str()), (8192, 1808, "R"));
        let map = AllocationMap::of_store(&store, 20_000, 0, 100).unwrap();
        assert_eq!((map.length, map.states.as_str()), (0, ""));
        let map = AllocationMap::of_store(&paint(u64::MAX, |at| (u64::MAX - at, State::REMOTE)), 0, 0, 3).unwrap();
        assert_eq!(map.states, "NNN");
    }
}
