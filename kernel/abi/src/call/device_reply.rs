//! device_reply.defs: the answers to device requests that were sent without waiting.

use crate::code::Code;
use crate::item::Inband;
use crate::message::Memory;
use crate::table::subsystem;

subsystem! { 2900;
    device_write_reply = 2902 (result: Code, bytes_written: i32);
    device_write_reply_inband = 2903 (result: Code, bytes_written: i32);
    device_read_reply = 2904 (result: Code, data: Memory);
    device_read_reply_inband = 2905 (result: Code, data: Inband);
}
