//! Random messages to every kind of kernel port: bytes without sense, and well-formed requests with senseless values. Bounded, and the
//! same each time. What is asked for is whatever it is; afterwards everybody else must be as before.

use abi::call::mach::memory_object_ready;
use abi::call::memory_object::memory_object_init;
use abi::call::{
    device, gnumach, mach, mach_aarch64, mach_host, mach_port, memory_object, memory_object_default, notify, pvmach, pvmach_control,
};
use abi::message::{Descriptor, HEADER_BYTES, Header, Malformed, Writer, kind};
use abi::table::Spec;
use abi::trap::{self, option};
use abi::vm::{PAGE_SIZE, Protection, USER_END};
use abi::{Code, Message};
use core::time::Duration;
use runtime::device::Device;
use runtime::trap::{MsgWords, mach_msg};
use runtime::{Pages, ReceiveRight, Receiver, SendRight, port};

use super::harness::{LONG, Outcome, Random, expect, privileged_ports, same, tests};
use super::puppet::{Sandbox, end};
use super::space::Space;

tests! {
    fuzz_bytes_to_kernel_ports,
    fuzz_requests_to_a_task,
    fuzz_requests_to_a_thread,
    fuzz_requests_to_the_host,
    fuzz_requests_to_a_control_port,
    fuzz_requests_to_devices,
    fuzz_traps,
}

/// All requests that there are.
const TABLES: [&[Spec]; 11] = [
    mach::SPEC,
    mach_port::SPEC,
    gnumach::SPEC,
    mach_host::SPEC,
    mach_aarch64::SPEC,
    device::SPEC,
    pvmach::SPEC,
    pvmach_control::SPEC,
    memory_object::SPEC,
    memory_object_default::SPEC,
    notify::SPEC,
];

/// What messages are made of.
struct Fuzzer {
    random: Random,
    replies: ReceiveRight,
    receiver: Receiver,
    memory: Pages,
    /// A task whose port may be given away and asked anything.
    victim: Sandbox,
    /// Messages that were well-formed enough to arrive, and others.
    sent: u64,
    refused: u64,
}

impl Fuzzer {
    fn new(seed: u64) -> Outcome<Self> {
        let mut memory = Pages::allocate(4 * PAGE_SIZE)?;
        memory.fill(0x5a);
        let (replies, receiver) = (port::allocate()?, Receiver::new(4096)?);
        Ok(Self { random: Random::new(seed), replies, receiver, memory, victim: Sandbox::new()?, sent: 0, refused: 0 })
    }

    fn number(&mut self) -> u64 {
        let random = self.random.next();
        let some = [
            0,
            1,
            2,
            3,
            7,
            8,
            PAGE_SIZE,
            PAGE_SIZE + 1,
            16 * PAGE_SIZE,
            self.memory.address(),
            USER_END,
            USER_END - PAGE_SIZE,
            1 << 63,
            u64::MAX,
            u64::MAX - PAGE_SIZE + 1,
            u32::MAX.into(),
            0x8000_0000,
            random,
            random >> 32,
            random % 0x2000,
            (random % (64 * PAGE_SIZE)) & !(PAGE_SIZE - 1),
        ];
        self.random.of(&some)
    }

    /// A name and a way to send it that is right for it, more often than not.
    fn right(&mut self) -> (u32, u8) {
        let some = [
            (0, kind::COPY_SEND),
            (self.victim.task.port().name(), kind::COPY_SEND),
            (self.victim.puppet.thread().name(), kind::COPY_SEND),
            (self.replies.name(), kind::MAKE_SEND_ONCE),
            (0x00ab_cdef, kind::COPY_SEND),
            (u32::MAX, kind::COPY_SEND),
            (self.replies.name(), kind::MOVE_SEND),
        ];
        self.random.of(&some)
    }

