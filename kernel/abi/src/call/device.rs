//! device.defs: devices. A record of a block device is a sector of 512 bytes.

use crate::item::{Inband, Text, Words};
use crate::message::{Memory, Port};
use crate::table::subsystem;

subsystem! { 2800;
    device_open = 2800 (mode: u32, name: Text<128>) -> (device: Port);
    device_close = 2801 () -> ();
    device_write = 2802 (mode: u32, recnum: u64, data: Memory) -> (bytes_written: i32);
    device_write_inband = 2803 (mode: u32, recnum: u64, data: Inband) -> (bytes_written: i32);
    device_read = 2804 (mode: u32, recnum: u64, bytes_wanted: i32) -> (data: Memory);
    device_read_inband = 2805 (mode: u32, recnum: u64, bytes_wanted: i32) -> (data: Inband);
    /// The memory of a device: a ramdisk's bytes, a network device's packet ring.
    device_map = 2809 (protection: u32, offset: u64, size: u64, unmap: i32) -> (pager: Port);
    device_set_status = 2810 (flavor: u32, status: Words) -> ();
    device_get_status = 2811 (flavor: u32, count: u32) -> (status: Words);
}

/// device_open: read.
pub const D_READ: u32 = 1;
/// device_open: write.
pub const D_WRITE: u32 = 2;
/// device_get_status: device size and record size, in words (bytes, low word first: [`DEV_GET_SIZE`] is 32-bit in Mach).
pub const DEV_GET_SIZE: u32 = 0;
/// device_get_status: records and record size; the count of records in two words, low first.
pub const DEV_GET_RECORDS: u32 = 1;
/// device_get_status of a network device: the hardware address, network byte order, in two words.
pub const NET_ADDRESS: u32 = ((b'n' as u32) << 16) + 2;
/// device_get_status of a network device: min, max packet size and header size among others; word 0 is the MTU.
pub const NET_STATUS: u32 = ((b'n' as u32) << 16) + 1;
/// device_get_status of `rtc0`: seconds since 1970 in two words, low first.
pub const RTC_SECONDS: u32 = ((b'v' as u32) << 16) + 2;
/// device_set_status of a block device: write what the device caches to stable storage; the reply comes when it is done.
pub const DEV_FLUSH: u32 = ((b'v' as u32) << 16) + 1;
