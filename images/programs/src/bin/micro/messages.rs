//! Messages between threads and between tasks.

use abi::message::{COMPLEX, Descriptor, Malformed, Memory, Reader, Writer, kind};
use abi::vm::PAGE_SIZE;
use abi::{Code, Message};
use runtime::Pages;

use abi::item::Item;

use crate::clock::repeat;
use crate::peer::{ECHO, Peer, READ, TAKE};
use crate::stub::Stub;

const TIMES: u64 = 1000;
const FEWER: u64 = 100;

/// A message with so many bytes in line.
struct InLine<const N: usize>;

impl<const N: usize> Message for InLine<N> {
    const ID: i32 = ECHO;

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        if N == 0 { Ok(()) } else { writer.item(Descriptor::inline(kind::BYTE, 8, N as u32), &[0x5A; N]) }
    }

    fn decode(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

/// A message with memory out of line.
struct OutOfLine(Memory);

impl Message for OutOfLine {
    const ID: i32 = TAKE;

    fn encode(&self, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        self.0.put(writer)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Memory::get(reader).map(Self)
    }
}

pub(crate) fn run() -> Result<(), Code> {
    let (thread, task) = (Peer::thread()?, Peer::task()?);
    in_line::<0>("thread-rpc", &thread)?;
    in_line::<0>("user-rpc", &task)?;
    in_line::<1024>("thread-rpc-1k", &thread)?;
    in_line::<1024>("user-rpc-1k", &task)?;
    for (kib, unread, read) in [(32, "ool-32k", "ool-32k-read"), (1024, "ool-1m", "ool-1m-read")] {
        out_of_line(unread, &task, kib, TAKE)?;
        out_of_line(read, &task, kib, READ)?;
    }
    Ok(())
}

fn in_line<const N: usize>(name: &str, peer: &Peer) -> Result<(), Code> {
    let mut stub = Stub::new();
    let size = stub.prepare(&InLine::<N>)?;
    repeat(name, TIMES, || stub.again(peer.name(), ECHO, size, 0))
}

fn out_of_line(name: &str, peer: &Peer, kib: u64, id: i32) -> Result<(), Code> {
    let mut memory = Pages::allocate(kib * 1024)?;
    memory.iter_mut().step_by(PAGE_SIZE as usize).for_each(|byte| *byte = 1);
    let mut stub = Stub::new();
    let size = stub.prepare(&OutOfLine(memory.lend()))?;
    repeat(name, FEWER, || stub.again(peer.name(), id, size, COMPLEX))
}
