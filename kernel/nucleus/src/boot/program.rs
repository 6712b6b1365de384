//! What an ELF file says of a program: which bytes go where, with which rights. Nothing is mapped here.
//!
//! All numbers are checked in one place, so that `boot.rs` maps what it is given. Static AArch64 programs only: there is no
//! dynamic linker this early.

use alloc::vec::Vec;
use core::fmt;

use abi::vm::{PAGE_SIZE, Protection, USER_END, USER_START};
use elf::ElfBytes;
use elf::abi::{EM_AARCH64, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;
use vm::PageRange;

/// Where programs go that can run anywhere (ET_DYN).
const ANYWHERE: u64 = 128 << 20;

/// A program that can be mapped below `limit` of [`Program::parse`].
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) entry: u64,
    /// In order of their addresses; no two share a page.
    pub(crate) segments: Vec<Segment<'a>>,
    /// Never both to be written and executed.
    pub(crate) stack_protection: Protection,
}

/// A part of a program.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    /// Zero where no bytes are.
    pub(crate) range: PageRange,
    /// Of the first byte.
    pub(crate) address: u64,
    pub(crate) bytes: &'a [u8],
    pub(crate) protection: Protection,
}

/// Why a file is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramError {
    NotElf,
    WrongMachine,
    NotExecutable,
    NeedsLinker,
    Empty,
    CutOff,
    Sizes,
    Address,
    Overlap,
    Entry,
    Stack,
}

impl<'a> Program<'a> {
    /// Reads an ELF file; its memory must end below `limit`.
    pub(crate) fn parse(file: &'a [u8], limit: u64) -> Result<Self, ProgramError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| ProgramError::NotElf)?;
        if elf.ehdr.class != Class::ELF64 || elf.ehdr.e_machine != EM_AARCH64 {
            return Err(ProgramError::WrongMachine);
        }
        let base = match elf.ehdr.e_type {
            ET_EXEC => 0,
            ET_DYN => ANYWHERE,
            _ => return Err(ProgramError::NotExecutable),
        };
        let headers = || elf.segments().into_iter().flatten();
        if headers().any(|header| header.p_type == PT_INTERP) {
            return Err(ProgramError::NeedsLinker);
        }
        let loads = headers().filter(|header| header.p_type == PT_LOAD && header.p_memsz > 0);
        let mut segments = loads.map(|header| Segment::new(file, &header, base, limit)).collect::<Result<Vec<_>, _>>()?;
        segments.sort_unstable_by_key(|segment| segment.address);
        if segments.is_empty() {
            return Err(ProgramError::Empty);
        }
        if segments.windows(2).any(|pair| pair[0].range.end() > pair[1].range.start()) {
            return Err(ProgramError::Overlap);
        }
        let stack_protection = stack_protection(headers().find(|header| header.p_type == PT_GNU_STACK))?;
        let entry = elf.ehdr.e_entry.checked_add(base).ok_or(ProgramError::Entry)?;
        let holds = |segment: &Segment<'_>| segment.range.start() <= entry && entry < segment.range.end();
        let runs = |segment: &Segment<'_>| segment.protection.contains(Protection::EXECUTE) && holds(segment);
        if !entry.is_multiple_of(4) || !segments.iter().any(runs) {
            return Err(ProgramError::Entry);
        }
        Ok(Self { entry, segments, stack_protection })
    }
}

impl<'a> Segment<'a> {
    fn new(file: &'a [u8], header: &ProgramHeader, base: u64, limit: u64) -> Result<Self, ProgramError> {
        if header.p_filesz > header.p_memsz {
            return Err(ProgramError::Sizes);
        }
        let from = usize::try_from(header.p_offset).map_err(|_| ProgramError::CutOff)?;
        let length = usize::try_from(header.p_filesz).map_err(|_| ProgramError::CutOff)?;
        let bytes = from.checked_add(length).and_then(|end| file.get(from..end)).ok_or(ProgramError::CutOff)?;
        let address = header.p_vaddr.checked_add(base).ok_or(ProgramError::Address)?;
        let range = PageRange::containing(address, header.p_memsz).map_err(|_| ProgramError::Address)?;
        if range.start() < USER_START || range.end() > limit {
            return Err(ProgramError::Address);
        }
        Ok(Self { range, address, bytes, protection: protection(header) })
    }
}

/// Cuts bytes that begin at an address where pages end.
pub(crate) fn pages(address: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let head = bytes.len().min((PAGE_SIZE - address % PAGE_SIZE) as usize);
    let (head, rest) = bytes.split_at(head);
    let second = address + head.len() as u64;
    let others = (second..).step_by(PAGE_SIZE as usize).zip(rest.chunks(PAGE_SIZE as usize));
    core::iter::once((address, head)).filter(|(_, head)| !head.is_empty()).chain(others)
}

fn protection(header: &ProgramHeader) -> Protection {
    let pairs = [(PF_R, Protection::READ), (PF_W, Protection::WRITE), (PF_X, Protection::EXECUTE)];
    pairs.into_iter().filter(|(flag, _)| header.p_flags & flag != 0).fold(Protection::NONE, |all, (_, right)| all.union(right))
}

/// A program may want a stack that it can execute; it gets one that it can write, and may ask for more itself.
fn stack_protection(header: Option<ProgramHeader>) -> Result<Protection, ProgramError> {
    let asked = header.map_or(Protection::DEFAULT, |header| protection(&header));
    if !asked.contains(Protection::DEFAULT) {
        return Err(ProgramError::Stack);
    }
    Ok(asked.difference(Protection::EXECUTE))
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotElf => "it is not an ELF file, or its headers are damaged",
            Self::WrongMachine => "it is not a 64-bit little-endian AArch64 program",
            Self::NotExecutable => "it is an ELF file, but not an executable (ET_EXEC or ET_DYN)",
            Self::NeedsLinker => "it wants a dynamic linker; only static programs can be boot modules",
            Self::Empty => "it has no segment to load",
            Self::CutOff => "a segment lies outside the file: was it cut off?",
            Self::Sizes => "a segment has more bytes in the file than in memory",
            Self::Address => "a segment lies outside of user memory",
            Self::Overlap => "two of its segments share a page",
            Self::Entry => "its entry point is in no segment that can be executed",
            Self::Stack => "its PT_GNU_STACK asks for a stack that it could not read and write",
        })
    }
}

const _: () = assert!(ANYWHERE < USER_END);

#[cfg(test)]
mod tests;
