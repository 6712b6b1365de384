//! A kernel for host tests: one task with ports, messages and memory; the test plays everybody else.
//!
//! `FakeKernel::install` puts one under the traps of the calling thread. The test makes ports whose messages it reads itself
//! ([`FakeKernel::outside_port`]) or that answer by a function ([`FakeKernel::service`]), and sends messages to the task's ports. The fake is stricter
//! than a kernel: using a name that isn't there, freeing memory twice or waiting for what can't come any more is a panic, and
//! [`FakeKernel::names`] and [`FakeKernel::pages`] show what leaked. Time is virtual: waiting in vain moves the clock.

mod calls;
mod memory;
mod outside;
mod space;
mod transfer;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

use abi::Code;
use abi::call::mach_port::right;
use abi::message::{Header, kind};
use abi::trap::option;

use crate::trap::MsgWords;
use memory::Memory;
pub use outside::{Answer, Load, Sent};
use space::Space;

std::thread_local! {
    static CURRENT: RefCell<Option<FakeKernel>> = const { RefCell::new(None) };
}

/// A port, whoever receives from it: what names are to the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub usize);

/// The task's own port.
pub const TASK: PortId = PortId(0);
/// The host's privileged port.
pub const HOST: PortId = PortId(1);
/// The port that devices are opened on.
pub const DEVICES: PortId = PortId(2);
/// The task's bootstrap port.
pub const BOOTSTRAP: PortId = PortId(3);

/// The kernel. Clones are the same one.
#[derive(Clone)]
pub struct FakeKernel {
    state: Rc<RefCell<State>>,
}

/// Takes the kernel away from the traps when dropped.
pub struct Installed(());

type Handler = Rc<RefCell<dyn FnMut(&Sent) -> Answer>>;

enum Receiver {
    /// The task, under this name.
    Task(u32),
    /// The test reads what was sent.
    Outside(VecDeque<Sent>),
    Service(Handler),
    Kernel,
    InTransit,
    Dead,
}

struct Port {
    receiver: Receiver,
    /// For the task.
    queue: VecDeque<Packet>,
    /// The port set it is a member of.
    set: Option<u32>,
    /// Who is to be told that it died, or has no senders: send-once rights.
    dead_name: Vec<(u32, PortId)>,
    no_senders: Option<PortId>,
}

/// What a message carries besides bytes; in the bytes stands its index plus one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Carried {
    Send(PortId),
    SendOnce(PortId),
    Receive(PortId),
    Memory(Vec<u8>),
    Ports(Vec<Carried>),
}

/// A message between spaces.
#[derive(Clone, Debug)]
struct Packet {
    id: i32,
    complex: bool,
    reply: Option<Carried>,
    bytes: Vec<u8>,
    carried: Vec<Carried>,
}

struct State {
    ports: Vec<Port>,
    space: Space,
    memory: Memory,
    console: String,
    clock_ns: u64,
    terminated: bool,
    wired: bool,
    default_manager: Option<PortId>,
}

impl Port {
    fn new(receiver: Receiver) -> Self {
        Self { receiver, queue: VecDeque::new(), set: None, dead_name: Vec::new(), no_senders: None }
    }
}

impl FakeKernel {
    /// Puts a new kernel under the traps of this thread.
    #[must_use]
    pub fn install() -> (Self, Installed) {
        let mut ports: Vec<Port> = (0..3).map(|_| Port::new(Receiver::Kernel)).collect();
        ports.push(Port::new(Receiver::Outside(VecDeque::new())));
        let state = State {
            ports,
            space: Space::default(),
            memory: Memory::default(),
            console: String::new(),
            clock_ns: 0,
            terminated: false,
            wired: false,
            default_manager: None,
        };
        let kernel = Self { state: Rc::new(RefCell::new(state)) };
        crate::reply_port::forget();
        crate::task::forget();
        CURRENT.with(|current| {
            let before = current.replace(Some(kernel.clone()));
            assert!(before.is_none(), "a fake kernel is installed already");
        });
        (kernel, Installed(()))
    }

    fn current() -> Self {
        CURRENT.with(|current| current.borrow().clone()).expect("no fake kernel is installed in this thread")
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.with(|current| current.replace(None));
    }
}

pub(crate) fn now_ns() -> u64 {
    FakeKernel::current().state.borrow().clock_ns
}

pub(crate) fn mach_msg(buffer: &mut [u8], words: MsgWords, _: u32) -> Code {
    let kernel = FakeKernel::current();
    if words.option & option::SEND != 0 {
        let sent = kernel.send_from_task(&buffer[..words.send_size as usize]);
        if sent != Code::SUCCESS {
            return sent;
        }
    }
    if words.option & option::RCV != 0 { kernel.receive_for_task(buffer, words) } else { Code::SUCCESS }
}

