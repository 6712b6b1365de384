//! Real threads: senders that block, receivers that wait on a port and on a set, waits that are taken back while they are being
//! ended. Every message must arrive once and in its sender's order, and no wake-up may be lost (that would hang).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use abi::Header;
use abi::call::mach_port::right;
use abi::message::kind;

use super::world::{FakeCarrier, message};
use crate::{
    Effect, Effects, Host, How, Message, Receive, Received, Sent, Space, Wake, cancel, copyin, copyout, decline_retry, receive, send,
};

const SENDERS: u32 = 5;
const MESSAGES: u32 = 500;

struct Threads;

impl Host for Threads {
    type Object = ();
    type Memory = u64;
    type Waiter = Thread;
}

/// A message, or just a wake-up. Shared because channels of waiters must be `Sync`.
type Given = Option<Arc<Mutex<Option<Message<Threads>>>>>;

/// A thread that can be given something.
#[derive(Clone)]
struct Thread {
    number: u32,
    inbox: Sender<Given>,
}

impl PartialEq for Thread {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Thread {}

impl crate::Carrier<Threads> for FakeCarrier {
    fn memory_in(&mut self, _: u64, _: u64, _: bool) -> Result<u64, abi::Code> {
        Err(abi::Code::INVALID_ADDRESS)
    }
    fn read_names(&mut self, _: u64, _: u32, _: bool, _: &mut Vec<u32>) -> Result<(), abi::Code> {
        Err(abi::Code::INVALID_ADDRESS)
    }
    fn memory_out(&mut self, _: u64) -> Result<u64, abi::Code> {
        Err(abi::Code::NO_SPACE)
    }
    fn write_names(&mut self, _: &[u32]) -> Result<u64, abi::Code> {
        Err(abi::Code::NO_SPACE)
    }
}

fn hand(to: &Thread, message: Option<Message<Threads>>) {
    let packed = message.map(|message| Arc::new(Mutex::new(Some(message))));
    to.inbox.send(packed).unwrap();
}

fn work_off(effects: &mut Effects<Threads>) {
    while let Some(effect) = effects.next() {
        match effect {
            Effect::Wake { waiter, why: Wake::Retry } => hand(&waiter, None),
            Effect::Deliver { waiter, message } => hand(&waiter, Some(message)),
            _ => panic!("nothing else happens here"),
        }
    }
}

type Inbox = Receiver<Given>;

/// Sends numbered messages; now and then gives up a wait for room and tries again.
fn sender(space: &Space<Threads>, name: u32, me: &Thread, inbox: &Inbox) {
    let mut effects = Effects::new();
    for id in 0..MESSAGES {
        let bytes = message((name, kind::COPY_SEND), (me.number, 0), 0, &[]);
        let header = Header { local: 0, id: (me.number * MESSAGES + id) as i32, ..Header::read(&bytes).unwrap() };
        let mut left = copyin(space, &header, bytes, &mut FakeCarrier::default(), &mut effects).ok();
        while let Some(message) = left.take() {
            match send(message, How::Normal(Some(me.clone())), &mut effects) {
                Sent::Queued => {}
                Sent::Deliver { waiter, message } => hand(&waiter, Some(message)),
                Sent::Full { message, token } => {
                    if id % 7 != 0 || !token.is_some_and(|token| cancel(&token)) {
                        assert!(inbox.recv().unwrap().is_none());
                        if id % 5 == 0 {
                            decline_retry(&message, &mut effects);
                        }
                    }
                    left = Some(message);
                }
                _ => panic!("nothing else happens here"),
            }
            work_off(&mut effects);
        }
    }
}

/// Receives until all have arrived; gives the ids in the order of their sequence numbers.
fn receiver(space: &Space<Threads>, names: &[u32], me: &Thread, inbox: &Inbox, left: &AtomicU32) -> Vec<(u64, u32, i32)> {
    let mut effects = Effects::new();
    let mut got = Vec::new();
    let mut turn = 0;
    while left.load(Ordering::SeqCst) > 0 {
        turn += 1;
        let how = Receive { max_size: 64, large: turn % 2 == 0, waiter: Some(me.clone()) };
        let message = match receive(space, names[turn % names.len()], how, &mut effects) {
            Received::Message(message) => Some(message),
            Received::Wait(token) => {
                std::thread::yield_now();
                if cancel(&token) { None } else { inbox.recv().unwrap().and_then(|packed| packed.lock().unwrap().take()) }
            }
            _ => panic!("nothing else happens here"),
        };
        if let Some(message) = message {
            let (bytes, code) = copyout(space, message, &mut FakeCarrier::default(), &mut effects);
            assert_eq!(code, abi::Code::SUCCESS);
            let header = Header::read(&bytes).unwrap();
            got.push((header.local, header.seqno, header.id));
            left.fetch_sub(1, Ordering::SeqCst);
        }
        work_off(&mut effects);
    }
    got
}

/// Takes a member out of its set and puts it back, all the time.
fn mover(space: &Space<Threads>, member: u32, set: u32, left: &AtomicU32) {
    let mut effects = Effects::new();
    while left.load(Ordering::SeqCst) > 0 {
        for to in [0, set] {
            space.move_member(member, to, &mut effects).unwrap();
            work_off(&mut effects);
        }
        std::thread::yield_now();
    }
}

#[test]
fn many_threads_lose_no_message_and_no_wakeup() {
    let (space, mut effects) = (Space::<Threads>::new().unwrap(), Effects::new());
    let alone = space.allocate(right::RECEIVE).unwrap();
    let set = space.allocate(right::PORT_SET).unwrap();
    let members = [space.allocate(right::RECEIVE).unwrap(), space.allocate(right::RECEIVE).unwrap()];
    let ports = [alone, members[0], members[1]];
    for port in ports {
        let right = space.extract_right(port, kind::MAKE_SEND, &mut effects).unwrap();
        assert_eq!(space.insert(right, &mut effects), Ok(port));
    }
    for member in members {
        space.move_member(member, set, &mut effects).unwrap();
    }
    // So that several senders are blocked at once.
    space.set_queue_limit(alone, 1, &mut effects).unwrap();
    let left = AtomicU32::new(SENDERS * MESSAGES);
    let thread = |number| {
        let (inbox, outbox) = channel();
        (Thread { number, inbox }, outbox)
    };
    let mut got: Vec<_> = std::thread::scope(|scope| {
        for number in 0..SENDERS {
            let (me, inbox) = thread(number);
            let (space, name) = (&space, ports[number as usize % 3]);
            scope.spawn(move || sender(space, name, &me, &inbox));
        }
        let (space, left) = (&space, &left);
        scope.spawn(move || mover(space, members[0], set, left));
        let receivers: Vec<_> = (10..12)
            .map(|number| {
                let (me, inbox) = thread(number);
                scope.spawn(move || receiver(space, &[alone, set], &me, &inbox, left))
            })
            .collect();
        receivers.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    got.sort_unstable();
    let sequence = |port: u32| got.iter().filter(move |entry| entry.0 == u64::from(port)).map(|entry| entry.1);
    for port in ports {
        assert!(sequence(port).eq(0..sequence(port).count() as u32), "each number once");
    }
    for number in 0..SENDERS {
        let first = number * MESSAGES;
        let own = got.iter().map(|entry| entry.2 as u32).filter(|id| id / MESSAGES == number);
        assert!(own.eq(first..first + MESSAGES), "sender {number}: each message once and in order");
    }
    if let Some(crate::entry::Entry::Set(set)) = space.lock().table.get(set) {
        assert!(set.state.lock().ready.is_empty(), "a member is listed that has no message");
    }
    space.destroy(&mut effects);
    assert!(effects.next().is_none());
}
