//! A program's ELF file, as what has to be mapped.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::vm::{PAGE_SIZE, Protection, USER_START};
use elf::ElfBytes;
use elf::abi::{EM_AARCH64, ET_EXEC, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;

use crate::stack;

/// What a task is made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Program<'a> {
    pub entry: u64,
    pub segments: Vec<Segment<'a>>,
}

/// Whole pages with one protection.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Where the pages start.
    pub address: u64,
    /// Bytes of all pages.
    pub size: u64,
    /// Where in the first page the bytes of the file go; zero before and after them.
    pub lead: usize,
    pub bytes: &'a [u8],
    pub protection: Protection,
}

/// Checks a file. The error says what is wrong with it.
pub fn parse(file: &[u8]) -> Result<Program<'_>, String> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|error| format!("no ELF file: {error}"))?;
    if elf.ehdr.e_machine != EM_AARCH64 || elf.ehdr.class != elf::file::Class::ELF64 || elf.ehdr.e_type != ET_EXEC {
        return Err(String::from("not a static ELF64 program for AArch64"));
    }
    let mut segments = Vec::new();
    for header in elf.segments().into_iter().flatten() {
        match header.p_type {
            PT_INTERP => return Err(String::from("it wants a dynamic linker")),
            PT_LOAD if header.p_memsz != 0 => segments.push(segment(file, &header)?),
            _ => {}
        }
    }
    segments.sort_by_key(|segment| segment.address);
    if segments.is_empty() {
        return Err(String::from("nothing to load"));
    }
    if segments.windows(2).any(|pair| pair[0].address + pair[0].size > pair[1].address) {
        return Err(String::from("two segments share a page"));
    }
    let entry = elf.ehdr.e_entry;
    let holds_entry = |segment: &Segment<'_>| {
        segment.protection.contains(Protection::EXECUTE) && (segment.address..segment.address + segment.size).contains(&entry)
    };
    if segments.iter().any(holds_entry) { Ok(Program { entry, segments }) } else { Err(String::from("its entry isn't in its code")) }
}

fn segment<'a>(file: &'a [u8], header: &elf::segment::ProgramHeader) -> Result<Segment<'a>, String> {
    let refused = |why: &str| format!("the segment at {:#x} {why}", header.p_vaddr);
    let end = header.p_vaddr.checked_add(header.p_memsz).and_then(|end| end.checked_next_multiple_of(PAGE_SIZE));
    let end = end.filter(|end| *end <= stack::TOP - stack::SIZE).ok_or_else(|| refused("ends past what a program may have"))?;
    let address = header.p_vaddr / PAGE_SIZE * PAGE_SIZE;
    if address < USER_START {
        return Err(refused("covers the null page"));
    }
    let from = usize::try_from(header.p_offset).ok();
    let length = usize::try_from(header.p_filesz).ok().filter(|_| header.p_filesz <= header.p_memsz);
    let bytes = from.zip(length).and_then(|(from, length)| file.get(from..from.checked_add(length)?));
    let bytes = bytes.ok_or_else(|| refused("isn't wholly in the file"))?;
    let flag = |flag: u32, protection: Protection| if header.p_flags & flag != 0 { protection } else { Protection::NONE };
    let protection = flag(PF_R, Protection::READ) | flag(PF_W, Protection::WRITE) | flag(PF_X, Protection::EXECUTE);
    if protection.contains(Protection::WRITE | Protection::EXECUTE) {
        return Err(refused("is writable and executable"));
    }
    Ok(Segment { address, size: end - address, lead: (header.p_vaddr - address) as usize, bytes, protection })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program header: type, flags, offset, address, bytes in file, bytes in memory.
    type Header = (u32, u32, u64, u64, u64, u64);

    /// An ELF file with these program headers, then 0x1000 bytes.
    fn file(entry: u64, headers: &[Header]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2, 0, 183, 0, 1, 0, 0, 0]);
        file.extend([entry, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
        file.extend([0, 0, 0, 0, 64, 0, 56, 0, headers.len() as u8, 0, 64, 0, 0, 0, 0, 0]);
        for (kind, flags, offset, address, filed, memory) in headers {
            file.extend(kind.to_le_bytes());
            file.extend(flags.to_le_bytes());
            file.extend([*offset, *address, *address, *filed, *memory, 4096].iter().flat_map(|word| word.to_le_bytes()));
        }
        file.resize(0x2000, 0xAB);
        file
    }

    const CODE: Header = (PT_LOAD, 5, 0x1000, 0x40_0000, 0x800, 0x800);

    #[test]
    fn segments_become_whole_pages() {
        let file = file(0x40_0010, &[(PT_LOAD, 6, 0x1010, 0x40_2010, 0x20, 0x1ff0), CODE, (0x6474_e551, 6, 0, 0, 0, 0)]);
        let program = parse(&file).unwrap();
        assert_eq!((program.entry, program.segments.len()), (0x40_0010, 2));
        let data = &program.segments[1];
        assert_eq!((data.address, data.size, data.lead, data.bytes.len()), (0x40_2000, 0x2000, 0x10, 0x20));
        assert_eq!(data.protection, Protection::DEFAULT);
        assert_eq!(program.segments[0].protection, Protection::READ | Protection::EXECUTE);
    }

    #[test]
    fn what_cannot_be_loaded_is_refused_with_the_reason() {
        let changed = |change: fn(&mut Header)| {
            let mut code = CODE;
            change(&mut code);
            file(code.3, &[code])
        };
        for (file, why) in [
            (vec![1, 2, 3], "no ELF file"),
            (changed(|code| code.1 = 7), "writable and executable"),
            (changed(|code| code.3 = 0), "null page"),
            (changed(|code| code.2 = 0x1900), "wholly in the file"),
            (changed(|code| code.2 = u64::MAX), "wholly in the file"),
            (changed(|code| code.4 = 0x801), "wholly in the file"),
            (changed(|code| code.5 = u64::MAX), "past what a program may have"),
            (changed(|code| code.3 = stack::TOP - 0x1000), "past what a program may have"),
            (changed(|code| code.1 = 4), "entry"),
            (changed(|code| code.0 = PT_INTERP), "dynamic linker"),
            (file(0x40_0000, &[]), "nothing to load"),
            (file(0x40_0000, &[CODE, (PT_LOAD, 6, 0x1000, 0x40_0ff0, 1, 1)]), "share a page"),
        ] {
            let error = parse(&file).unwrap_err();
            assert!(error.contains(why), "{error} instead of {why}");
        }
        let mut other = file(0x40_0000, &[CODE]);
        other[18] = 62;
        assert!(parse(&other).unwrap_err().contains("AArch64"));
    }
}
