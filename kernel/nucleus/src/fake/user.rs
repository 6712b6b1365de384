//! User programs as `async` blocks: each `await` is an exception of the thread that runs the program.
//!
//! A program keeps nothing of the kernel: registers and user memory are all it sees. An access that faults is tried again when the thread is back, as an
//! instruction is.

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec;
use std::vec::Vec;

use abi::call::mach;
use abi::message::{HEADER_BYTES, kind};
use abi::table::decode_reply;
use abi::thread_state::ThreadState;
use abi::trap::{self, option};
use abi::vm::PAGE_SIZE;
use abi::{Code, Header, Message, Routine};

use super::machine::FakeMachine;
use crate::machine::{Access, Exit};

struct Slot {
    registers: ThreadState,
    exit: Option<Exit>,
}

/// A program that a thread runs.
pub(super) struct Program {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    slot: Arc<Mutex<Slot>>,
}

/// Bytes of a program's own buffer for messages.
pub(super) const BUFFER_BYTES: u64 = 64 << 10;

/// A pc at which a thread of any program does nothing but let others run.
pub(crate) const HANDLER: u64 = 0xABC0_0000;

fn locked(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Program {
    /// A program; its thread ends when the program does.
    pub(super) fn new<F: Future<Output = ()> + Send + 'static>(
        machine: &'static FakeMachine,
        buffer: u64,
        body: impl FnOnce(User) -> F + Send + 'static,
    ) -> Self {
        let slot = Arc::new(Mutex::new(Slot { registers: ThreadState::default(), exit: None }));
        let user = |slot| User { machine, slot, buffer, task: AtomicU32::new(0), reply: AtomicU32::new(0) };
        let (first, last) = (user(Arc::clone(&slot)), user(Arc::clone(&slot)));
        let future = async move {
            body(first).await;
            last.terminate_self().await;
        };
        Self { future: Box::pin(future), slot }
    }

    /// Runs to the next exception.
    pub(super) fn step(&mut self, state: &mut ThreadState) -> Exit {
        if state.pc == HANDLER {
            state.x[8] = u64::from(trap::SWTCH as u32);
            return Exit::Trap { immediate: 0 };
        }
        locked(&self.slot).registers = *state;
        let polled = self.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "a thread goes on after its end");
        let mut slot = locked(&self.slot);
        *state = slot.registers;
        slot.exit.take().expect("a program waits only for exceptions")
    }
}

/// What a program can do.
pub(crate) struct User {
    machine: &'static FakeMachine,
    slot: Arc<Mutex<Slot>>,
    buffer: u64,
    task: AtomicU32,
    reply: AtomicU32,
}

/// An exception: pending once, ready when the thread is back.
struct Leaving {
    slot: Arc<Mutex<Slot>>,
    exit: Option<Exit>,
}

