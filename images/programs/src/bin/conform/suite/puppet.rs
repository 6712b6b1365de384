//! A thread that executes one instruction at a time for a test: any trap with any registers, a load or a store anywhere, a jump.
//!
//! Its program is a page of two-instruction pieces, each ending in `brk`. The test sets the registers, lets it go, and receives the
//! exception that it ends in: the breakpoint, or what the instruction came to. So the most hostile things are done in safe Rust, and
//! in a task that nobody will miss.

use core::time::Duration;

use abi::Code;
use abi::call::exc::{EXC_BREAKPOINT, exception_raise};
use abi::call::mach::{thread_create, thread_resume, thread_set_special_port, thread_terminate};
use abi::message::Port;
use abi::thread_state::ThreadState;
use abi::trap::{TASK_EXCEPTION_PORT, THREAD_EXCEPTION_PORT};
use abi::vm::{PAGE_SIZE, Protection};
use runtime::task::{self, Task};
use runtime::{ReceiveRight, Receiver, Reply, SendRight, port, rpc};

use super::harness::{Failure, LONG, Outcome};
use super::space::Space;

/// What a puppet can do: the first instruction of a piece of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// `svc #0`
    Trap,
    /// `ldr x0, [x0]`
    Load,
    /// `str x1, [x0]`
    Store,
    /// `svc #7`
    OtherSvc,
    /// `udf #0`
    Undefined,
    /// `br x0`
    Jump,
    /// `brk #9`
    Break,
    /// `b .`
    Spin,
    /// Adds one to the word at x0, for ever.
    Count,
    /// `str x1, [x0]; add x0, x0, x2; sub x3, x3, #1; cbnz x3, …`
    Fill,
}

/// The pieces, `PIECE` bytes each. What has less ends in `brk #1`.
const PROGRAM: [[u32; 5]; 10] = [
    [0xd400_0001, END, END, END, END],
    [0xf940_0000, END, END, END, END],
    [0xf900_0001, END, END, END, END],
    [0xd400_00e1, END, END, END, END],
    [0x0000_0000, END, END, END, END],
    [0xd61f_0000, END, END, END, END],
    [0xd420_0120, END, END, END, END],
    [0x1400_0000, END, END, END, END],
    [0xf940_0001, 0x9100_0421, 0xf900_0001, 0x17ff_fffd, END],
    [0xf900_0001, 0x8b02_0000, 0xd100_0463, 0xb5ff_ffa3, END],
];
const PIECE: u64 = 20;
const END: u32 = 0xd420_0020;
/// The immediate of `END`.
const END_CODE: i64 = 1;

/// What an exception message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raised {
    pub(crate) exception: i32,
    pub(crate) code: i32,
    pub(crate) subcode: i64,
}

impl Raised {
    pub(crate) const fn new(exception: i32, code: i32, subcode: i64) -> Self {
        Self { exception, code, subcode }
    }

    /// The end of a piece.
    const DONE: Self = Self::new(EXC_BREAKPOINT, 1, END_CODE);

    /// EXC_BAD_ACCESS.
    pub(crate) const fn bad_access(code: Code, address: u64) -> Self {
        Self::new(abi::call::exc::EXC_BAD_ACCESS, code.0, address as i64)
    }
}

/// Puts the program into a page of a task.
pub(crate) fn install(space: Space) -> Result<u64, Code> {
    let mut bytes = [0; PROGRAM.len() * PIECE as usize];
    for (to, word) in bytes.chunks_exact_mut(4).zip(PROGRAM.iter().flatten()) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let page = space.allocate(PAGE_SIZE)?;
    space.write(page, &bytes)?;
    space.protect(page, PAGE_SIZE, Protection::READ | Protection::EXECUTE)?;
    Ok(page)
}

/// The thread.
pub(crate) struct Puppet {
    thread: SendRight,
    program: u64,
    exceptions: ReceiveRight,
    receiver: Receiver,
    /// It waits for this, if it has raised an exception.
    reply: Option<Reply>,
    began: bool,
    /// Its stack pointer, for traps that look there.
    pub(crate) sp: u64,
}

impl Puppet {
    /// A thread of a task that has the program at this address.
    pub(crate) fn new(task: Space, program: u64) -> Result<Self, Code> {
        let thread = rpc::call(task.0, &thread_create::Request {})?.child_thread;
        let thread = SendRight::from_port(thread).ok_or(Code::FAILURE)?;
        let exceptions = port::allocate()?;
        let special_port = exceptions.send_port();
        thread.call(&thread_set_special_port::Request { which: THREAD_EXCEPTION_PORT, special_port })?;
        Ok(Self { thread, program, exceptions, receiver: Receiver::new(256)?, reply: None, began: false, sp: 0 })
    }

    pub(crate) const fn thread(&self) -> &SendRight {
        &self.thread
    }

    /// Where a piece is.
    pub(crate) const fn address(&self, op: Op) -> u64 {
        self.program + op as u64 * PIECE
    }

