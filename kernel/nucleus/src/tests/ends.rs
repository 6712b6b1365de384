//! Tasks that end while their threads are anywhere.

use abi::call::mach;
use abi::message::Port;
use abi::vm::{Inherit, PAGE_SIZE, Protection};

use super::numbered;
use crate::fake::{Bed, PagerProgram, Shape};

/// Threads that compute, sleep, receive, send, wait for pages, for room and for replies; then their task ends at some moment.
#[test]
fn a_task_ends_with_threads_in_every_state() {
    for seed in 1..40 {
        let mut bed = Bed::new(Shape::race(seed));
        let (task, killer, pager) = (bed.task(), bed.task(), bed.task());
        let full = bed.port(killer);
        let full = bed.send_right(killer, full, task);
        let own = bed.port(task);
        let object = bed.port(pager);
        let object_name = bed.send_right(pager, object, task);
        bed.thread(pager, move |user| PagerProgram::new(object, |_, _| std::vec::Vec::new()).run(user));
        bed.thread(task, move |user| async move {
            loop {
                user.yield_now().await;
            }
        });
        bed.thread(task, move |user| async move { user.sleep(1_000_000).await });
        bed.thread(task, move |user| async move { drop(user.receive(own, None).await) });
        for _ in 0..2 {
            bed.thread(task, move |user| async move {
                loop {
                    user.send(full, &numbered(1)).await;
                }
            });
        }
        for copy in [false, true] {
            bed.thread(task, move |user| async move {
                let request = mach::vm_map::Request {
                    address: 0,
                    size: PAGE_SIZE,
                    mask: 0,
                    anywhere: true,
                    memory_object: Port::copy_send(object_name),
                    offset: 0,
                    copy,
                    cur_protection: Protection::DEFAULT.bits(),
                    max_protection: Protection::ALL.bits(),
                    inheritance: Inherit::Copy as u32,
                };
                let address = user.rpc(user.task().await, &request).await.unwrap().address;
                user.load(address).await;
            });
        }
        bed.thread(task, move |user| async move {
            loop {
                let task = user.task().await;
                let request = mach::vm_allocate::Request { address: 0, size: 2 * PAGE_SIZE, anywhere: true };
                // A task that ends has no port any more.
                let Ok(reply) = user.rpc(task, &request).await else { continue };
                let address = reply.address;
                user.store(address, 1).await;
                let _ = user.rpc(task, &mach::vm_deallocate::Request { address, size: 2 * PAGE_SIZE }).await;
            }
        });
        let victim = bed.give_task(killer, task);
        bed.thread(killer, move |user| async move {
            for _ in 0..seed % 37 {
                user.yield_now().await;
            }
            user.sleep(seed as u32 % 3 * 20).await;
            user.rpc(victim, &mach::task_terminate::Request {}).await.unwrap();
        });
        bed.run();
        assert!(bed.task_of(task).state.lock().threads.is_empty(), "seed {seed}");
        bed.end();
    }
}
