//! An exception to a handler and back: the thread does what is no trap, the handler says to go on.

use abi::call::exc::exception_raise;
use abi::call::mach::thread_set_special_port;
use abi::item::Item;
use abi::message::{Header, Malformed, Port, Reader, Writer};
use abi::trap::{THREAD_EXCEPTION_PORT, option};
use abi::{Code, Message, REPLY};
use runtime::thread::STACK;
use runtime::trap::{self, MsgWords};
use runtime::{SendRight, port, task, thread};

use crate::clock::repeat;
use crate::stub::Buffer;

const TIMES: u64 = 500;
/// A trap's number is negative.
const NO_TRAP: i32 = 1;

/// The handler's answer.
struct GoOn;

impl Message for GoOn {
    const ID: i32 = exception_raise::Request::ID + REPLY;

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        Code::SUCCESS.put(writer)
    }

    fn decode(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

pub(crate) fn run() -> Result<(), Code> {
    let receive = port::allocate()?;
    let send = receive.make_send()?;
    let name = receive.into_name();
    thread::spawn(STACK, move || handle(name))?;
    let own = SendRight::thread_self();
    own.call(&thread_set_special_port::Request { which: THREAD_EXCEPTION_PORT, special_port: send.copy() })?;
    repeat("exception", TIMES, || {
        trap::unknown(NO_TRAP);
        Ok::<_, Code>(())
    })?;
    own.call(&thread_set_special_port::Request { which: THREAD_EXCEPTION_PORT, special_port: Port::NULL }).map(drop)
}

/// Lets every thread go on.
fn handle(name: u32) {
    let mut buffer = Buffer::new();
    let receive = MsgWords { option: option::RCV, rcv_name: name, ..MsgWords::default() };
    let mut words = receive;
    loop {
        let code = trap::mach_msg(&mut buffer.0, words);
        let size = if code == Code::SUCCESS { go_on(&mut buffer.0) } else { None };
        words = match size {
            Some(size) => MsgWords { option: option::SEND | option::RCV, send_size: size as u32, ..receive },
            None => receive,
        };
    }
}

/// Gives the message's rights back and makes the answer of it.
fn go_on(bytes: &mut [u8]) -> Option<usize> {
    let header = Header::read(bytes)?;
    let mut items = Reader::new(bytes);
    for _ in 0..2 {
        let right = Port::get(&mut items).ok()?;
        trap::mach_port_deallocate(task::own(), right.name).ok()?;
    }
    let to = Header { bits: Header::bits(header.remote_kind(), 0), remote: header.remote, ..Header::default() };
    GoOn.build(to, bytes).ok()
}
