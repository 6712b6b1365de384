//! The types that an item of a message can have, each with its one layout (ABI: Messages).

use alloc::string::String;
use alloc::vec::Vec;

use crate::code::Code;
use crate::message::{Descriptor, Malformed, Memory, Port, Ports, Reader, Writer, kind};

/// A type that can be an item.
pub trait Item: Sized {
    /// The type's name in Mach's own words, for the printed interface.
    const NAME: &'static str;
    /// Appends it.
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed>;
    /// Takes it.
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// A name of a port in the sender's space that stays a name: no right moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortName(pub u32);

/// Up to 1024 words in line: states, infos.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<u32>);

/// Up to 128 bytes in line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inband(pub Vec<u8>);

/// A string of at most N - 1 bytes in a field of N.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<const N: usize>(pub String);

const WORDS_MAX: u32 = 1024;
const INBAND_MAX: u32 = 128;

fn scalar<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], Malformed> {
    let (descriptor, data) = reader.item()?;
    if !descriptor.inline || descriptor.number != 1 || kind::is_right(descriptor.name) {
        return Err(Malformed);
    }
    data.try_into().map_err(|_| Malformed)
}

macro_rules! scalars {
    ($($type:ty, $name:literal, $kind:expr, $bits:literal;)*) => {$(
        impl Item for $type {
            const NAME: &'static str = $name;
            fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
                writer.item(Descriptor::inline($kind, $bits, 1), &self.to_le_bytes())
            }
            fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                scalar(reader).map(Self::from_le_bytes)
            }
        }
    )*};
}

scalars! {
    i32, "integer_t", kind::INTEGER_32, 32;
    u32, "natural_t", kind::INTEGER_32, 32;
    i64, "long_integer_t", kind::INTEGER_64, 64;
    u64, "long_natural_t", kind::INTEGER_64, 64;
}

impl Item for bool {
    const NAME: &'static str = "boolean_t";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        writer.item(Descriptor::inline(kind::BOOLEAN, 32, 1), &u32::from(*self).to_le_bytes())
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        scalar(reader).map(|bytes| u32::from_le_bytes(bytes) != 0)
    }
}

impl Item for Code {
    const NAME: &'static str = "kern_return_t";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        self.0.put(writer)
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        i32::get(reader).map(Self)
    }
}

impl Item for PortName {
    const NAME: &'static str = "mach_port_name_t";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        writer.item(Descriptor::inline(kind::PORT_NAME, 32, 1), &self.0.to_le_bytes())
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        scalar(reader).map(|bytes| Self(u32::from_le_bytes(bytes)))
    }
}

impl Item for Port {
    const NAME: &'static str = "mach_port_t";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        writer.item(Descriptor::inline(self.kind, 64, 1), &u64::from(self.name).to_le_bytes())
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (descriptor, data) = reader.item()?;
        if !descriptor.inline || descriptor.number != 1 || descriptor.bits != 64 || !kind::is_right(descriptor.name) {
            return Err(Malformed);
        }
        let name = u32::from_le_bytes(data[..4].try_into().map_err(|_| Malformed)?);
        Ok(Self { name, kind: descriptor.name })
    }
}

impl Item for Memory {
    const NAME: &'static str = "pointer_t";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        let number = u32::try_from(self.size).map_err(|_| Malformed)?;
        let descriptor = Descriptor { name: kind::BYTE, bits: 8, inline: false, deallocate: self.deallocate, number };
        writer.item(descriptor, &self.address.to_le_bytes())
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (descriptor, data) = reader.item()?;
        if descriptor.inline || kind::is_right(descriptor.name) {
            return Err(Malformed);
        }
        let address = u64::from_le_bytes(data.try_into().map_err(|_| Malformed)?);
        Ok(Self { address, size: descriptor.data_bytes().ok_or(Malformed)?, deallocate: descriptor.deallocate })
    }
}

impl Item for Ports {
    const NAME: &'static str = "mach_port_array_t";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        let descriptor = Descriptor { name: self.kind, bits: 32, inline: false, deallocate: self.deallocate, number: self.count };
        writer.item(descriptor, &self.address.to_le_bytes())
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (descriptor, data) = reader.item()?;
        if descriptor.inline || !kind::is_right(descriptor.name) {
            return Err(Malformed);
        }
        let address = u64::from_le_bytes(data.try_into().map_err(|_| Malformed)?);
        Ok(Self { address, count: descriptor.number, kind: descriptor.name, deallocate: descriptor.deallocate })
    }
}

fn copied(data: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(data.len()).map_err(|_| Malformed)?;
    copy.extend_from_slice(data);
    Ok(copy)
}

impl Item for Words {
    const NAME: &'static str = "array[*:1024] of natural_t";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        let mut bytes = [0; WORDS_MAX as usize * 4];
        let room = bytes.get_mut(..self.0.len() * 4).ok_or(Malformed)?;
        for (to, from) in room.chunks_exact_mut(4).zip(&self.0) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        writer.item(Descriptor::inline(kind::INTEGER_32, 32, self.0.len() as u32), room)
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (descriptor, data) = reader.item()?;
        if !descriptor.inline || descriptor.bits != 32 || descriptor.number > WORDS_MAX {
            return Err(Malformed);
        }
        let mut words = Vec::new();
        words.try_reserve_exact(data.len() / 4).map_err(|_| Malformed)?;
        words.extend(data.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
        Ok(Self(words))
    }
}

impl Item for Inband {
    const NAME: &'static str = "array[*:128] of char";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        if self.0.len() > INBAND_MAX as usize {
            return Err(Malformed);
        }
        writer.item(Descriptor::inline(kind::CHAR, 8, self.0.len() as u32), &self.0)
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (descriptor, data) = reader.item()?;
        if !descriptor.inline || descriptor.bits != 8 || descriptor.number > INBAND_MAX {
            return Err(Malformed);
        }
        copied(data).map(Self)
    }
}

impl<const N: usize> Item for Text<N> {
    const NAME: &'static str = "c_string";
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        let mut field = [0; N];
        field.get_mut(..self.0.len()).filter(|room| room.len() < N).ok_or(Malformed)?.copy_from_slice(self.0.as_bytes());
        writer.item(Descriptor::inline(kind::STRING, (N * 8) as u16, 1), &field)
    }
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (descriptor, data) = reader.item()?;
        if !descriptor.inline || data.len() > N {
            return Err(Malformed);
        }
        let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
        String::from_utf8(copied(&data[..end])?).map(Self).map_err(|_| Malformed)
    }
}
