//! The first thing on a program's stack: argc, the arguments, and an empty environment (ABI: Bootstrap module).

use alloc::string::String;
use alloc::vec::Vec;

/// Bytes of a stack.
pub(crate) const SIZE: u64 = 128 << 10;

/// Most that arguments may take of it: half.
const ARGUMENTS_MAX: u64 = SIZE / 2;

/// Aligned so at all times (AAPCS64).
const ALIGN: u64 = 16;

const WORD: u64 = 8;

/// What lies from the stack pointer to the stack's top.
pub(crate) struct Contents {
    pub(crate) pointer: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Lays out the arguments below `top`, a multiple of 16. None if they take too much.
pub(crate) fn contents(top: u64, arguments: &[String]) -> Option<Contents> {
    // argc, a pointer for each, the null that ends them, the null that ends the environment.
    let words = arguments.len() as u64 + 3;
    let text: u64 = arguments.iter().map(|argument| argument.len() as u64 + 1).sum();
    let size = (words * WORD + text).next_multiple_of(ALIGN);
    if size > ARGUMENTS_MAX {
        return None;
    }
    let pointer = top - size;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size as usize).ok()?;
    bytes.extend((arguments.len() as u64).to_le_bytes());
    let mut at = pointer + words * WORD;
    for argument in arguments {
        bytes.extend(at.to_le_bytes());
        at += argument.len() as u64 + 1;
    }
    bytes.extend([0; 2 * WORD as usize]);
    for argument in arguments {
        bytes.extend(argument.as_bytes());
        bytes.push(0);
    }
    bytes.resize(size as usize, 0);
    Some(Contents { pointer, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::vec;

    const TOP: u64 = 0x7fff_ffff_0000;

    fn word(contents: &Contents, number: usize) -> u64 {
        u64::from_le_bytes(contents.bytes[number * 8..][..8].try_into().unwrap())
    }

    #[test]
    fn a_program_finds_its_arguments() {
        let arguments = ["bootstrap".to_owned(), "1".to_owned(), String::new(), "--x=2".to_owned()];
        let contents = contents(TOP, &arguments).unwrap();
        assert_eq!(contents.pointer % ALIGN, 0);
        assert_eq!(contents.pointer + contents.bytes.len() as u64, TOP);
        assert_eq!(word(&contents, 0), 4);
        for (number, argument) in arguments.iter().enumerate() {
            let at = (word(&contents, number + 1) - contents.pointer) as usize;
            assert_eq!(&contents.bytes[at..at + argument.len()], argument.as_bytes());
            assert_eq!(contents.bytes[at + argument.len()], 0);
        }
        assert_eq!((word(&contents, 5), word(&contents, 6)), (0, 0), "both lists end");
    }

    #[test]
    fn the_stack_pointer_is_aligned_whatever_the_arguments_are() {
        for length in 0..40 {
            let contents = contents(TOP, &["a".repeat(length)]).unwrap();
            assert_eq!((contents.pointer % ALIGN, contents.pointer + contents.bytes.len() as u64), (0, TOP));
        }
    }

    #[test]
    fn arguments_leave_room_for_a_stack() {
        assert!(contents(TOP, &["a".repeat(60_000)]).is_some());
        assert!(contents(TOP, &["a".repeat(65_536)]).is_none());
        assert!(contents(TOP, &vec![String::new(); 8_000]).is_none());
    }
}
