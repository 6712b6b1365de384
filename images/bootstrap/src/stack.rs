//! The first thing on a new task's stack: its words, laid out as programs expect them (ABI: Bootstrap module, Entry).

use alloc::vec::Vec;

use abi::vm::{PAGE_SIZE, USER_END};

/// Bytes of the stack.
pub const SIZE: u64 = 128 * 1024;
/// Where it ends.
pub const TOP: u64 = USER_END;
/// Words may take this much of it.
const WORDS_MAX: usize = SIZE as usize / 2;

/// The stack's upper end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Where the first byte goes: a page's start.
    pub address: u64,
    /// Whole pages, up to the stack's top.
    pub bytes: Vec<u8>,
    /// The first stack pointer: where argc is.
    pub sp: u64,
}

/// Lays out argc, argv, NULL, no environment, NULL, and the strings. None if the words are too long for a stack.
#[must_use]
pub fn layout(words: &[&str]) -> Option<Words> {
    let strings: usize = words.iter().map(|word| word.len() + 1).sum();
    let pointers = (words.len() + 3) * 8;
    let used = (pointers + strings).next_multiple_of(16);
    if used > WORDS_MAX {
        return None;
    }
    let sp = TOP - used as u64;
    let mut table = Vec::with_capacity(used);
    table.extend_from_slice(&(words.len() as u64).to_le_bytes());
    let mut string = sp + pointers as u64;
    for word in words {
        table.extend_from_slice(&string.to_le_bytes());
        string += word.len() as u64 + 1;
    }
    table.extend_from_slice(&[0; 16]);
    for word in words {
        table.extend_from_slice(word.as_bytes());
        table.push(0);
    }
    table.resize(used, 0);
    let size = used.next_multiple_of(PAGE_SIZE as usize);
    let mut bytes = Vec::with_capacity(size);
    bytes.resize(size - used, 0);
    bytes.extend_from_slice(&table);
    Some(Words { address: TOP - size as u64, bytes, sp })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the words back as a program does.
    fn read(words: &Words) -> Vec<String> {
        let at = |address: u64| &words.bytes[(address - words.address) as usize..];
        let long = |address: u64| u64::from_le_bytes(at(address)[..8].try_into().unwrap());
        let count = long(words.sp);
        assert_eq!((long(words.sp + 8 * (count + 1)), long(words.sp + 8 * (count + 2))), (0, 0));
        let string = |index| {
            let bytes = at(long(words.sp + 8 * (index + 1)));
            String::from_utf8(bytes[..bytes.iter().position(|byte| *byte == 0).unwrap()].to_vec()).unwrap()
        };
        (0..count).map(string).collect()
    }

    #[test]
    fn a_program_finds_its_words() {
        let long = "x".repeat(5000);
        for words in [vec![], vec!["a"], vec!["swap", "", "device=vda"], vec![&*long, "end"]] {
            let laid = layout(&words).unwrap();
            assert_eq!(read(&laid), words);
            assert!(laid.sp.is_multiple_of(16) && laid.address.is_multiple_of(PAGE_SIZE));
            assert_eq!(laid.address + laid.bytes.len() as u64, TOP);
        }
    }

    #[test]
    fn words_that_leave_no_stack_are_refused() {
        assert_eq!(layout(&[&"x".repeat(70_000)]), None);
    }
}
