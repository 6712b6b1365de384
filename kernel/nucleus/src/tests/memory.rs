//! Memory RPCs that wait: they go on where they were, and leave nothing when they end early.

use abi::Code;
use abi::call::{mach, mach_host};
use abi::message::{Memory, Port};
use abi::vm::{Inherit, PAGE_SIZE, Protection};

use super::{SEEDS, Tally};
use crate::fake::{Answer, Bed, PagerProgram, Shape, User};
use crate::thread::Run;

async fn map(user: &User, object: u32, pages: u64) -> u64 {
    let request = mach::vm_map::Request {
        address: 0,
        size: pages * PAGE_SIZE,
        mask: 0,
        anywhere: true,
        memory_object: Port::copy_send(object),
        offset: 0,
        copy: false,
        cur_protection: Protection::DEFAULT.bits(),
        max_protection: Protection::ALL.bits(),
        inheritance: Inherit::Copy as u32,
    };
    user.rpc(user.task().await, &request).await.unwrap().address
}

/// vm_write and vm_copy from and to pages that a slow pager has.
#[test]
fn copies_through_a_slow_pager_are_whole() {
    for seed in SEEDS {
        let mut bed = Bed::new(Shape::race(seed));
        let (pager, client) = (bed.task(), bed.task());
        let port = bed.port(pager);
        let object = bed.send_right(pager, port, client);
        let program = PagerProgram::new(port, |_, _| std::vec![Answer::Sleep(1), Answer::Data]);
        bed.thread(pager, move |user| program.run(user));
        let done = Tally::default();
        let tally = done.clone();
        bed.thread(client, move |user| async move {
            let task = user.task().await;
            let source = map(&user, object, 6).await;
            let target = user.allocate(8).await;
            // Not aligned: copied byte by byte.
            let copy = mach::vm_copy::Request { source, size: 6 * PAGE_SIZE - 8, destination: target + 8 };
            user.rpc(task, &copy).await.unwrap();
            for page in 0..6 {
                assert_eq!(user.load(target + 8 + page * PAGE_SIZE).await, page);
            }
            let data = Memory { address: source + 8, size: 3 * PAGE_SIZE, deallocate: false };
            user.store(source + 8, 99).await;
            user.rpc(task, &mach::vm_write::Request { address: target, data }).await.unwrap();
            assert_eq!(user.load(target).await, 99);
            assert_eq!(user.load(target + PAGE_SIZE - 8).await, 1);
            tally.add(1);
        });
        bed.run();
        assert_eq!(done.get(), 1, "seed {seed}");
        bed.end();
    }
}

/// vm_wire that is aborted while it waits for a pager leaves nothing wired.
#[test]
fn a_wire_that_is_aborted_wires_nothing() {
    for ends in [false, true] {
        let mut bed = Bed::new(Shape::simple());
        let (pager, client) = (bed.task(), bed.task());
        let port = bed.port(pager);
        let object = bed.send_right(pager, port, client);
        let program = PagerProgram::new(port, |first, _| if first == 0 { std::vec![Answer::Data] } else { std::vec![] });
        bed.thread(pager, move |user| PagerProgram { policy: Some((0, 1, 0, 0)), ..program }.run(user));
        let host = bed.give_host(client);
        let victim = bed.thread(client, move |user| async move {
            let address = map(&user, object, 2).await;
            let task = Port::copy_send(user.task().await);
            let wire = mach_host::vm_wire::Request { task, address, size: 2 * PAGE_SIZE, access: Protection::READ.bits() };
            assert_eq!(user.rpc(host, &wire).await, Err(Code::ABORTED));
        });
        let name = bed.give_thread(client, victim);
        bed.thread(client, move |user| async move {
            user.sleep(50).await;
            match ends {
                true => user.rpc(name, &mach::thread_terminate::Request {}).await.map(drop).unwrap(),
                false => user.rpc(name, &mach::thread_abort::Request {}).await.map(drop).unwrap(),
            }
        });
        bed.run();
        assert_eq!(bed.state(victim), Run::Dead, "{}", bed.kernel.census.left());
        assert_eq!(bed.kernel.vm.counter(vm::Counter::Wired), 0, "ends: {ends}");
        bed.end();
    }
}

/// A default pager is no help if all memory is wired: whoever needs some is told, in time.
#[test]
fn hopeless_waits_for_memory_end() {
    for (cpus, seed) in [(1, 1), (2, 1), (2, 2), (2, 3)] {
        hopeless_wait(Bed::new(Shape { cpus, frames: 256, seed }));
    }
}

fn hopeless_wait(mut bed: Bed) {
    let pager = bed.task();
    let (port, devices, host) = (bed.port(pager), bed.give_devices(pager), bed.give_host(pager));
    let mut program = PagerProgram::new(port, |_, _| std::vec![Answer::FromDevice]);
    program.devices = devices;
    program.policy = Some((abi::policy::RETURN_REQUESTS, 8, 0, 0));
    bed.thread(pager, move |user| program.swap(user, host));
    let client = bed.task();
    let host = bed.give_host(client);
    let refused = Tally::default();
    let tally = refused.clone();
    let victim = bed.thread(client, move |user| async move {
        user.sleep(5).await;
        let task = user.task().await;
        let address = user.allocate(400).await;
        let access = Protection::READ.bits();
        for page in 0..400 {
            let at = address + page * PAGE_SIZE;
            let request = mach_host::vm_wire::Request { task: Port::copy_send(task), address: at, size: PAGE_SIZE, access };
            if let Err(code) = user.rpc(host, &request).await {
                assert_eq!(code, Code::RESOURCE_SHORTAGE);
                tally.add(1);
                return;
            }
        }
    });
    bed.run();
    assert_eq!(bed.state(victim), Run::Dead, "{}", bed.kernel.census.left());
    assert_eq!(refused.get(), 1);
    bed.end();
}
