//! Sizes in bytes as people write them: `4096`, `64K`, `256M`, `1G`.
//!
//! Manifests and the network pager's host use the same notation.

use anyhow::{Result, anyhow, bail};

/// The number of bytes that `text` means; binary multiples.
pub(crate) fn parse(text: &str) -> Result<u64> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("`{text}` is not a size; write bytes, or a number with K, M or G");
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| anyhow!("`{text}` is more bytes than 64 bits can count"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_suffixed_sizes() {
        assert_eq!(parse("4096").unwrap(), 4096);
        assert_eq!(parse("64K").unwrap(), 65_536);
        assert_eq!(parse("256M").unwrap(), 268_435_456);
        assert_eq!(parse("1g").unwrap(), 1 << 30);
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "M", "1.5G", "-1", "12 M", "0x10", "99999999999999999999", "99999999999G"] {
            assert!(parse(text).is_err(), "{text} was taken");
        }
    }
}
