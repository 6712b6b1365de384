//! mach_msg and kernel RPCs that need not wait for ever.

use abi::Code;
use abi::call::mach;
use abi::message::kind;

use super::{SEEDS, Tally, number_of, numbered};
use crate::fake::{Bed, Shape};
use crate::thread::Run;

#[test]
fn messages_reach_a_thread_that_waits_in_order() {
    for seed in SEEDS {
        let mut bed = Bed::new(Shape::race(seed));
        let (server, client) = (bed.task(), bed.task());
        let port = bed.port(server);
        let name = bed.send_right(server, port, client);
        let got = Tally::default();
        let tally = got.clone();
        bed.thread(server, move |user| async move {
            for number in 1..=20 {
                let (code, bytes) = user.receive(port, None).await;
                assert_eq!((code, number_of(&bytes)), (Code::SUCCESS, number));
                tally.add(1);
            }
        });
        bed.thread(client, move |user| async move {
            for number in 1..=20 {
                assert_eq!(user.send(name, &numbered(number)).await, Code::SUCCESS);
            }
        });
        bed.run();
        assert_eq!(got.get(), 20);
        bed.end();
    }
}

#[test]
fn rpcs_answer() {
    let mut bed = Bed::new(Shape::simple());
    let task = bed.task();
    let thread = bed.thread(task, |user| async move {
        let address = user.allocate(4).await;
        user.store(address + 4096, 77).await;
        assert_eq!(user.load(address + 4096).await, 77);
        assert_eq!(user.load(address).await, 0);
        let region = user.rpc(user.task().await, &mach::vm_region::Request { address }).await.unwrap();
        assert_eq!((region.address, region.size), (address, 4 * 4096));
    });
    bed.run();
    assert_eq!(bed.state(thread), Run::Dead);
    bed.check_vm();
    bed.end();
}

/// What a routine made for a reply that nobody wants is given back.
#[test]
fn a_routine_without_a_reply_port_loses_nothing() {
    let mut bed = Bed::new(Shape::simple());
    let task = bed.task();
    bed.thread(task, |user| async move {
        let task = user.task().await;
        assert_eq!(user.send(task, &mach::thread_create::Request {}).await, Code::SUCCESS);
        assert_eq!(user.send(task, &mach::task_threads::Request {}).await, Code::SUCCESS);
        let which = abi::trap::TASK_KERNEL_PORT;
        assert_eq!(user.send(task, &mach::task_get_special_port::Request { which }).await, Code::SUCCESS);
        let address = user.allocate(1).await;
        assert_eq!(user.send(task, &mach::vm_read::Request { address, size: 4096 }).await, Code::SUCCESS);
    });
    bed.run();
    bed.check_vm();
    bed.end();
}

/// A reply that can't be built is an error, not silence.
#[test]
fn a_reply_that_is_too_large_is_refused() {
    let mut bed = Bed::new(Shape::simple());
    let task = bed.task();
    let refused = Tally::default();
    let tally = refused.clone();
    bed.thread(task, |user| async move {
        let task = user.task().await;
        let size = 1 << 33;
        let address = user.rpc(task, &mach::vm_allocate::Request { address: 0, size, anywhere: true }).await.unwrap().address;
        let code = user.rpc(task, &mach::vm_read::Request { address, size }).await.unwrap_err();
        assert_eq!(code, Code::INVALID_ARGUMENT);
        tally.add(1);
    });
    bed.run();
    assert_eq!(refused.get(), 1, "the client was answered");
    bed.end();
}

#[test]
fn a_send_that_takes_too_long_gives_the_message_back() {
    let mut bed = Bed::new(Shape::simple());
    let (server, client) = (bed.task(), bed.task());
    let port = bed.port(server);
    let name = bed.send_right(server, port, client);
    bed.thread(client, move |user| async move {
        for number in 0..5 {
            assert_eq!(user.send(name, &numbered(number)).await, Code::SUCCESS);
        }
        let before = user.now();
        assert_eq!(user.send_with(name, kind::COPY_SEND, &numbered(5), 0, Some(20)).await, Code::SEND_TIMED_OUT);
        assert!(user.now() - before >= 20_000_000);
        assert_eq!(user.send_with(name, kind::COPY_SEND, &numbered(5), 0, Some(0)).await, Code::SEND_TIMED_OUT);
        assert_eq!(user.receive(user.port().await, Some(3)).await.0, Code::RCV_TIMED_OUT);
    });
    bed.run();
    bed.end();
}
