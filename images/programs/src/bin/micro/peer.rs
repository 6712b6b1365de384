//! The other side of a message: a loop that answers, in a thread of this task or in a task of its own.
//!
//! The other task is made of this one's memory (task_create with inheritance), so it runs the same code. It has no reply port and no
//! thread block: it uses nothing of the runtime but traps, and memory by the task port that it finds under the same name as here.

use abi::call::mach::{task_create, thread_create, thread_resume};
use abi::call::mach_port::mach_port_insert_right;
use abi::item::{Item, PortName};
use abi::message::{HEADER_BYTES, Header, Memory, Port, Reader};
use abi::thread_state::ThreadState;
use abi::trap::option;
use abi::vm::PAGE_SIZE;
use abi::{Code, REPLY};
use runtime::task::Task;
use runtime::thread::STACK;
use runtime::trap::{self, MsgWords};
use runtime::{Mapping, Pages, SendRight, port, rpc, task, thread};

use crate::stub::Buffer;

/// The answer is as long as the question, and the same.
pub(crate) const ECHO: i32 = 9000;
/// The answer is a header.
pub(crate) const TAKE: i32 = 9001;
/// As `TAKE`, but every page out of line is read first.
pub(crate) const READ: i32 = 9002;

/// Somebody who answers.
pub(crate) struct Peer {
    pub(crate) port: SendRight,
    task: Option<Task>,
}

impl Peer {
    /// In a thread of this task.
    pub(crate) fn thread() -> Result<Self, Code> {
        let receive = port::allocate()?;
        let port = receive.make_send()?;
        let name = receive.into_name().into();
        thread::spawn(STACK, move || serve(name))?;
        Ok(Self { port, task: None })
    }

    /// In another task.
    pub(crate) fn task() -> Result<Self, Code> {
        let receive = port::allocate()?;
        let port = receive.make_send()?;
        let stack = Mapping::anonymous(STACK)?;
        let child = Task::from_right(rpc::call(task::own(), &task_create::Request { inherit_memory: true })?.child_task)?;
        let name = receive.name();
        let own = mach_port_insert_right::Request { name: PortName(task::own()), poly: child.port().copy() };
        child.port().call(&own)?;
        child.port().call(&mach_port_insert_right::Request { name: PortName(name), poly: receive.into_port() })?;
        let thread = SendRight::from_port(child.port().call(&thread_create::Request {})?.child_thread).ok_or(Code::FAILURE)?;
        let mut state = ThreadState { sp: stack.address() + stack.size(), ..ThreadState::default() };
        state.pc = serve as extern "C" fn(u64) -> ! as usize as u64;
        state.x[0] = name.into();
        task::set_thread_state(&thread, &state)?;
        thread.call(&thread_resume::Request {})?;
        Ok(Self { port, task: Some(child) })
    }

    pub(crate) fn name(&self) -> u32 {
        self.port.name()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A thread of this task waits until the task ends.
        if let Some(task) = &self.task {
            let _ = task.terminate();
        }
    }
}

/// Answers for ever.
extern "C" fn serve(name: u64) -> ! {
    let mut buffer = Buffer::new();
    let receive = MsgWords { option: option::RCV, rcv_name: name as u32, ..MsgWords::default() };
    let mut words = receive;
    loop {
        let code = trap::mach_msg(&mut buffer.0, words);
        let size = if code == Code::SUCCESS { answer(&mut buffer.0) } else { None };
        words = match size {
            Some(send_size) => MsgWords { option: option::SEND | option::RCV, send_size, ..receive },
            None => receive,
        };
    }
}

/// Makes the answer of the question; gives its size.
fn answer(bytes: &mut [u8]) -> Option<u32> {
    let header = Header::read(bytes)?;
    if header.is_complex() {
        take(bytes, &header);
    }
    let size = if header.id == ECHO { header.size } else { HEADER_BYTES as u32 };
    let reply = Port { name: header.remote as u32, kind: header.remote_kind() };
    let bits = Header::bits(reply.kind, 0);
    Header { bits, size, remote: reply.name.into(), local: 0, seqno: 0, id: header.id + REPLY }.write(bytes).then_some(size)
}

/// Takes the memory out of a message, and gives it back.
fn take(bytes: &[u8], header: &Header) {
    let Ok(memory) = Memory::get(&mut Reader::new(bytes)) else { return };
    let pages = Pages::from_reply(memory);
    if header.id == READ {
        core::hint::black_box(pages.iter().step_by(PAGE_SIZE as usize).fold(0_u8, |sum, byte| sum ^ byte));
    }
}
