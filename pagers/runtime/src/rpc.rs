//! Messages to ports: a request with its answer, or a message that has none.
//!
//! Messages are built on the stack; one that doesn't fit there is built on the heap. A reply's rights and memory belong to the caller
//! from then on: `SendRight::from_port`, `Pages::from_reply`.

use alloc::vec::Vec;
use core::time::Duration;

use abi::call::notify::mach_notify_send_once;
use abi::item::Item;
use abi::message::{Header, MESSAGE_MAX, Malformed, Port, Writer, kind};
use abi::table::decode_reply;
use abi::trap::option;
use abi::{Code, Message, Routine};

use crate::receive::{destroy_contents, destroy_if_damaged, milliseconds};
use crate::reply_port;
use crate::trap::{MsgWords, mach_msg};

const SMALL: usize = 1024;

#[repr(align(8))]
struct Small([u8; SMALL]);

/// Asks and waits for the answer.
pub fn call<R: Routine>(port: u32, request: &R) -> Result<R::Reply, Code> {
    exchange(port, request, None)
}

/// Asks and waits so long for the answer (MACH_RCV_TIMED_OUT).
pub fn call_within<R: Routine>(port: u32, request: &R, longest: Duration) -> Result<R::Reply, Code> {
    exchange(port, request, Some(longest))
}

/// Sends to a port that this task has a send right to.
pub fn send<M: Message>(port: u32, message: &M) -> Result<(), Code> {
    send_to(Port::copy_send(port), message)
}

/// Sends to a port by any right to send.
pub fn send_to<M: Message>(to: Port, message: &M) -> Result<(), Code> {
    let header = Header { bits: Header::bits(to.kind, 0), remote: to.name.into(), ..Header::default() };
    with_message(|bytes| message.build(header, bytes), send_built)
}

/// Sends a reply with this id by the right that came with the request.
pub(crate) fn send_reply<R: Message>(to: Port, id: i32, answer: Result<&R, Code>) -> Result<(), Code> {
    let header = Header { bits: Header::bits(to.kind, 0), remote: to.name.into(), id, ..Header::default() };
    with_message(|bytes| build_reply(bytes, header, answer), send_built)
}

/// Builds a reply: its code, and its items if that is success. Gives its size.
pub(crate) fn build_reply<R: Message>(bytes: &mut [u8], header: Header, answer: Result<&R, Code>) -> Result<usize, Malformed> {
    let mut writer = Writer::new(bytes);
    match answer {
        Ok(reply) => {
            Code::SUCCESS.put(&mut writer)?;
            reply.encode(&mut writer)?;
        }
        Err(code) => code.put(&mut writer)?,
    }
    writer.finish(header)
}

fn send_built(bytes: &mut [u8], size: usize) -> Result<(), Code> {
    mach_msg(bytes, MsgWords { option: option::SEND, send_size: size as u32, ..MsgWords::default() }).ok()
}

/// Builds a message where there is room for it.
fn with_message<T>(
    build: impl Fn(&mut [u8]) -> Result<usize, Malformed>,
    then: impl FnOnce(&mut [u8], usize) -> Result<T, Code>,
) -> Result<T, Code> {
    let mut small = Small([0; SMALL]);
    if let Ok(size) = build(&mut small.0) {
        return then(&mut small.0, size);
    }
    let mut large = zeroed(MESSAGE_MAX)?;
    let size = build(&mut large).map_err(|_| Code::MIG_BAD_ARGUMENTS)?;
    then(&mut large, size)
}

fn zeroed(size: usize) -> Result<Vec<u8>, Code> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| Code::RESOURCE_SHORTAGE)?;
    bytes.resize(size, 0);
    Ok(bytes)
}

fn exchange<R: Routine>(port: u32, request: &R, longest: Option<Duration>) -> Result<R::Reply, Code> {
    let reply_port = reply_port::get();
    let header = Header {
        bits: Header::bits(kind::COPY_SEND, kind::MAKE_SEND_ONCE),
        remote: port.into(),
        local: reply_port.into(),
        ..Header::default()
    };
    with_message(
        |bytes| request.build(header, bytes),
        |bytes, size| {
            let option = option::SEND | option::RCV | option::RCV_LARGE | timeout_option(longest);
            let words =
                MsgWords { option, send_size: size as u32, rcv_name: reply_port, timeout: longest.map_or(0, milliseconds), notify: 0 };
            let code = mach_msg(bytes, words);
            finish::<R::Reply>(bytes, code, words)
        },
    )
}

const fn timeout_option(longest: Option<Duration>) -> u32 {
    if longest.is_some() { option::RCV_TIMEOUT } else { 0 }
}

/// Takes the reply, however often that has to be tried.
fn finish<R: Message>(bytes: &mut [u8], mut code: Code, words: MsgWords) -> Result<R, Code> {
    let again = MsgWords { option: words.option & !option::SEND, send_size: 0, ..words };
    while code == Code::RCV_INTERRUPTED {
        code = mach_msg(bytes, again);
    }
    match code {
        Code::SUCCESS => decode::<R>(bytes),
        Code::RCV_TOO_LARGE => {
            let size = Header::read(bytes).ok_or(code)?.size as usize;
            let mut large = zeroed(size)?;
            mach_msg(&mut large, again).ok()?;
            decode::<R>(&mut large)
        }
        Code::RCV_TIMED_OUT => {
            reply_port::discard();
            Err(code)
        }
        code => {
            destroy_if_damaged(code, bytes);
            Err(code)
        }
    }
}

fn decode<R: Message>(bytes: &mut [u8]) -> Result<R, Code> {
    let size = Header::read(bytes).map_or(0, |header| header.size as usize).min(bytes.len());
    let message = &mut bytes[..size];
    if Header::read(message).is_some_and(|header| header.id == mach_notify_send_once::Request::ID) {
        // Whoever was to answer threw the right to do so away.
        return Err(Code::MIG_SERVER_DIED);
    }
    decode_reply(message).inspect_err(|_| destroy_contents(message))
}