impl Future for Leaving {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.exit.take() {
            Some(exit) => {
                locked(&self.slot).exit = Some(exit);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl User {
    /// Any exception.
    pub(crate) async fn leave(&self, exit: Exit) {
        Leaving { slot: Arc::clone(&self.slot), exit: Some(exit) }.await;
    }

    /// A register, as it is now.
    pub(crate) fn register(&self, number: usize) -> u64 {
        locked(&self.slot).registers.x[number]
    }

    pub(crate) fn now(&self) -> u64 {
        crate::machine::Machine::now(self.machine)
    }

    /// `svc #0`.
    pub(crate) async fn trap(&self, number: i32, arguments: &[u64]) -> u64 {
        {
            let mut slot = locked(&self.slot);
            slot.registers.x[..arguments.len()].copy_from_slice(arguments);
            slot.registers.x[8] = u64::from(number as u32);
        }
        // As long as the thread is back before the instruction, it is done again.
        let before = locked(&self.slot).registers.pc;
        while locked(&self.slot).registers.pc == before {
            locked(&self.slot).registers.pc += 4;
            self.leave(Exit::Trap { immediate: 0 }).await;
        }
        self.register(0)
    }

    async fn code(&self, number: i32, arguments: &[u64]) -> Code {
        Code(self.trap(number, arguments).await as i32)
    }

    pub(crate) async fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (at, part) in FakeMachine::pages(address, length) {
            let frame = loop {
                match self.machine.translate(at, Access::Read) {
                    Ok(frame) => break frame,
                    Err(abort) => self.leave(Exit::Fault(abort)).await,
                }
            };
            self.machine.pool.peek(frame, (at % PAGE_SIZE) as usize, &mut bytes[part]);
        }
        bytes
    }

    pub(crate) async fn write(&self, address: u64, bytes: &[u8]) {
        for (at, part) in FakeMachine::pages(address, bytes.len()) {
            let frame = loop {
                match self.machine.translate(at, Access::Write) {
                    Ok(frame) => break frame,
                    Err(abort) => self.leave(Exit::Fault(abort)).await,
                }
            };
            self.machine.pool.poke(frame, (at % PAGE_SIZE) as usize, &bytes[part]);
        }
    }

    pub(crate) async fn load(&self, address: u64) -> u64 {
        let bytes = self.read(address, 8).await;
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    pub(crate) async fn store(&self, address: u64, value: u64) {
        self.write(address, &value.to_le_bytes()).await;
    }

    /// The task's own port.
    pub(crate) async fn task(&self) -> u32 {
        if self.task.load(Ordering::Relaxed) == 0 {
            let name = self.trap(trap::MACH_TASK_SELF, &[]).await as u32;
            self.task.store(name, Ordering::Relaxed);
        }
        self.task.load(Ordering::Relaxed)
    }

    /// The thread's own port.
    pub(crate) async fn thread(&self) -> u32 {
        self.trap(trap::MACH_THREAD_SELF, &[]).await as u32
    }

    /// A new port.
    pub(crate) async fn port(&self) -> u32 {
        self.trap(trap::MACH_REPLY_PORT, &[]).await as u32
    }

    pub(crate) async fn allocate(&self, pages: u64) -> u64 {
        let request = mach::vm_allocate::Request { address: 0, size: pages * PAGE_SIZE, anywhere: true };
        self.rpc(self.task().await, &request).await.expect("memory can be allocated").address
    }

    /// mach_msg as it is: the code, and the bytes that came.
    pub(crate) async fn message(&self, options: u32, sent: &[u8], room: u32, name: u32, timeout_ms: u32) -> (Code, Vec<u8>) {
        self.write(self.buffer, sent).await;
        let arguments = [self.buffer, options.into(), sent.len() as u64, room.into(), name.into(), timeout_ms.into(), 0];
        let code = self.code(trap::MACH_MSG, &arguments).await;
        let has_message = code == Code::SUCCESS || code == Code::RCV_TOO_LARGE;
        if options & option::RCV == 0 || !has_message {
            return (code, Vec::new());
        }
        let header = Header::read(&self.read(self.buffer, HEADER_BYTES).await).expect("a header");
        let size = if code == Code::SUCCESS { header.size as usize } else { HEADER_BYTES };
        (code, self.read(self.buffer, size).await)
    }

    /// Sends to a send right that it keeps.
    pub(crate) async fn send(&self, to: u32, message: &impl Message) -> Code {
        self.send_with(to, kind::COPY_SEND, message, 0, None).await
    }

    /// Sends with any right, a reply port if it isn't null, and a timeout.
    pub(crate) async fn send_with(&self, to: u32, right: u8, message: &impl Message, reply: u32, timeout_ms: Option<u32>) -> Code {
        let local = if reply == 0 { 0 } else { kind::MAKE_SEND_ONCE };
        let header = Header { bits: Header::bits(right, local), remote: to.into(), local: reply.into(), ..Header::default() };
        let bytes = build(message, header);
        let options = option::SEND | timeout_ms.map_or(0, |_| option::SEND_TIMEOUT);
        self.message(options, &bytes, 0, 0, timeout_ms.unwrap_or(0)).await.0
    }

    pub(crate) async fn receive(&self, name: u32, timeout_ms: Option<u32>) -> (Code, Vec<u8>) {
        let options = option::RCV | timeout_ms.map_or(0, |_| option::RCV_TIMEOUT);
        self.message(options, &[], 8192, name, timeout_ms.unwrap_or(0)).await
    }

    /// A request and its reply, in one mach_msg.
    pub(crate) async fn rpc<R: Routine>(&self, to: u32, request: &R) -> Result<R::Reply, Code> {
        if self.reply.load(Ordering::Relaxed) == 0 {
            self.reply.store(self.port().await, Ordering::Relaxed);
        }
        let reply = self.reply.load(Ordering::Relaxed);
        let bits = Header::bits(kind::COPY_SEND, kind::MAKE_SEND_ONCE);
        let bytes = build(request, Header { bits, remote: to.into(), local: reply.into(), ..Header::default() });
        let (code, received) = self.message(option::SEND | option::RCV, &bytes, 8192, reply, 0).await;
        code.ok()?;
        let id = Header::read(&received).map(|header| header.id);
        assert_eq!(id, Some(R::ID + abi::REPLY), "it is the reply");
        decode_reply(&received)
    }

    /// thread_switch(WAIT).
    pub(crate) async fn sleep(&self, milliseconds: u32) {
        self.trap(trap::THREAD_SWITCH, &[0, 2, milliseconds.into()]).await;
    }

    /// swtch: others first.
    pub(crate) async fn yield_now(&self) {
        self.trap(trap::SWTCH, &[]).await;
    }

    pub(crate) async fn terminate_self(&self) {
        let thread = self.thread().await;
        self.send(thread, &mach::thread_terminate::Request {}).await;
        panic!("a thread goes on after its end");
    }

    pub(crate) async fn terminate_task(&self) {
        let task = self.task().await;
        self.trap(trap::TASK_TERMINATE, &[task.into()]).await;
        panic!("a task goes on after its end");
    }
}

/// A message's bytes as a program builds them.
pub(super) fn build(message: &impl Message, header: Header) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    let size = message.build(header, &mut bytes).expect("a message fits");
    bytes.truncate(size);
    bytes
}
