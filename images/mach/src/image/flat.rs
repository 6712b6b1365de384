//! ELF in, arm64 Image out: the flat binary that boot loaders and QEMU's `-kernel` take.
//!
//! With an ELF file QEMU enters the kernel without the device tree's address; with an Image x0 holds it. The link script
//! puts the 64-byte Image header at the start of the first segment; here the segments are laid out by their load
//! addresses, as `objcopy -O binary` would, and the header is checked against what was laid out.

use anyhow::{Context, Result, bail};
use elf::{ElfBytes, abi, endian::AnyEndian, segment::ProgramHeader};

/// More than any kernel of ours; a load address that went astray makes gigabytes.
const LARGEST: u64 = 256 << 20;
/// The header's magic number, `ARM\x64`, and where it is.
const MAGIC: &[u8] = b"ARM\x64";
const MAGIC_AT: usize = 56;
const IMAGE_SIZE_AT: usize = 16;
const HEADER: usize = 64;

/// The bytes of the Image that the kernel's ELF file describes.
pub(crate) fn from_elf(bytes: &[u8]) -> Result<Vec<u8>> {
    let file = ElfBytes::<AnyEndian>::minimal_parse(bytes).context("not an ELF file")?;
    if file.ehdr.e_machine != abi::EM_AARCH64 {
        bail!("not an AArch64 ELF file (machine {})", file.ehdr.e_machine);
    }
    let segments: Vec<ProgramHeader> = file
        .segments()
        .context("no program headers")?
        .iter()
        .filter(|segment| segment.p_type == abi::PT_LOAD && segment.p_memsz > 0)
        .collect();
    let image = lay_out(&file, &segments)?;
    check_header(&image, extent(&segments)?.1)?;
    Ok(image)
}

/// The first load address, and the bytes from there to the end of the last segment's memory.
fn extent(segments: &[ProgramHeader]) -> Result<(u64, u64)> {
    let start = segments.iter().map(|segment| segment.p_paddr).min().context("nothing to load")?;
    let mut length = 0;
    for segment in segments {
        let end = segment.p_paddr.checked_add(segment.p_memsz).context("a segment ends past the address space")?;
        length = length.max(end - start);
    }
    if length > LARGEST {
        bail!("the segments are spread over {} MiB; are all load addresses right?", length >> 20);
    }
    Ok((start, length))
}

fn lay_out(file: &ElfBytes<'_, AnyEndian>, segments: &[ProgramHeader]) -> Result<Vec<u8>> {
    let (start, _) = extent(segments)?;
    let mut image = Vec::new();
    for segment in segments {
        let data = file.segment_data(segment).context("a segment lies outside of the file")?;
        let at = usize::try_from(segment.p_paddr - start)?;
        let end = at + data.len();
        if image.len() < end {
            image.resize(end, 0);
        }
        image[at..end].copy_from_slice(data);
    }
    Ok(image)
}

/// The boot loader believes the header: it must be one, and its image size must cover everything, zeroed memory too.
fn check_header(image: &[u8], memory: u64) -> Result<()> {
    if image.len() < HEADER || &image[MAGIC_AT..MAGIC_AT + MAGIC.len()] != MAGIC {
        bail!("no arm64 Image header at the start of the first segment");
    }
    let field: [u8; 8] = image[IMAGE_SIZE_AT..IMAGE_SIZE_AT + 8].try_into()?;
    let image_size = u64::from_le_bytes(field);
    if image_size < memory {
        bail!("the Image header says {image_size} bytes, but the segments need {memory}");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tiny ELF64 file with the given (load address, file bytes, memory size) segments.
    pub(crate) fn elf_file(machine: u16, segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(16, 0);
        header.extend(2u16.to_le_bytes());
        header.extend(machine.to_le_bytes());
        header.extend(1u32.to_le_bytes());
        for word in [0u64, 64, 0] {
            header.extend(word.to_le_bytes());
        }
        header.extend(0u32.to_le_bytes());
        for half in [64u16, 56, u16::try_from(segments.len()).unwrap(), 0, 0, 0] {
            header.extend(half.to_le_bytes());
        }
        let mut offset = (64 + 56 * segments.len()) as u64;
        let mut data = Vec::new();
        for (address, bytes, memory) in segments {
            header.extend(1u32.to_le_bytes());
            header.extend(5u32.to_le_bytes());
            for word in [offset, 0xffff_8000_0000_0000 | address, *address, bytes.len() as u64, *memory, 4096] {
                header.extend(word.to_le_bytes());
            }
            data.extend_from_slice(bytes);
            offset += bytes.len() as u64;
        }
        [header, data].concat()
    }

    /// The first segment's bytes of a bootable kernel whose header says `image_size`.
    pub(crate) fn image_header(image_size: u64) -> Vec<u8> {
        let mut header = vec![0; HEADER];
        header[IMAGE_SIZE_AT..IMAGE_SIZE_AT + 8].copy_from_slice(&image_size.to_le_bytes());
        header[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        header
    }

    #[test]
    fn segments_are_laid_out_by_load_address_with_zeros_between() {
        let header = image_header(0x3000);
        let file = elf_file(abi::EM_AARCH64, &[(0x20_1000, b"data", 0x2000), (0x20_0000, &header, 64)]);
        let image = from_elf(&file).unwrap();
        assert_eq!(image.len(), 0x1004);
        assert_eq!(image[..HEADER], header[..]);
        assert!(image[HEADER..0x1000].iter().all(|byte| *byte == 0));
        assert_eq!(&image[0x1000..], b"data");
    }

    fn refusal(file: &[u8]) -> String {
        format!("{:#}", from_elf(file).unwrap_err())
    }

    #[test]
    fn an_image_size_without_the_zeroed_memory_is_refused() {
        let file = elf_file(abi::EM_AARCH64, &[(0, &image_header(0x1000), 0x1001)]);
        assert!(refusal(&file).contains("need 4097"));
    }

    #[test]
    fn what_is_not_a_kernel_is_refused() {
        assert!(refusal(b"#!/bin/sh").contains("not an ELF file"));
        assert!(refusal(&elf_file(62, &[(0, &image_header(64), 64)])).contains("machine 62"));
        assert!(refusal(&elf_file(abi::EM_AARCH64, &[])).contains("nothing to load"));
        assert!(refusal(&elf_file(abi::EM_AARCH64, &[(0, &[0; 64], 64)])).contains("no arm64 Image header"));
        assert!(refusal(&elf_file(abi::EM_AARCH64, &[(0, b"x", 1), (1 << 40, b"y", 1)])).contains("spread over"));
        assert!(refusal(&elf_file(abi::EM_AARCH64, &[(u64::MAX, b"y", 9)])).contains("past the address space"));
    }

    #[test]
    fn a_truncated_file_is_an_error_wherever_it_ends() {
        let whole = elf_file(abi::EM_AARCH64, &[(0, &image_header(64), 64)]);
        for length in 0..whole.len() {
            assert!(from_elf(&whole[..length]).is_err(), "the first {length} bytes were taken");
        }
    }
}
