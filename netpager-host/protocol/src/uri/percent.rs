//! Percent-encoding (RFC 3986 §2.1).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::error::UriError;

/// Decodes part of an address. A `+` is a plus.
pub(super) fn decode(text: &str) -> Result<String, UriError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digit = |index: usize| after.get(index).and_then(|&digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(UriError::Percent(text.into()));
        };
        bytes.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| UriError::NotText(text.into()))
}

/// Where text stands in an address: this decides what is written as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A host's name.
    Host,
    /// An IPv6 address, in brackets.
    Address,
    /// The export's name.
    Path,
    /// The value of a parameter.
    Query,
}

impl Place {
    const fn takes(self, byte: u8) -> bool {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => true,
            b':' => !matches!(self, Self::Host),
            b'@' | b'/' => matches!(self, Self::Path | Self::Query),
            b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' => true,
            // In a query these two have a meaning.
            b'&' | b'=' => matches!(self, Self::Path),
            _ => false,
        }
    }
}

/// Text that writes itself encoded.
pub(super) struct Encoded<'t>(pub(super) &'t str, pub(super) Place);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, place) = self;
        for character in text.chars() {
            match u8::try_from(character) {
                Ok(byte) if character.is_ascii() && place.takes(byte) => fmt::Write::write_char(f, character)?,
                _ => character.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| write!(f, "%{byte:02X}"))?,
            }
        }
        Ok(())
    }
}
