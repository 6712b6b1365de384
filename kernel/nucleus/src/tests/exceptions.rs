//! Exceptions: handlers that reply, refuse, and die.

use abi::call::exc::{EXC_BAD_ACCESS, exception_raise};
use abi::call::mach;
use abi::message::{Port, kind};
use abi::{Code, Header, REPLY};

use super::{SEEDS, Tally};
use crate::fake::{Bed, Shape, User};
use crate::thread::Run;

/// A reply that is only a code.
struct CodeReply(Code);

impl abi::Message for CodeReply {
    const ID: i32 = <exception_raise::Request as abi::Message>::ID + REPLY;
    fn encode(&self, writer: &mut abi::message::Writer<'_>) -> Result<(), abi::message::Malformed> {
        abi::item::Item::put(&self.0, writer)
    }
    fn decode(reader: &mut abi::message::Reader<'_>) -> Result<Self, abi::message::Malformed> {
        abi::item::Item::get(reader).map(Self)
    }
}

const HOLE: u64 = 0x7000_0000;

/// What a handler does with an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    /// Maps the hole, and says that all is well.
    Repairs,
    Refuses,
    /// Drops the request with its reply port.
    Drops,
    Ends,
    /// Waits until the thread's exception is aborted by somebody else.
    Waits,
}

async fn handle(user: User, port: u32, handler: Handler) {
    let (code, bytes) = user.receive(port, None).await;
    assert_eq!(code, Code::SUCCESS);
    let header = Header::read(&bytes).unwrap();
    let mut reader = abi::message::Reader::new(&bytes);
    let raised = <exception_raise::Request as abi::Message>::decode(&mut reader).unwrap();
    assert_eq!((raised.exception, raised.subcode), (EXC_BAD_ACCESS, HOLE as i64));
    let reply = header.remote as u32;
    let allocate = mach::vm_allocate::Request { address: HOLE, size: 4096, anywhere: false };
    match handler {
        Handler::Repairs => {
            user.rpc(raised.task.name, &allocate).await.unwrap();
            assert_eq!(user.send_with(reply, kind::MOVE_SEND_ONCE, &CodeReply(Code::SUCCESS), 0, None).await, Code::SUCCESS);
        }
        Handler::Refuses => {
            assert_eq!(user.send_with(reply, kind::MOVE_SEND_ONCE, &CodeReply(Code::FAILURE), 0, None).await, Code::SUCCESS);
        }
        Handler::Drops => {
            let task = user.task().await;
            user.trap(abi::trap::MACH_PORT_DEALLOCATE, &[task.into(), reply.into()]).await;
        }
        Handler::Ends => user.terminate_task().await,
        Handler::Waits => {
            user.rpc(raised.task.name, &allocate).await.unwrap();
            while user.rpc(raised.thread.name, &mach::thread_abort::Request {}).await.is_ok() {
                user.sleep(1).await;
            }
        }
    }
}

/// A thread reads a hole; whether it could in the end.
fn scene(shape: Shape, handler: Handler) -> (Bed, usize, Tally) {
    let mut bed = Bed::new(shape);
    let (task, watcher) = (bed.task(), bed.task());
    let port = bed.port(watcher);
    let name = bed.send_right(watcher, port, task);
    bed.thread(watcher, move |user| handle(user, port, handler));
    let seen = Tally::default();
    let tally = seen.clone();
    let victim = bed.thread(task, move |user| async move {
        let which = abi::trap::TASK_EXCEPTION_PORT;
        let request = mach::task_set_special_port::Request { which, special_port: Port::copy_send(name) };
        user.rpc(user.task().await, &request).await.unwrap();
        assert_eq!(user.load(HOLE).await, 0);
        tally.add(1);
    });
    (bed, victim, seen)
}

#[test]
fn handlers_decide() {
    for seed in SEEDS {
        for (handler, goes_on) in
            [(Handler::Repairs, 1), (Handler::Refuses, 0), (Handler::Drops, 0), (Handler::Ends, 0), (Handler::Waits, 1)]
        {
            let (mut bed, victim, seen) = scene(Shape::race(seed), handler);
            bed.run();
            assert_eq!((seen.get(), bed.state(victim)), (goes_on, Run::Dead), "{handler:?}, seed {seed}");
            bed.end();
        }
    }
}
