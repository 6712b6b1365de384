//! What one client may read: for each of its sectors the version it holds, or the few it may hold.
//!
//! Doubt comes from requests whose outcome nobody told: a WRITE that failed or was in flight when the server died leaves
//! old or new sectors, a TRIM old bytes or zeroes. The first read ends the doubt, as a sector cannot change by itself.

use std::collections::HashMap;
use std::ops::Range;

use crate::content;

/// The unit in which a server may mix old and new.
pub(crate) const SECTOR: usize = 512;

/// A client's sectors. They are numbered from zero; `first` says where they are in the export.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    seed: u64,
    first: u64,
    versions: Vec<u32>,
    /// What else a sector may hold.
    doubts: HashMap<u64, Vec<u32>>,
    last_version: u32,
}

impl Model {
    pub(crate) fn new(seed: u64, first: u64, sectors: u64) -> Self {
        Self { seed, first, versions: vec![0; sectors as usize], doubts: HashMap::new(), last_version: 0 }
    }

    pub(crate) fn sectors(&self) -> u64 {
        self.versions.len() as u64
    }

    /// Where a sector is in the export, in bytes.
    pub(crate) fn offset(&self, sector: u64) -> u64 {
        (self.first + sector) * SECTOR as u64
    }

    /// A version that no sector has had.
    pub(crate) const fn new_version(&mut self) -> u32 {
        self.last_version += 1;
        self.last_version
    }

    /// The bytes of a version of some sectors.
    pub(crate) fn fill(&self, sectors: &Range<u64>, version: u32, bytes: &mut [u8]) {
        let numbers = sectors.clone().map(|sector| self.first + sector);
        bytes.chunks_mut(SECTOR).zip(numbers).for_each(|(bytes, number)| content::fill(bytes, self.seed, number, version));
    }

    /// They hold this version now; 0 is zeroes.
    pub(crate) fn wrote(&mut self, sectors: &Range<u64>, version: u32) {
        for sector in sectors.clone() {
            self.versions[sector as usize] = version;
            self.doubts.remove(&sector);
        }
    }

    /// Each of them holds what it did, or this version.
    pub(crate) fn may_have_written(&mut self, sectors: &Range<u64>, version: u32) {
        for sector in sectors.clone() {
            self.doubts.entry(sector).or_default().push(version);
        }
    }

    /// Compares what was read, and believes it where there was doubt.
    pub(crate) fn read(&mut self, sectors: &Range<u64>, data: &[u8]) -> Result<(), String> {
        for (sector, bytes) in sectors.clone().zip(data.chunks(SECTOR)) {
            let number = self.first + sector;
            let known = self.versions[sector as usize];
            let Some(doubts) = self.doubts.get(&sector) else {
                if content::is(bytes, self.seed, number, known) {
                    continue;
                }
                return Err(self.wrong(number, bytes, &[known]));
            };
            let found = doubts.iter().chain([&known]).copied().find(|&version| content::is(bytes, self.seed, number, version));
            let Some(version) = found else { return Err(self.wrong(number, bytes, &[&doubts[..], &[known]].concat())) };
            self.versions[sector as usize] = version;
            self.doubts.remove(&sector);
        }
        Ok(())
    }

    /// In words, with the version that is there if it is one of this sector's.
    fn wrong(&self, number: u64, bytes: &[u8], allowed: &[u32]) -> String {
        let there = (0..=self.last_version).rev().find(|&version| content::is(bytes, self.seed, number, version));
        let there = there.map_or("what was never written there".into(), |version| format!("version {version}"));
        format!("sector {number} holds {there}; allowed were the versions {allowed:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(model: &Model, sectors: Range<u64>, version: u32) -> Vec<u8> {
        let mut bytes = vec![0xee; (sectors.end - sectors.start) as usize * SECTOR];
        model.fill(&sectors, version, &mut bytes);
        bytes
    }

    #[test]
    fn old_and_foreign_data_is_named() {
        let mut model = Model::new(1, 100, 8);
        assert_eq!(model.read(&(0..8), &[0; 8 * SECTOR]), Ok(()));
        let (one, two) = (model.new_version(), model.new_version());
        model.wrote(&(2..4), one);
        model.wrote(&(2..4), two);
        assert_eq!(model.read(&(2..4), &bytes(&model, 2..4, two)), Ok(()));
        assert!(model.read(&(2..4), &bytes(&model, 2..4, one)).unwrap_err().contains("sector 102 holds version 1"));
        assert!(model.read(&(3..4), &bytes(&model, 2..3, two)).unwrap_err().contains("never written"));
    }

    #[test]
    fn doubt_ends_with_the_first_read_and_is_per_sector() {
        let mut model = Model::new(1, 0, 4);
        let (one, two) = (model.new_version(), model.new_version());
        model.wrote(&(0..4), one);
        model.may_have_written(&(0..4), two);
        model.may_have_written(&(0..1), 0);
        let mixed = [bytes(&model, 0..2, two), bytes(&model, 2..4, one)].concat();
        assert_eq!(model.read(&(0..4), &mixed), Ok(()));
        assert_eq!((model.read(&(0..4), &mixed), model.doubts.len()), (Ok(()), 0));
        assert!(model.read(&(0..4), &bytes(&model, 0..4, two)).is_err(), "sectors 2 and 3 were seen to be old");
    }
}
