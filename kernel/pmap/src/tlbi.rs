//! Operands of TLBI instructions.
//!
//! A page number that is not masked spills its sign bits into the ASID, and an ASID that is not shifted invalidates somebody else's
//! pages: nothing an emulator shows, so it is tested here (Arm ARM C5.5, D8.17).

/// Bits 43 to 0 of an operand: address bits 55 to 12.
const PAGE_NUMBER: u64 = (1 << 44) - 1;
/// Bits 36 to 0 of a range operand: address bits 48 to 12.
const RANGE_BASE: u64 = (1 << 37) - 1;
/// The TG field of a range operand: 4 KiB.
const GRANULE_4K: u64 = 1 << 46;
/// NUM and SCALE are 5 and 2 bits.
const MAX_NUMBER: u64 = 31;

/// For VAE1IS, VALE1IS: one page of one ASID. The TTL hint is 0, "any level".
pub const fn page(asid: u16, address: u64) -> u64 {
    self::asid(asid) | ((address >> 12) & PAGE_NUMBER)
}

/// For ASIDE1IS: all pages of one ASID.
pub const fn asid(asid: u16) -> u64 {
    (asid as u64) << 48
}

/// For RVALE1IS and RVAE1IS (FEAT_TLBIRANGE): operands that together cover `pages` pages from `address` on and none beside them, but for
/// the last page of an odd number, which [`page`] covers: the second value is its address.
pub fn ranges(asid: u16, address: u64, pages: u64) -> (impl Iterator<Item = u64>, Option<u64>) {
    let mut at = address;
    let mut left = pages & !1;
    let operands = core::iter::from_fn(move || {
        // A range operand covers (NUM + 1) << (5 * SCALE + 1) pages. The lowest scale that leaves something first, as scales ascend.
        let scale = (0..4).find(|scale| (left >> (5 * scale + 1)) & MAX_NUMBER != 0 || left >> (5 * scale + 1) == MAX_NUMBER + 1)?;
        let unit = 1 << (5 * scale + 1);
        let blocks = match (left / unit) & MAX_NUMBER {
            0 => MAX_NUMBER + 1,
            blocks => blocks,
        };
        let operand = self::asid(asid) | GRANULE_4K | (scale << 44) | ((blocks - 1) << 39) | ((at >> 12) & RANGE_BASE);
        at += (blocks * unit) << 12;
        left -= blocks * unit;
        Some(operand)
    });
    (operands, (pages % 2 == 1).then(|| address + ((pages - 1) << 12)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_bits_stay_out_of_the_asid_and_the_level_hint() {
        let high_half = 0xFFFF_8000_1234_5678;
        assert_eq!(page(0, high_half), 0x0000_0FF8_0001_2345 | (0xF << 40));
        assert_eq!(page(0, high_half) >> 44, 0);
        assert_eq!(page(0xABCD, 0x7FFF_FFFF_F000), 0xABCD_0007_FFFF_FFFF);
        assert_eq!(asid(0xFFFF), 0xFFFF_0000_0000_0000);
    }

    #[test]
    fn ranges_cover_exactly_the_pages() {
        for pages in (0..5000).chain([65_535, 65_536, 65_537, 1 << 20, (1 << 21) - 2]) {
            let mut at = 0x5000_0000_0000_u64;
            let (operands, odd) = ranges(0x1234, at, pages);
            for operand in operands {
                assert_eq!((operand >> 46) & 3, 1, "4 KiB granule");
                assert_eq!(operand >> 48, 0x1234);
                assert_eq!((operand & RANGE_BASE) << 12, at);
                assert_eq!((operand >> 37) & 3, 0, "no level hint");
                let (number, scale) = ((operand >> 39) & 31, (operand >> 44) & 3);
                at += ((number + 1) << (5 * scale + 1)) << 12;
            }
            at += odd.map_or(0, |odd| {
                assert_eq!(odd, at);
                4096
            });
            assert_eq!(at, 0x5000_0000_0000 + (pages << 12), "{pages} pages");
        }
    }
}
