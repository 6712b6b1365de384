//! The initial ramdisk: device `rd0`, a tar archive that the machine has put into RAM.
//!
//! The kernel itself reads one file of it, the first program (`boot.rs`); everything else reads it through `device_read` or
//! `device_map`. Its memory is nobody's but the ramdisk's, for ever.

use alloc::sync::Arc;
use spin::Once;

use frames::FrameNumber;
use tar_no_std::{CorruptDataError, TarArchiveRef};
use vm::Object;

use crate::machine::RamdiskImage;

/// The ramdisk.
pub(crate) struct Ramdisk {
    pub(crate) bytes: &'static [u8],
    first: FrameNumber,
    object: Once<Arc<Object>>,
}

impl Ramdisk {
    pub(crate) const fn new(image: RamdiskImage) -> Self {
        Self { bytes: image.bytes, first: image.first, object: Once::new() }
    }

    /// Bytes in it.
    pub(crate) const fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// A regular file of the archive, by its name with or without `./` before it. An error if it isn't an archive.
    pub(crate) fn file(&self, name: &str) -> Result<Option<&'static [u8]>, CorruptDataError> {
        file(self.bytes, name)
    }

    /// Its memory, to be mapped. To be read only: the kernel relies on `bytes` not changing.
    pub(crate) fn object(&self, core: &'static vm::Core) -> Arc<Object> {
        let object = self.object.call_once(|| Object::device(core, self.first, self.size().div_ceil(abi::vm::PAGE_SIZE)));
        Arc::clone(object)
    }
}

fn file<'a>(archive: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, CorruptDataError> {
    let is_it = |found: &str| found.strip_prefix("./").unwrap_or(found) == name;
    // As tar does, the last one of a name counts.
    let files = TarArchiveRef::new(archive)?.entries();
    Ok(files.filter(|entry| entry.filename().as_str().is_ok_and(is_it)).last().map(|entry| entry.data()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const BLOCK: usize = 512;

    /// A member of a ustar archive.
    fn member(name: &str, kind: u8, contents: &[u8]) -> Vec<u8> {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, b"0000644\0");
        put(124, alloc::format!("{:011o}\0", contents.len()).as_bytes());
        put(148, b"        ");
        put(156, &[kind]);
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(alloc::format!("{sum:06o}\0 ").as_bytes());
        let mut member = header.to_vec();
        member.extend_from_slice(contents);
        member.resize(member.len().next_multiple_of(BLOCK), 0);
        member
    }

    fn archive(members: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = members.concat();
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn a_file_is_found_by_its_whole_name() {
        let bytes = archive(&[member("boot", b'0', b"boots"), member("bootstrap", b'0', &[7; 700]), member("./manifest", b'0', b"m")]);
        assert_eq!(file(&bytes, "bootstrap").unwrap(), Some(&[7; 700][..]));
        assert_eq!(file(&bytes, "manifest").unwrap(), Some(&b"m"[..]));
        assert_eq!(file(&bytes, "strap").unwrap(), None);
        assert_eq!(file(&bytes, "").unwrap(), None);
    }

    #[test]
    fn folders_are_no_files_and_the_last_of_a_name_counts() {
        let bytes = archive(&[member("bootstrap", b'5', b""), member("bootstrap", b'0', b"old"), member("bootstrap", b'0', b"new")]);
        assert_eq!(file(&bytes, "bootstrap").unwrap(), Some(&b"new"[..]));
        assert_eq!(file(&archive(&[member("bootstrap", b'5', b"")]), "bootstrap").unwrap(), None);
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let good = archive(&[member("bootstrap", b'0', &[1; 2000])]);
        assert!(file(&good, "bootstrap").unwrap().is_some());
        assert!(file(&good[..good.len() - BLOCK], "bootstrap").is_err(), "no terminator");
        assert!(file(&good[..3 * BLOCK], "bootstrap").is_err(), "cut off in a file");
        assert!(file(&good[..good.len() - 1], "bootstrap").is_err(), "no whole blocks");
        assert!(file(&[], "bootstrap").is_err());
        let mut torn = good;
        torn[3] ^= 1;
        assert!(file(&torn, "bootstrap").is_err(), "a wrong checksum");
    }
}
