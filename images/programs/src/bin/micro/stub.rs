//! Calls as a C program's stubs make them: the request is built in a buffer, the reply comes into it, its code is looked at. (The
//! runtime's own `rpc::call` also clears its buffer and decodes every item; one row shows what that costs.)

use abi::message::{HEADER_BYTES, Header, kind};
use abi::trap::option;
use abi::{Code, Message};
use runtime::trap::{self, MsgWords};

const SIZE: usize = 2048;

/// A buffer for messages.
#[repr(align(8))]
pub(crate) struct Buffer(pub(crate) [u8; SIZE]);

impl Buffer {
    pub(crate) const fn new() -> Self {
        Self([0; SIZE])
    }
}

/// A buffer and a reply port.
pub(crate) struct Stub {
    buffer: Buffer,
    reply: u32,
}

impl Stub {
    pub(crate) fn new() -> Self {
        Self { buffer: Buffer::new(), reply: trap::mach_reply_port() }
    }

    fn header(&self, port: u32) -> Header {
        let bits = Header::bits(kind::COPY_SEND, kind::MAKE_SEND_ONCE);
        Header { bits, remote: port.into(), local: self.reply.into(), ..Header::default() }
    }

    fn exchange(&mut self, size: usize) -> Code {
        let words = MsgWords { option: option::SEND | option::RCV, send_size: size as u32, rcv_name: self.reply, ..MsgWords::default() };
        trap::mach_msg(&mut self.buffer.0, words)
    }

    /// Asks; the error is the trap's, or the code in the reply.
    pub(crate) fn call(&mut self, port: u32, request: &impl Message) -> Result<(), Code> {
        let size = request.build(self.header(port), &mut self.buffer.0)?;
        self.exchange(size).ok()?;
        self.word(HEADER_BYTES + 8).map(|code| Code(code as i32))?.ok()
    }

    /// The 32 bits at a place of the reply.
    pub(crate) fn word(&self, at: usize) -> Result<u32, Code> {
        let bytes = self.buffer.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or(Code::MIG_TYPE_ERROR)
    }

    /// The first item of a reply, if it has 64 bits.
    pub(crate) fn first_long(&self) -> Result<u64, Code> {
        let at = HEADER_BYTES + 16 + 8;
        Ok(u64::from(self.word(at)?) | u64::from(self.word(at + 4)?) << 32)
    }

    /// Prepares the body of messages to be sent by `again`; gives their size.
    pub(crate) fn prepare(&mut self, request: &impl Message) -> Result<usize, Code> {
        Ok(request.build(self.header(0), &mut self.buffer.0)?)
    }

    /// Sends a prepared message to a port and waits for the answer. The body is as the last answer left it.
    pub(crate) fn again(&mut self, port: u32, id: i32, size: usize, complex: u32) -> Result<(), Code> {
        let header = self.header(port);
        Header { bits: header.bits | complex, size: size as u32, id, ..header }.write(&mut self.buffer.0);
        self.exchange(size).ok()
    }
}
