//! More memory than there is RAM: what is paged out comes back as it was, whoever shares it, copied it, or sent it. Needs a default
//! pager with room for three times the RAM.

use abi::Code;
use abi::call::mach::memory_object_data_supply;
use abi::call::mach_host::{host_info, vm_wire};
use abi::info::HOST_BASIC_INFO;
use abi::message::Port;
use abi::vm::{Inherit, PAGE_SIZE, Protection};
use runtime::{Mapping, Pages, Receiver, SendRight, bootstrap, port};

use super::harness::{Failure, LONG, Outcome, expect, same, tests};
use super::puppet::{Op, Sandbox, install};
use super::space::Space;

tests! {
    paging_own_memory,
    paging_shared_memory,
    paging_copies,
    paging_memory_in_messages,
    paging_while_tasks_end,
    paging_leaves_wired_memory,
}

/// Pages of RAM.
pub(crate) fn ram_pages() -> Result<u64, Code> {
    let info = SendRight::host_self().call(&host_info::Request { flavor: HOST_BASIC_INFO, count: 6 })?.info.0;
    Ok(u64::from(info[2]) / PAGE_SIZE)
}

/// What page number `page` holds in a pass.
const fn word(pass: u64, page: u64) -> u64 {
    (page + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ pass << 56 | 1
}

fn fill(memory: &Mapping, pass: u64) {
    (0..memory.size() / PAGE_SIZE).for_each(|page| memory.store_u64(page * PAGE_SIZE + 8 * (page % 512), word(pass, page)));
}

fn verify(memory: &Mapping, pass: u64) -> Outcome {
    for page in 0..memory.size() / PAGE_SIZE {
        let found = memory.load_u64(page * PAGE_SIZE + 8 * (page % 512));
        expect(found == word(pass, page), format_args!("page {page} holds {found:#x}, not {:#x}", word(pass, page)))?;
    }
    Ok(())
}

/// Uses so much memory that everything else has been paged out.
pub(crate) fn press() -> Outcome {
    let memory = Mapping::anonymous((ram_pages()? + ram_pages()? / 4) * PAGE_SIZE)?;
    fill(&memory, 99);
    Ok(())
}

fn paging_own_memory() -> Outcome {
    let memory = Mapping::anonymous(ram_pages()? * 2 * PAGE_SIZE)?;
    for pass in 0..2 {
        fill(&memory, pass);
        verify(&memory, pass)?;
    }
    verify(&memory, 1)
}

fn paging_shared_memory() -> Outcome {
    let pages = ram_pages()? / 2;
    let memory = Mapping::anonymous(pages * PAGE_SIZE)?;
    Space::own().inherit(memory.address(), memory.size(), Inherit::Share)?;
    let program = install(Space::own())?;
    let mut child = Sandbox::with(Space::own().fork()?, program)?;
    fill(&memory, 1);
    press()?;
    // Each half of it is brought back by one of them, written, paged out again, and seen by the other.
    for page in (0..pages).step_by(7) {
        let at = memory.address() + page * PAGE_SIZE;
        same("the child's load", child.puppet.load(at + 8 * (page % 512))?, Ok(word(1, page)))?;
        same("the child's store", child.puppet.store(at + 8 * ((page + 1) % 512), page)?, Ok(()))?;
    }
    press()?;
    verify(&memory, 1)?;
    for page in (0..pages).step_by(7) {
        same("what the child stored", memory.load_u64(page * PAGE_SIZE + 8 * ((page + 1) % 512)), page)?;
    }
    Ok(Space::own().deallocate(program, PAGE_SIZE)?)
}

fn paging_copies() -> Outcome {
    let pages = ram_pages()? / 2;
    let memory = Mapping::anonymous(pages * PAGE_SIZE)?;
    fill(&memory, 1);
    press()?;
    let program = install(Space::own())?;
    let mut child = Sandbox::with(Space::own().fork()?, program)?;
    // The child changes its second half, the parent its first; then both look at all of theirs.
    let half = pages / 2;
    let registers = [(0, memory.address() + half * PAGE_SIZE), (1, 0xc0de), (2, PAGE_SIZE), (3, pages - half)];
    expect(child.puppet.run(Op::Fill, &registers)?.is_ok(), "the child's stores")?;
    for page in 0..half {
        memory.store_u64(page * PAGE_SIZE + 2048, 0xbeef);
    }
    press()?;
    for page in (0..pages).step_by(5) {
        let at = memory.address() + page * PAGE_SIZE;
        let should = if page >= half {
            0xc0de
        } else if page % 512 == 0 {
            word(1, page)
        } else {
            0
        };
        same("the child's first word", child.puppet.load(at)?, Ok(should))?;
        if page % 512 != 0 {
            same("the child's word", child.puppet.load(at + 8 * (page % 512))?, Ok(word(1, page)))?;
        }
        let own = memory.load_u64(page * PAGE_SIZE + 2048);
        let should = if page % 512 == 256 { None } else { Some(if page < half { 0xbeef } else { 0 }) };
        expect(should.is_none_or(|should| should == own), format_args!("the parent's page {page} holds {own:#x} in its middle"))?;
    }
    Ok(Space::own().deallocate(program, PAGE_SIZE)?)
}

fn paging_memory_in_messages() -> Outcome {
    let port = port::allocate()?;
    let right = port.make_send()?;
    let mut receiver = Receiver::new(256)?;
    let mut memory = Pages::allocate(ram_pages()? / 3 * PAGE_SIZE)?;
    let stamp = |pass: u64, page: usize| word(pass, page as u64).to_le_bytes();
    for (page, bytes) in memory.chunks_exact_mut(PAGE_SIZE as usize).enumerate() {
        bytes[..8].copy_from_slice(&stamp(1, page));
    }
    let parcel = |data| memory_object_data_supply::Request { offset: 0, data, lock_value: 0, precious: false, reply_to: Port::NULL };
    right.send(&parcel(memory.lend()))?;
    for (page, bytes) in memory.chunks_exact_mut(PAGE_SIZE as usize).enumerate() {
        bytes[..8].copy_from_slice(&stamp(2, page));
    }
    memory.send(right.name(), parcel).map_err(|(code, _)| code)?;
    // Nobody has it mapped now; it must be found again all the same.
    press()?;
    for pass in [1, 2] {
        let mut message = receiver.receive(port.name(), Some(LONG))?;
        let carried: memory_object_data_supply::Request = message.decode()?;
        let memory = message.claim_memory(carried.data).ok_or(Code::FAILURE)?;
        for (page, bytes) in memory.chunks_exact(PAGE_SIZE as usize).enumerate() {
            expect(bytes[..8] == stamp(pass, page), format_args!("page {page} of message {pass} is wrong"))?;
        }
    }
    Ok(())
}

/// Tasks end in the middle of paging; what they had is there for the next ones.
fn paging_while_tasks_end() -> Outcome {
    let pages = ram_pages()? * 3 / 2;
    for round in 0..6_u32 {
        let mut sandbox = Sandbox::new()?;
        let memory = sandbox.space.allocate(pages * PAGE_SIZE)?;
        sandbox.puppet.start(Op::Fill, &[(0, memory), (1, 1), (2, PAGE_SIZE), (3, pages)])?;
        if round % 2 == 0 {
            expect(sandbox.puppet.done()?.is_ok(), "a task could not have its memory")?;
        } else {
            runtime::time::sleep(LONG / 400 * round);
        }
    }
    Ok(())
}

fn paging_leaves_wired_memory() -> Outcome {
    const PAGES: u64 = 64;
    let ports = bootstrap::ports().map_err(|_| Failure::new("needs `privileged` in the manifest"))?;
    let sandbox = Sandbox::new()?;
    let memory = sandbox.space.allocate(PAGES * PAGE_SIZE)?;
    for page in 0..PAGES {
        sandbox.space.set_word(memory + page * PAGE_SIZE, word(1, page))?;
    }
    let task = sandbox.task.port().copy();
    let access = Protection::DEFAULT.bits();
    ports.host.call(&vm_wire::Request { task, address: memory, size: PAGES * PAGE_SIZE, access })?;
    press()?;
    // task_basic_info tells how much of the task is in RAM.
    let request = abi::call::mach::task_info::Request { flavor: abi::info::TASK_BASIC_INFO, count: 30 };
    let info = sandbox.task.port().call(&request)?.info.0;
    let resident = u64::from(info[4]) | u64::from(info[5]) << 32;
    expect(resident >= PAGES * PAGE_SIZE, format_args!("only {resident} bytes of {} wired ones are in RAM", PAGES * PAGE_SIZE))?;
    for page in 0..PAGES {
        same("a wired page", sandbox.space.word(memory + page * PAGE_SIZE)?, word(1, page))?;
    }
    Ok(())
}