    /// An item of a type of the tables.
    fn item(&mut self, of: &str, writer: &mut Writer<'_>) -> Result<(), Malformed> {
        let value = self.number();
        match of {
            "integer_t" | "natural_t" | "kern_return_t" => {
                writer.item(Descriptor::inline(kind::INTEGER_32, 32, 1), &(value as u32).to_le_bytes())
            }
            "long_integer_t" | "long_natural_t" => writer.item(Descriptor::inline(kind::INTEGER_64, 64, 1), &value.to_le_bytes()),
            "boolean_t" => writer.item(Descriptor::inline(kind::BOOLEAN, 32, 1), &(value as u32 & 1).to_le_bytes()),
            "mach_port_name_t" => writer.item(Descriptor::inline(kind::PORT_NAME, 32, 1), &(value as u32 % 12).to_le_bytes()),
            "mach_port_t" => {
                let (name, kind) = self.right();
                writer.item(Descriptor::inline(kind, 64, 1), &u64::from(name).to_le_bytes())
            }
            "pointer_t" => {
                let (at, size) = (self.random.below(3 * PAGE_SIZE), self.random.below(PAGE_SIZE));
                let whole = self.random.below(2) == 0;
                let (at, size) = if whole { (at & !(PAGE_SIZE - 1), PAGE_SIZE) } else { (at, size) };
                let data = Descriptor { name: kind::BYTE, bits: 8, inline: false, deallocate: false, number: size as u32 };
                writer.item(data, &(self.memory.address() + at).to_le_bytes())
            }
            "c_string" => writer.item(Descriptor::inline(kind::STRING, 128 * 8, 1), &[value as u8; 128]),
            _ => {
                let words = self.random.below(140) as usize;
                writer.item(Descriptor::inline(kind::INTEGER_32, 32, words as u32), &[value as u8; 560][..words * 4])
            }
        }
    }

    /// Sends one well-formed request and takes the answer, if it is one that is answered.
    fn request(&mut self, to: u32, spec: &Spec) -> Outcome {
        let mut bytes = [0; 2048];
        let mut writer = Writer::new(&mut bytes);
        for (_, of) in spec.request {
            self.item(of, &mut writer)?;
        }
        let bits = Header::bits(kind::COPY_SEND, kind::MAKE_SEND_ONCE);
        let header = Header { bits, remote: to.into(), local: self.replies.name().into(), id: spec.id, ..Header::default() };
        let size = writer.finish(header)?;
        self.send(&mut bytes, size)
    }

    fn send(&mut self, bytes: &mut [u8], size: usize) -> Outcome {
        let words = MsgWords { option: option::SEND | option::SEND_TIMEOUT, send_size: size as u32, timeout: 50, ..MsgWords::default() };
        match mach_msg(bytes, words) {
            Code::SUCCESS => self.sent += 1,
            _ => self.refused += 1,
        }
        // Whatever came is given back.
        while self.receiver.receive(self.replies.name(), Some(Duration::ZERO)).is_ok() {}
        Ok(())
    }

    /// Requests of all tables but some, so many.
    fn requests(&mut self, to: u32, count: u64, but: &[i32]) -> Outcome {
        for _ in 0..count {
            let table = self.random.of(&TABLES);
            let spec = &table[self.random.below(table.len() as u64) as usize];
            if !but.contains(&spec.id) {
                self.request(to, spec)?;
            }
        }
        Ok(())
    }

    /// Fails unless most messages got to where they are looked at.
    fn expect_arrivals(&self) -> Outcome {
        expect(self.sent > self.refused / 2, format_args!("only {} of {} messages arrived", self.sent, self.sent + self.refused))
    }
}

/// vm_map of an object whose pager never becomes ready would wait for ever, and only if it is asked for a copy.
const VM_MAP: i32 = mach::vm_map::Request::ID;

/// Another task can still do what tasks do.
fn all_is_well() -> Outcome {
    let mut sandbox = Sandbox::new()?;
    let memory = sandbox.space.allocate(PAGE_SIZE)?;
    same("a store", sandbox.puppet.store(memory, 1)?, Ok(()))?;
    same("a load", sandbox.puppet.load(memory)?, Ok(1))?;
    Ok(Space::own().deallocate(Space::own().allocate(PAGE_SIZE)?, PAGE_SIZE)?)
}

fn fuzz_bytes_to_kernel_ports() -> Outcome {
    let mut fuzzer = Fuzzer::new(1)?;
    let host = SendRight::host_self();
    for round in 0..1500_u64 {
        let some = [fuzzer.victim.task.port().name(), fuzzer.victim.puppet.thread().name(), host.name()];
        let mut bytes = [0; 512];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&fuzzer.random.next().to_le_bytes()));
        let size = HEADER_BYTES + 8 * fuzzer.random.below(60) as usize;
        let complex = if fuzzer.random.below(2) == 0 { abi::message::COMPLEX } else { 0 };
        let bits = Header::bits(kind::COPY_SEND, kind::MAKE_SEND_ONCE) | complex;
        let table = fuzzer.random.of(&TABLES);
        let id = table[fuzzer.random.below(table.len() as u64) as usize].id;
        // Now and then an item that is nearly one.
        if fuzzer.random.below(2) == 0 {
            let descriptor = Descriptor {
                name: fuzzer.random.below(24) as u8,
                bits: fuzzer.random.of(&[8, 32, 64, 1, 0, u16::MAX]),
                inline: fuzzer.random.below(2) == 0,
                deallocate: false,
                number: fuzzer.random.of(&[0, 1, 2, 70, u32::MAX]),
            };
            bytes[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(&descriptor.to_bytes());
        }
        let remote = fuzzer.random.of(&some).into();
        Header { bits, remote, local: fuzzer.replies.name().into(), id, ..Header::default() }.write(&mut bytes);
        // Memory that goes with a message must not be this program's own.
        let deallocates = bytes[HEADER_BYTES..size].chunks_exact(8).any(|chunk| chunk[3] & 0x80 != 0 && complex != 0);
        if !deallocates {
            fuzzer.send(&mut bytes, size)?;
        }
        if round % 500 == 499 {
            all_is_well()?;
        }
    }
    expect(fuzzer.sent > 300, format_args!("only {} messages arrived", fuzzer.sent))
}

