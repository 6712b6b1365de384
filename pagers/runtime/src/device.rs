//! Devices: block devices by records (sectors), and the memory of those that have some.

use alloc::string::String;
use alloc::vec::Vec;

use abi::Code;
use abi::call::device::{
    DEV_FLUSH, DEV_GET_RECORDS, DEV_GET_SIZE, device_get_status, device_map, device_open, device_read, device_read_inband,
    device_set_status, device_write,
};
use abi::item::{Text, Words};
use abi::message::Memory;
use abi::vm::Protection;

use crate::{Pages, SendRight};

/// An open device.
#[derive(Debug)]
pub struct Device {
    port: SendRight,
}

/// What a block device holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// How many.
    pub count: u64,
    /// Bytes in each.
    pub size: u32,
}

impl Device {
    /// Opens a device by name; `mode` is of `abi::call::device::{D_READ, D_WRITE}`.
    pub fn open(master: &SendRight, name: &str, mode: u32) -> Result<Self, Code> {
        let reply = master.call(&device_open::Request { mode, name: Text(String::from(name)) })?;
        SendRight::from_port(reply.device).map(|port| Self { port }).ok_or(Code::D_NO_SUCH_DEVICE)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> &SendRight {
        &self.port
    }

    /// The words of a status.
    pub fn status(&self, flavor: u32, count: u32) -> Result<Vec<u32>, Code> {
        self.port.call(&device_get_status::Request { flavor, count }).map(|reply| reply.status.0)
    }

    /// How many records there are, and their size.
    pub fn records(&self) -> Result<Records, Code> {
        match self.status(DEV_GET_RECORDS, 3)?[..] {
            [low, high, size, ..] if size != 0 => Ok(Records { count: u64::from(low) | u64::from(high) << 32, size }),
            _ => Err(Code::D_INVALID_SIZE),
        }
    }

    /// Bytes of a device that isn't made of records.
    pub fn size(&self) -> Result<u64, Code> {
        match self.status(DEV_GET_SIZE, 2)?[..] {
            [size, ..] => Ok(size.into()),
            [] => Err(Code::D_INVALID_SIZE),
        }
    }

    /// Reads bytes from a record on.
    pub fn read(&self, record: u64, bytes: u32) -> Result<Pages, Code> {
        let bytes_wanted = i32::try_from(bytes).map_err(|_| Code::D_INVALID_SIZE)?;
        let reply = self.port.call(&device_read::Request { mode: 0, recnum: record, bytes_wanted })?;
        Ok(Pages::from_reply(reply.data))
    }

    /// Reads a few bytes, which the reply itself brings: no more than 128.
    pub fn read_inband(&self, record: u64, bytes: u32) -> Result<Vec<u8>, Code> {
        let bytes_wanted = i32::try_from(bytes).map_err(|_| Code::D_INVALID_SIZE)?;
        let reply = self.port.call(&device_read_inband::Request { mode: 0, recnum: record, bytes_wanted })?;
        Ok(reply.data.0)
    }

    /// Writes bytes from a record on; all of them, or it is an error.
    pub fn write(&self, record: u64, data: &[u8]) -> Result<(), Code> {
        let memory = Memory { address: data.as_ptr() as u64, size: data.len() as u64, deallocate: false };
        let reply = self.port.call(&device_write::Request { mode: 0, recnum: record, data: memory })?;
        if usize::try_from(reply.bytes_written) == Ok(data.len()) { Ok(()) } else { Err(Code::D_IO_ERROR) }
    }

    /// Waits until what was written is on stable storage.
    pub fn flush(&self) -> Result<(), Code> {
        self.port.call(&device_set_status::Request { flavor: DEV_FLUSH, status: Words(Vec::new()) }).map(drop)
    }

    /// Its memory, as an object to be mapped.
    pub fn memory(&self, size: u64, protection: Protection) -> Result<SendRight, Code> {
        let reply = self.port.call(&device_map::Request { protection: protection.bits(), offset: 0, size, unmap: 0 })?;
        SendRight::from_port(reply.pager).ok_or(Code::D_INVALID_OPERATION)
    }
}
