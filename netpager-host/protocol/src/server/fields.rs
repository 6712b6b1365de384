//! Reads the fields of an option's data. Each step may find that the data is too short; none of them panics.

use zerocopy::FromBytes;
use zerocopy::big_endian::{U16, U32};

use crate::limits::STRING_MAX;

/// The data not yet read.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn u16(&mut self) -> Option<u16> {
        let (value, rest) = U16::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some(value.get())
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (value, rest) = U32::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some(value.get())
    }

    /// A string with its length in front.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        if length > STRING_MAX {
            return None;
        }
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        core::str::from_utf8(bytes).ok()
    }

    /// Whether everything was read; data after the last field is as wrong as too little.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
