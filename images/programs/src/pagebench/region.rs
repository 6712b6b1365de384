//! The memory that is worked on: words of pages, whoever keeps them.

use abi::Code;
use abi::call::default_pager::default_pager_object_create;
use abi::vm::{PAGE_SIZE, Protection};
use runtime::{Mapping, SendRight, bootstrap};

use super::pattern::{self, WORDS};

/// A region of pages, and what must be in them.
#[derive(Debug)]
pub struct Region {
    memory: Mapping,
    seed: u64,
}

/// Anonymous memory, which the default pager keeps.
const ANONYMOUS: &str = "swap";

impl Region {
    /// Anonymous memory, or an object of a pager by name.
    pub fn new(pager: &str, bytes: u64, seed: u64) -> Result<Self, Code> {
        let memory = if pager == ANONYMOUS { Mapping::anonymous(bytes)? } else { map_object(pager, bytes)? };
        Ok(Self { memory, seed })
    }

    /// How many pages.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.memory.size() / PAGE_SIZE
    }

    /// Reads one word of a page: what a touch costs.
    #[must_use]
    pub fn touch(&self, page: u64) -> u64 {
        self.memory.load_u64(page * PAGE_SIZE)
    }

    /// Writes all words of a page but the first.
    pub fn fill_rest(&self, page: u64, generation: u64) {
        let mut word = pattern::first(self.seed, page, generation);
        let start = page * PAGE_SIZE;
        for index in 1..WORDS {
            word = pattern::next(word);
            self.memory.store_u64(start + index * 8, word);
        }
    }

    /// Writes the first word of a page.
    pub fn fill_first(&self, page: u64, generation: u64) {
        self.memory.store_u64(page * PAGE_SIZE, pattern::first(self.seed, page, generation));
    }

    /// Whether all words of a page are as they were written.
    #[must_use]
    pub fn is_intact(&self, page: u64, generation: u64) -> bool {
        let mut word = pattern::first(self.seed, page, generation);
        let start = page * PAGE_SIZE;
        let mut wrong = 0;
        for index in 0..WORDS {
            wrong |= self.memory.load_u64(start + index * 8) ^ word;
            word = pattern::next(word);
        }
        wrong == 0
    }
}

fn map_object(pager: &str, bytes: u64) -> Result<Mapping, Code> {
    let service = bootstrap::look_up(pager)?;
    let object = service.call(&default_pager_object_create::Request { size: bytes })?.object;
    let object = SendRight::from_port(object).ok_or(Code::INVALID_CAPABILITY)?;
    Mapping::map(object.copy(), 0, bytes, Protection::DEFAULT)
}
