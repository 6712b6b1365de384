//! One entry of a translation table, as bits and as what they mean.
//!
//! VMSAv8-64 descriptors (Arm ARM D8.3). User pages are never executable by the kernel (PXN), always tagged with an ASID (nG) and never
//! both writable and executable.

use abi::vm::Protection;
use frames::FrameNumber;

const VALID: u64 = 1;
/// A table at levels 0 to 2, a page at level 3.
const TABLE_OR_PAGE: u64 = 1 << 1;
const ATTRIBUTES_SHIFT: u32 = 2;
/// AP[1]: EL0 has access.
const EL0: u64 = 1 << 6;
/// AP[2]: nobody may write.
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/// Bits 47 to 12: the output address.
const OUTPUT: u64 = 0x0000_FFFF_FFFF_F000;

/// What may change in a valid entry without break-before-make: the rights and the accessed flag.
const CHANGEABLE: u64 = READ_ONLY | UXN | ACCESSED;

/// What MAIR_EL1 must be for [`MemoryType`]: attribute 0 is normal write-back, attribute 1 Device-nGnRE.
pub const MAIR: u64 = 0x04FF;

/// How memory is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// RAM: write-back, inner shareable.
    Normal = 0,
    /// Device-nGnRE, never executable.
    Device = 1,
}

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pte(pub u64);

impl Pte {
    /// Translates nothing.
    pub const INVALID: Self = Self(0);

    /// Points to a table of the next level.
    pub const fn table(frame: FrameNumber) -> Self {
        Self(frame.phys() | TABLE_OR_PAGE | VALID)
    }

    /// A user page, accessed. Memory that may be written or executed may also be read; what may be written is not executed.
    pub fn page(frame: FrameNumber, protection: Protection, memory: MemoryType) -> Self {
        let attributes = (memory as u64) << ATTRIBUTES_SHIFT;
        let fixed = TABLE_OR_PAGE | VALID | EL0 | INNER_SHAREABLE | ACCESSED | NOT_GLOBAL | PXN;
        Self(frame.phys() | attributes | fixed | READ_ONLY | UXN).with_rights(protection, memory)
    }

    fn with_rights(self, protection: Protection, memory: MemoryType) -> Self {
        let mut bits = self.0 | READ_ONLY | UXN;
        if protection.contains(Protection::WRITE) {
            bits &= !READ_ONLY;
        } else if protection.contains(Protection::EXECUTE) && memory == MemoryType::Normal {
            bits &= !UXN;
        }
        Self(bits)
    }

    /// Whether it translates anything.
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// The page or the table it points to.
    pub const fn frame(self) -> FrameNumber {
        FrameNumber::from_phys(self.0 & OUTPUT)
    }

    /// What EL0 may do with a valid page.
    pub fn protection(self) -> Protection {
        let mut protection = Protection::READ;
        protection.set(Protection::WRITE, self.0 & READ_ONLY == 0);
        protection.set(Protection::EXECUTE, self.0 & UXN == 0);
        protection
    }

    /// The same page without the rights that are not in `protection`; reading stays.
    pub fn restricted(self, protection: Protection) -> Self {
        let mut bits = self.0;
        if !protection.contains(Protection::WRITE) {
            bits |= READ_ONLY;
        }
        if !protection.contains(Protection::EXECUTE) {
            bits |= UXN;
        }
        Self(bits)
    }

    /// The accessed flag.
    pub const fn is_accessed(self) -> bool {
        self.0 & ACCESSED != 0
    }

    /// The same with another accessed flag.
    pub const fn with_accessed(self, accessed: bool) -> Self {
        Self(if accessed { self.0 | ACCESSED } else { self.0 & !ACCESSED })
    }

    /// Whether a valid entry may become `other` without being broken first.
    pub const fn may_become(self, other: Self) -> bool {
        (self.0 ^ other.0) & !CHANGEABLE == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: FrameNumber = FrameNumber(0x4_1234);

    fn page(protection: Protection) -> Pte {
        Pte::page(FRAME, protection, MemoryType::Normal)
    }

    #[test]
    fn bits_are_those_of_the_manual() {
        assert_eq!(page(Protection::DEFAULT).0, 0x0060_0000_4123_4F43);
        assert_eq!(page(Protection::READ).0, 0x0060_0000_4123_4FC3);
        assert_eq!(page(Protection::READ | Protection::EXECUTE).0, 0x0020_0000_4123_4FC3);
        let device = Pte::page(FRAME, Protection::ALL, MemoryType::Device);
        assert_eq!(device.0, 0x0060_0000_4123_4F47);
        assert_eq!(Pte::table(FRAME).0, 0x4123_4003);
        assert_eq!((MAIR & 0xFF, MAIR >> 8), (0xFF, 0x04));
    }

    #[test]
    fn rights_are_decoded_and_only_taken_away() {
        for bits in 1..8 {
            let asked = Protection::from_bits_truncate(bits);
            let given = page(asked).protection();
            assert_eq!(given.contains(Protection::WRITE), asked.contains(Protection::WRITE));
            assert!(!given.contains(Protection::WRITE | Protection::EXECUTE));
            for less in (0..8).map(Protection::from_bits_truncate) {
                let restricted = page(asked).restricted(less);
                assert_eq!(restricted.protection(), given & less | Protection::READ);
                assert!(page(asked).may_become(restricted));
            }
        }
    }

    #[test]
    fn another_frame_or_memory_type_needs_a_break() {
        let normal = page(Protection::READ);
        assert!(normal.may_become(normal.with_accessed(false)));
        assert!(!normal.may_become(Pte::page(FrameNumber(FRAME.0 + 1), Protection::READ, MemoryType::Normal)));
        assert!(!normal.may_become(Pte::page(FRAME, Protection::READ, MemoryType::Device)));
    }
}
