//! Which bits of an address index which table.

/// Entries in a table.
pub const ENTRIES: usize = 512;
/// User addresses end here: TCR_EL1.T0SZ = 17.
pub const USER_END: u64 = 1 << 47;
/// The level whose entries are pages.
pub(crate) const LEAF: u32 = 3;

/// log2 of the bytes that an entry of this level translates.
const fn shift(level: u32) -> u32 {
    12 + 9 * (LEAF - level)
}

/// Bytes that an entry of this level translates.
pub(crate) const fn span(level: u32) -> u64 {
    1 << shift(level)
}

/// The entry of a table of this level that translates an address.
pub(crate) const fn index(level: u32, address: u64) -> usize {
    (address >> shift(level)) as usize % ENTRIES
}

/// Where what the next entry of this level translates begins.
pub(crate) const fn next(level: u32, address: u64) -> u64 {
    (address & !(span(level) - 1)) + span(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_indices() {
        let address = (200 << 39) | (1 << 30) | (511 << 21) | (7 << 12);
        assert_eq!([0, 1, 2, 3].map(|level| index(level, address)), [200, 1, 511, 7]);
        assert_eq!(index(0, USER_END - 1), 255);
        assert_eq!(next(3, address), address + 4096);
        assert_eq!(next(2, address + 5), (200 << 39) | (2 << 30));
    }
}
