//! A short text, kept without a heap and safe to print.

use core::fmt::{self, Write};

use crate::limits::ERROR_TEXT_KEPT;

/// The beginning of a text, at most `N` bytes, for a log or for the other side. Control characters are shown as `?`, so that a peer
/// cannot forge log lines or drive a terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize = ERROR_TEXT_KEPT> {
    bytes: [u8; N],
    length: u16,
}

impl<const N: usize> Text<N> {
    const FITS: () = assert!(N <= u16::MAX as usize);

    /// No text.
    pub const EMPTY: Self = Self { bytes: [0; N], length: 0 };

    /// Keeps the beginning of `text`.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let () = Self::FITS;
        let mut kept = Self::EMPTY;
        kept.add(text);
        kept
    }

    /// Keeps the beginning of what is formatted, cut between two characters.
    #[must_use]
    pub fn format(text: fmt::Arguments<'_>) -> Self {
        let () = Self::FITS;
        let mut kept = Self::EMPTY;
        // An error says that it is full, or that something could not be formatted: what there is must do.
        let _ = kept.write_fmt(text);
        kept
    }

    fn add(&mut self, text: &[u8]) {
        let start = usize::from(self.length);
        let count = text.len().min(N - start);
        self.bytes[start..start + count].copy_from_slice(&text[..count]);
        self.length += count as u16;
    }

    /// Whether there is no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes kept, as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.floor_char_boundary(N - usize::from(self.length));
        self.add(&text.as_bytes()[..end]);
        if end == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.as_bytes().utf8_chunks() {
            for character in piece.valid().chars() {
                f.write_char(if character.is_control() { '?' } else { character })?;
            }
        }
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn control_characters_and_broken_utf8_are_not_printed() {
        assert_eq!(<Text>::new(b"no\nsuch \x1b[2Jexport\xff").to_string(), "no?such ?[2Jexport");
    }

    #[test]
    fn a_character_cut_in_two_is_dropped() {
        let mut long = [b'a'; ERROR_TEXT_KEPT + 1];
        long[ERROR_TEXT_KEPT - 1..].copy_from_slice("é".as_bytes());
        assert_eq!(<Text>::new(&long).to_string().len(), ERROR_TEXT_KEPT - 1);
    }

    #[test]
    fn a_formatted_text_ends_between_characters() {
        assert_eq!(Text::<8>::format(format_args!("{}-{}", "ab", "cdéé")).as_bytes(), "ab-cdé".as_bytes());
        assert_eq!(Text::<8>::format(format_args!("{}", 12345678)).to_string(), "12345678");
        assert_eq!(Text::<8>::format(format_args!("{}x{}", "1234567", "8é")).to_string(), "1234567x");
    }
}
