//! Tests of what is taken for a program.

use super::*;
use alloc::string::ToString;
use alloc::vec;

const LIMIT: u64 = USER_END - 0x10_0000;
const EHDR: usize = 64;
const PHDR: usize = 56;

/// type, flags, offset, address, bytes in the file, bytes in memory.
type Header = (u32, u32, u64, u64, u64, u64);

const TEXT: Header = (PT_LOAD, PF_R | PF_X, 0x1000, 0x40_0000, 0x1800, 0x1800);
const DATA: Header = (PT_LOAD, PF_R | PF_W, 0x2800, 0x40_2800, 0x100, 0x3000);

fn file(kind: u16, entry: u64, headers: &[Header]) -> Vec<u8> {
    let mut bytes = vec![0; 0x4000];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &kind.to_le_bytes());
    put(18, &EM_AARCH64.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(32, &(EHDR as u64).to_le_bytes());
    put(52, &(EHDR as u16).to_le_bytes());
    put(54, &(PHDR as u16).to_le_bytes());
    put(56, &(headers.len() as u16).to_le_bytes());
    for (number, (kind, flags, offset, address, in_file, in_memory)) in headers.iter().enumerate() {
        let at = EHDR + number * PHDR;
        put(at, &kind.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        for (field, value) in [(8, offset), (16, address), (24, address), (32, in_file), (40, in_memory), (48, &4096)] {
            put(at + field, &value.to_le_bytes());
        }
    }
    bytes
}

#[track_caller]
fn refuses(headers: &[Header], why: ProgramError) {
    assert_eq!(Program::parse(&file(ET_EXEC, 0x40_0000, headers), LIMIT).map(|_| ()).unwrap_err(), why);
    assert!(!why.to_string().is_empty());
}

#[test]
fn segments_are_where_the_file_says() {
    let bytes = file(ET_EXEC, 0x40_0010, &[DATA, TEXT]);
    let program = Program::parse(&bytes, LIMIT).unwrap();
    assert_eq!(program.entry, 0x40_0010);
    let [text, data] = &program.segments[..] else { panic!("{:?}", program.segments) };
    assert_eq!((text.range.start(), text.range.end(), text.bytes.len()), (0x40_0000, 0x40_2000, 0x1800));
    assert_eq!(text.protection, Protection::READ | Protection::EXECUTE);
    assert_eq!((data.range.start(), data.range.end(), data.address), (0x40_2000, 0x40_6000, 0x40_2800));
    assert_eq!(data.protection, Protection::DEFAULT);
    assert_eq!(program.stack_protection, Protection::DEFAULT);
}

#[test]
fn a_program_for_anywhere_is_moved() {
    let bytes = file(ET_DYN, 0x10, &[(PT_LOAD, PF_R | PF_X, 0, 0, 0x100, 0x100)]);
    let program = Program::parse(&bytes, LIMIT).unwrap();
    assert_eq!((program.entry, program.segments[0].address), (0x800_0010, 0x800_0000));
}

#[test]
fn a_stack_is_never_written_and_executed() {
    let stack = |flags| (PT_GNU_STACK, flags, 0, 0, 0, 0);
    for flags in [PF_R | PF_W, PF_R | PF_W | PF_X] {
        let bytes = file(ET_EXEC, 0x40_0000, &[TEXT, stack(flags)]);
        assert_eq!(Program::parse(&bytes, LIMIT).unwrap().stack_protection, Protection::DEFAULT);
    }
    refuses(&[TEXT, stack(PF_R)], ProgramError::Stack);
}

#[test]
fn absurd_numbers_are_refused() {
    let with = |offset, address, in_file, in_memory| [(PT_LOAD, PF_R | PF_X, offset, address, in_file, in_memory)];
    refuses(&[], ProgramError::Empty);
    refuses(&[TEXT, (PT_INTERP, PF_R, 0, 0, 0, 0)], ProgramError::NeedsLinker);
    refuses(&with(0, 0x40_0000, 0x5000, 0x5000), ProgramError::CutOff);
    refuses(&with(u64::MAX, 0x40_0000, 2, 2), ProgramError::CutOff);
    refuses(&with(0, 0x40_0000, 0x100, 0x80), ProgramError::Sizes);
    refuses(&with(0, 0, 0x100, 0x100), ProgramError::Address);
    refuses(&with(0, LIMIT - 0x1000, 0x100, 0x1001), ProgramError::Address);
    refuses(&with(0, 0x40_0000, 0x100, u64::MAX), ProgramError::Address);
    refuses(&with(0, u64::MAX, 1, 1), ProgramError::Address);
    refuses(&[TEXT, (PT_LOAD, PF_R, 0, 0x40_1900, 0x10, 0x10)], ProgramError::Overlap);
    refuses(&with(0, 0x50_0000, 0x100, 0x100), ProgramError::Entry);
    refuses(&[(PT_LOAD, PF_R | PF_W, 0, 0x40_0000, 0x100, 0x100)], ProgramError::Entry);
}

#[test]
fn other_files_are_refused() {
    let parse = |bytes: &[u8]| Program::parse(bytes, LIMIT).map(|_| ()).unwrap_err();
    let good = file(ET_EXEC, 0x40_0000, &[TEXT]);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    assert_eq!(parse(&[]), ProgramError::NotElf);
    assert_eq!(parse(b"#!/bin/sh\n"), ProgramError::NotElf);
    assert_eq!(parse(&good[..EHDR + 3]), ProgramError::NotElf, "the program headers are cut off");
    assert_eq!(parse(&with(5, 2)), ProgramError::NotElf, "big endian");
    assert_eq!(parse(&with(18, 62)), ProgramError::WrongMachine);
    assert_eq!(parse(&with(16, 1)), ProgramError::NotExecutable);
    assert_eq!(parse(&with(24, 2)), ProgramError::Entry, "not an instruction's address");
}

/// Whatever a byte of the headers is changed to, the file is accepted or refused: nothing panics, and what is accepted is in bounds.
#[test]
fn damaged_headers_never_give_memory_out_of_bounds() {
    let good = file(ET_EXEC, 0x40_0000, &[TEXT, DATA, (PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0)]);
    for at in 0..EHDR + 3 * PHDR {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let Ok(program) = Program::parse(&bytes, LIMIT) else { continue };
            for segment in program.segments {
                assert!(segment.range.end() <= LIMIT && segment.range.start() <= segment.address);
                assert!(
                    pages(segment.address, segment.bytes).all(|(address, bytes)| address % PAGE_SIZE + bytes.len() as u64 <= PAGE_SIZE)
                );
                assert!(segment.address + segment.bytes.len() as u64 <= segment.range.end());
            }
        }
    }
}

#[test]
fn bytes_are_cut_where_pages_end() {
    let bytes: Vec<u8> = (0..9000u32).map(|at| at as u8).collect();
    let cut: Vec<_> = pages(0x1ff0, &bytes).collect();
    assert_eq!(
        cut.iter().map(|(at, part)| (*at, part.len())).collect::<Vec<_>>(),
        [(0x1ff0, 16), (0x2000, 4096), (0x3000, 4096), (0x4000, 792)]
    );
    assert_eq!(cut.iter().flat_map(|(_, part)| part.iter().copied()).collect::<Vec<_>>(), bytes);
    assert_eq!(pages(0x1000, &[]).count(), 0);
    assert_eq!(pages(0x1000, &[1; 4096]).count(), 1);
}