    /// Lets it do something, and doesn't wait.
    pub(crate) fn start(&mut self, op: Op, registers: &[(usize, u64)]) -> Outcome {
        let mut state = ThreadState { pc: self.address(op), sp: self.sp, ..ThreadState::default() };
        for (register, value) in registers {
            state.x[*register] = *value;
        }
        task::set_thread_state(&self.thread, &state)?;
        self.go_on()
    }

    /// Lets it go on where it is: after an exception, the instruction is executed again.
    pub(crate) fn go_on(&mut self) -> Outcome {
        match self.reply.take() {
            Some(reply) => reply.send::<exception_raise::Request>(&Ok(exception_raise::Reply {}))?,
            None if self.began => return Err(Failure::new("the puppet is still at something")),
            None => {
                self.thread.call(&thread_resume::Request {})?;
            }
        }
        self.began = true;
        Ok(())
    }

    /// Its next exception; none if it has none for so long.
    pub(crate) fn exception_within(&mut self, longest: Duration) -> Outcome<Option<Raised>> {
        let message = match self.receiver.receive(self.exceptions.name(), Some(longest)) {
            Ok(message) => message,
            Err(Code::RCV_TIMED_OUT) => return Ok(None),
            Err(code) => return Err(code.into()),
        };
        let raised: exception_raise::Request = message.decode()?;
        self.reply = message.take_reply();
        Ok(Some(Raised::new(raised.exception, raised.code, raised.subcode)))
    }

    /// Its next exception.
    pub(crate) fn exception(&mut self) -> Outcome<Raised> {
        self.exception_within(LONG)?.ok_or_else(|| Failure::new("a thread neither came to an end nor raised an exception"))
    }

    /// Waits until it is done; an exception is an error of it.
    pub(crate) fn done(&mut self) -> Outcome<Result<u64, Raised>> {
        match self.exception()? {
            Raised::DONE => Ok(Ok(self.registers()?.x[0])),
            raised => Ok(Err(raised)),
        }
    }

    pub(crate) fn run(&mut self, op: Op, registers: &[(usize, u64)]) -> Outcome<Result<u64, Raised>> {
        self.start(op, registers)?;
        self.done()
    }

    /// A trap with these arguments; gives its result.
    pub(crate) fn trap(&mut self, number: i32, arguments: &[u64]) -> Outcome<Result<u64, Raised>> {
        self.start_trap(number, arguments)?;
        self.done()
    }

    pub(crate) fn start_trap(&mut self, number: i32, arguments: &[u64]) -> Outcome {
        let mut registers = [(8, 0); 9];
        for (index, value) in arguments.iter().enumerate() {
            registers[index] = (index, *value);
        }
        registers[8] = (8, number as u32 as u64);
        self.start(Op::Trap, &registers)
    }

    /// A trap that ends with a code.
    pub(crate) fn trap_code(&mut self, number: i32, arguments: &[u64]) -> Outcome<Code> {
        match self.trap(number, arguments)? {
            Ok(value) => Ok(Code(value as i32)),
            Err(raised) => Err(Failure::new(format_args!("the trap {number} raised {raised:x?}"))),
        }
    }

    pub(crate) fn load(&mut self, address: u64) -> Outcome<Result<u64, Raised>> {
        self.run(Op::Load, &[(0, address)])
    }

    pub(crate) fn store(&mut self, address: u64, value: u64) -> Outcome<Result<(), Raised>> {
        Ok(self.run(Op::Store, &[(0, address), (1, value)])?.map(drop))
    }

    /// Its registers, while it waits for its exception's reply or is suspended.
    pub(crate) fn registers(&self) -> Result<ThreadState, Code> {
        task::thread_state(&self.thread)
    }

    /// The reply that it waits for.
    pub(crate) fn take_reply(&mut self) -> Option<Reply> {
        self.reply.take()
    }

    /// Gives the receive right of its exceptions up.
    pub(crate) fn into_deserted(self) -> SendRight {
        let Self { thread, reply, exceptions, .. } = self;
        drop((reply, exceptions));
        thread
    }
}

/// A task of its own with a puppet in it. Dropping it ends the task.
pub(crate) struct Sandbox {
    pub(crate) task: Task,
    pub(crate) space: Space,
    pub(crate) puppet: Puppet,
}

impl Sandbox {
    /// A task with nothing but the program.
    pub(crate) fn new() -> Result<Self, Code> {
        let task = Task::create()?;
        let space = Space::of(&task);
        let program = install(space)?;
        Self::with(task, program)
    }

    /// A task that has the program at this address.
    pub(crate) fn with(task: Task, program: u64) -> Result<Self, Code> {
        let space = Space::of(&task);
        // Nobody but its test handles its exceptions.
        task.set_special_port(TASK_EXCEPTION_PORT, Port::NULL)?;
        let puppet = Puppet::new(space, program)?;
        Ok(Self { task, space, puppet })
    }

    /// One more thread.
    pub(crate) fn another(&self) -> Result<Puppet, Code> {
        Puppet::new(self.space, self.puppet.program)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have ended already, by a test.
        let _ = self.task.terminate();
    }
}

/// Ends a thread of this task's.
pub(crate) fn end(thread: &SendRight) -> Result<(), Code> {
    thread.call(&thread_terminate::Request {}).map(drop)
}