impl FakeKernel {
    fn send_from_task(&self, bytes: &[u8]) -> Code {
        let Some(header) = Header::read(bytes) else { return Code::SEND_MSG_TOO_SMALL };
        if !bytes.len().is_multiple_of(8) {
            return Code::SEND_MSG_TOO_SMALL;
        }
        let taken = self.state.borrow_mut().copyin(&header, bytes);
        match taken {
            Ok((to, packet)) => {
                self.deliver(to, packet);
                Code::SUCCESS
            }
            Err(code) => code,
        }
    }

    /// Queues a message for the task, or gives it to whoever else receives from the port.
    fn deliver(&self, to: PortId, packet: Packet) {
        let mut state = self.state.borrow_mut();
        let sent = Sent::new(self.clone(), &packet);
        let handler = match &mut state.ports[to.0].receiver {
            Receiver::Task(_) | Receiver::InTransit => return state.ports[to.0].queue.push_back(packet),
            Receiver::Outside(queue) => return queue.push_back(sent),
            Receiver::Dead => return,
            Receiver::Service(handler) => Some(handler.clone()),
            Receiver::Kernel => None,
        };
        drop(state);
        let answer = match handler {
            Some(handler) => (handler.borrow_mut())(&sent),
            None => calls::answer(self, to, &sent),
        };
        if let Some(reply) = &packet.reply {
            answer.deliver(self, reply);
        }
    }

    fn receive_for_task(&self, buffer: &mut [u8], words: MsgWords) -> Code {
        let mut state = self.state.borrow_mut();
        let Some(port) = state.pending(words.rcv_name) else { return Code::RCV_INVALID_NAME };
        let Some(port) = port else {
            assert!(words.option & option::RCV_TIMEOUT != 0, "the task would wait for ever on port {}", words.rcv_name);
            state.clock_ns += u64::from(words.timeout) * 1_000_000;
            return Code::RCV_TIMED_OUT;
        };
        let size = state.ports[port.0].queue.front().map_or(0, |packet| packet.bytes.len());
        if size > buffer.len() {
            if words.option & option::RCV_LARGE == 0 {
                state.ports[port.0].queue.pop_front();
            }
            Header { size: size as u32, ..Header::default() }.write(buffer);
            return Code::RCV_TOO_LARGE;
        }
        let packet = state.ports[port.0].queue.pop_front().expect("there is one");
        state.copyout(port, packet, buffer);
        Code::SUCCESS
    }
}

pub(crate) fn mach_reply_port() -> u32 {
    let kernel = FakeKernel::current();
    let mut state = kernel.state.borrow_mut();
    state.new_receive().0
}

pub(crate) fn mach_thread_self() -> u32 {
    FakeKernel::current().give_send(TASK)
}

pub(crate) fn mach_task_self() -> u32 {
    FakeKernel::current().give_send(TASK)
}

pub(crate) fn mach_host_self() -> u32 {
    FakeKernel::current().give_send(HOST)
}

pub(crate) fn mach_print(text: &CStr) {
    let text = text.to_string_lossy();
    CURRENT.with(|current| match &*current.borrow() {
        Some(kernel) => kernel.state.borrow_mut().console.push_str(&text),
        None => std::print!("{text}"),
    });
}

pub(crate) fn swtch() {
    std::thread::yield_now();
}

pub(crate) fn vm_allocate(_: u32, _: u64, size: u64, anywhere: bool) -> Result<u64, Code> {
    assert!(anywhere, "the fake kernel has no addresses to choose from");
    FakeKernel::current().state.borrow_mut().memory.allocate(size)
}

pub(crate) fn vm_deallocate(_: u32, address: u64, size: u64) -> Result<(), Code> {
    FakeKernel::current().state.borrow_mut().memory.deallocate(address, size)
}

pub(crate) fn mach_port_allocate(_: u32, right: u32) -> Result<u32, Code> {
    let kernel = FakeKernel::current();
    let mut state = kernel.state.borrow_mut();
    match right {
        right::RECEIVE => Ok(state.new_receive().0),
        right::PORT_SET => Ok(state.space.new_set()),
        _ => Err(Code::INVALID_VALUE),
    }
}

pub(crate) fn mach_port_deallocate(_: u32, name: u32) -> Result<(), Code> {
    FakeKernel::current().state.borrow_mut().deallocate_name(name)
}

pub(crate) fn mach_port_insert_right(_: u32, name: u32, from: u32, kind: u8) -> Result<(), Code> {
    let kernel = FakeKernel::current();
    let mut state = kernel.state.borrow_mut();
    assert!(name == from && kind == kind::MAKE_SEND, "the fake kernel only makes send rights beside receive rights");
    let port = state.space.receive(name).ok_or(Code::INVALID_RIGHT)?;
    state.space.add_send(port);
    Ok(())
}

pub(crate) fn task_terminate(_: u32) -> Code {
    FakeKernel::current().state.borrow_mut().terminated = true;
    panic!("the task ended")
}
