//! Scenarios on the fake machine (`crate::fake`): programs, pagers and disks against the whole kernel.

mod ends;
mod exceptions;
mod memory;
mod messages;
mod pagers;
mod threads;
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::call::notify::mach_notify_port_deleted as note;
use abi::item::PortName;

/// Seeds of scenarios in which CPUs overtake each other.
const SEEDS: core::ops::Range<u64> = 1..16;

/// A message with a number.
fn numbered(number: u32) -> note::Request {
    note::Request { name: PortName(number) }
}

/// The number of such a message.
fn number_of(bytes: &[u8]) -> u32 {
    let mut reader = abi::message::Reader::new(bytes);
    <note::Request as abi::Message>::decode(&mut reader).expect("a message with a number").name.0
}

/// A number that a program tells its test.
#[derive(Clone, Default)]
struct Tally(Arc<AtomicU64>);

impl Tally {
    fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
