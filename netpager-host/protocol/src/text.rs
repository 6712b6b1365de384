//! A short text from the other side, kept without a heap and safe to print.

use core::fmt::{self, Write as _};

use crate::limits::ERROR_TEXT_KEPT;

/// The beginning of a text the peer sent, for a log. Control characters are shown as `?`, so that a peer cannot forge log
/// lines or drive a terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; ERROR_TEXT_KEPT],
    length: u8,
}

const _: () = assert!(ERROR_TEXT_KEPT <= u8::MAX as usize);

impl Text {
    /// No text.
    pub const EMPTY: Self = Self { bytes: [0; ERROR_TEXT_KEPT], length: 0 };

    /// Keeps the beginning of `text`.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        let mut kept = Self::EMPTY;
        let length = text.len().min(ERROR_TEXT_KEPT);
        kept.bytes[..length].copy_from_slice(&text[..length]);
        kept.length = length as u8;
        kept
    }

    /// Whether the peer sent no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes kept, as the peer sent them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.as_bytes().utf8_chunks() {
            for character in piece.valid().chars() {
                f.write_char(if character.is_control() { '?' } else { character })?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Text {
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
        assert_eq!(Text::new(b"no\nsuch \x1b[2Jexport\xff").to_string(), "no?such ?[2Jexport");
    }

    #[test]
    fn a_character_cut_in_two_is_dropped() {
        let mut long = [b'a'; ERROR_TEXT_KEPT + 1];
        long[ERROR_TEXT_KEPT - 1..].copy_from_slice("é".as_bytes());
        assert_eq!(Text::new(&long).to_string().len(), ERROR_TEXT_KEPT - 1);
    }
}