fn fuzz_requests_to_a_task() -> Outcome {
    for seed in 0..30 {
        let mut fuzzer = Fuzzer::new(100 + seed)?;
        let name = fuzzer.victim.task.port().name();
        fuzzer.requests(name, 60, &[VM_MAP])?;
    }
    all_is_well()
}

fn fuzz_requests_to_a_thread() -> Outcome {
    for seed in 0..20 {
        let mut fuzzer = Fuzzer::new(200 + seed)?;
        fuzzer.victim.puppet.start(super::puppet::Op::Spin, &[])?;
        let name = fuzzer.victim.puppet.thread().name();
        fuzzer.requests(name, 40, &[])?;
        let _ = end(fuzzer.victim.puppet.thread());
    }
    all_is_well()
}

fn fuzz_requests_to_the_host() -> Outcome {
    let mut fuzzer = Fuzzer::new(300)?;
    let host = SendRight::host_self();
    fuzzer.requests(host.name(), 1500, &[])?;
    fuzzer.expect_arrivals()?;
    all_is_well()
}

fn fuzz_requests_to_a_control_port() -> Outcome {
    for seed in 0..20 {
        let mut fuzzer = Fuzzer::new(400 + seed)?;
        let object = port::allocate()?;
        fuzzer.victim.space.map(object.send_port(), 64 * PAGE_SIZE, Protection::DEFAULT)?;
        let mut receiver = Receiver::new(512)?;
        let control = {
            let mut message = receiver.receive(object.name(), Some(LONG))?;
            let init: memory_object_init::Request = message.decode()?;
            message.claim_send(init.control).ok_or(Code::FAILURE)?
        };
        control.send(&memory_object_ready::Request { may_cache: false, copy_strategy: 2 })?;
        for _ in 0..4 {
            fuzzer.requests(control.name(), 30, &[])?;
            while receiver.receive(object.name(), Some(Duration::ZERO)).is_ok() {}
        }
    }
    all_is_well()
}

fn fuzz_requests_to_devices() -> Outcome {
    let Some(ports) = privileged_ports("fuzz_requests_to_devices")? else { return Ok(()) };
    let mut fuzzer = Fuzzer::new(500)?;
    fuzzer.requests(ports.device.name(), 400, &[])?;
    fuzzer.expect_arrivals()?;
    let ramdisk = Device::open(&ports.device, runtime::ramdisk::NAME, abi::call::device::D_READ)?;
    let before = ramdisk.size()?;
    fuzzer.requests(ramdisk.port().name(), 400, &[])?;
    same("the ramdisk's size", ramdisk.size()?, before)?;
    all_is_well()
}

/// Traps with random numbers and arguments, in a task of their own.
fn fuzz_traps() -> Outcome {
    let mut random = Random::new(600);
    let mut sandbox = Sandbox::new()?;
    let page = sandbox.space.allocate(PAGE_SIZE)?;
    let own = sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?.unwrap_or(0);
    // Not those that end or stop the task, or wait as long as they are told.
    let but =
        [trap::TASK_TERMINATE, trap::TASK_SUSPEND, trap::THREAD_SWITCH, trap::THREAD_SET_SELF_STATE, trap::VM_DEALLOCATE, trap::MACH_PRINT];
    for _ in 0..1500 {
        let number = -(random.below(135) as i32);
        let mut arguments: [u64; 7] = core::array::from_fn(|_| {
            let value = random.next();
            random.of(&[0, 1, 2, own, page, page + 4092, PAGE_SIZE, USER_END, u64::MAX, 1 << 63, value, value % 64])
        });
        if but.contains(&number) {
            continue;
        }
        if number == trap::MACH_MSG {
            arguments[1] |= u64::from(option::SEND_TIMEOUT | option::RCV_TIMEOUT);
            arguments[5] %= 4;
        }
        let _ = sandbox.puppet.trap(number, &arguments)?;
    }
    expect(sandbox.puppet.trap(trap::MACH_TASK_SELF, &[])?.is_ok(), "the task has no port any more")?;
    all_is_well()
}
