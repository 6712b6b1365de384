//! The default pager behind the real serve loop; the test is the kernel and its disk.
//!
//! The disk holds one number for each slot, the version of the page written there. Whatever the order of page-outs, page-ins, discards
//! and failing transfers, a page comes back with the version that last went out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use abi::Code;
use abi::call::device::{device_read, device_write};
use abi::message::Memory;
use pager::testing::{Answer, Harness, Mapped};
use pager::{Pager, Run};
use proptest::prelude::*;
use runtime::SendRight;
use runtime::device::{Device, Records};
use runtime::fake::{self, FakeKernel, PortId, Sent};
use swap_pager::Swap;

const SECTORS: u64 = 8;

/// A pager on a device of so many pages; the device's port is answered by a function.
fn harness(pages: u64, device: impl FnMut(&Sent) -> fake::Answer + 'static) -> (Harness<Swap>, PortId) {
    let mut port = None;
    let harness = Harness::new(|kernel: &FakeKernel| {
        let disk = kernel.service(device);
        port = Some(disk);
        let opened = kernel.service(move |_| {
            let reply = abi::call::device::device_open::Reply { device: abi::message::Port::move_send(1) };
            fake::Answer::with_sends::<abi::call::device::device_open::Request>(reply, &[disk])
        });
        let master = SendRight::from_name(kernel.give_send_right(opened));
        let device = Device::open(&master, "vda", 3).unwrap();
        Swap::new(device, Records { count: pages * SECTORS, size: 512 }).unwrap()
    });
    (harness, port.unwrap())
}

fn no_device(_: &Sent) -> fake::Answer {
    panic!("the kernel moves the pages, not the pager")
}

fn run(page: u64, pages: u64) -> Run {
    Run::of_pages(page, pages).unwrap()
}

/// The kernel's side of an object: its resident dirty pages and the versions of all.
struct Machine {
    harness: Harness<Swap>,
    disk: PortId,
    object: Mapped,
    slots: Vec<Option<u64>>,
    /// The version that a page must come back with.
    versions: BTreeMap<u64, u64>,
    next_version: u64,
}

impl Machine {
    fn new(pages: u64) -> Self {
        let (mut harness, disk) = harness(pages, no_device);
        let object = harness.adopt(1 << 44);
        assert!(matches!(harness.answers(&object)[..], [Answer::Policy { flags: 3, run_pages: 256, .. }]));
        Self { harness, disk, object, slots: vec![None; pages as usize], versions: BTreeMap::new(), next_version: 0 }
    }

    fn slot(&self, device: PortId, record: u64) -> usize {
        assert_eq!((device, record % SECTORS), (self.disk, 0));
        (record / SECTORS) as usize
    }

    /// Dirty pages ask to go out; transfers fail while `failing` counts down. Gives the pages that were refused.
    fn page_out(&mut self, run: Run, mut failing: u32) -> Vec<(Run, Code)> {
        let mut refused = Vec::new();
        let mut unanswered = run.pages();
        self.harness.return_request(&self.object, run);
        loop {
            let answers = self.harness.answers(&self.object);
            if answers.is_empty() {
                break;
            }
            for answer in answers {
                match answer {
                    Answer::ToDevice { run, device, record } => {
                        let first = self.slot(device, record);
                        assert!(first + run.pages() as usize <= self.slots.len(), "past the end of the disk");
                        if failing > 0 {
                            failing -= 1;
                            (0..run.pages() as usize).for_each(|at| self.slots[first + at] = None);
                            self.harness.device_failed(&self.object, run, Code::D_IO_ERROR);
                            continue;
                        }
                        for at in 0..run.pages() {
                            self.next_version += 1;
                            self.slots[first + at as usize] = Some(self.next_version);
                            self.versions.insert(run.first_page() + at, self.next_version);
                        }
                        unanswered -= run.pages();
                    }
                    Answer::Refused(run, code) => {
                        // The kernel keeps them; what was on the disk is not to be asked for.
                        unanswered -= run.pages();
                        refused.push((run, code));
                    }
                    other => panic!("{other:?} to a return request"),
                }
            }
        }
        assert_eq!(unanswered, 0, "pages without an answer");
        refused
    }

    /// Faults on pages: gives the version of each, none for a page that was never there.
    fn page_in(&mut self, run: Run) -> Vec<Option<u64>> {
        self.harness.request(&self.object, run);
        let mut found = BTreeMap::new();
        for answer in self.harness.answers(&self.object) {
            match answer {
                Answer::FromDevice { run, device, record } => {
                    let first = self.slot(device, record);
                    (0..run.pages()).for_each(|at| {
                        let version = self.slots[first + at as usize];
                        assert!(version.is_some(), "a slot that was never written is read");
                        found.insert(run.first_page() + at, version);
                    });
                }
                Answer::Unavailable(run) => (0..run.pages()).for_each(|at| {
                    found.insert(run.first_page() + at, None);
                }),
                other => panic!("{other:?} to a request"),
            }
        }
        assert_eq!(found.len() as u64, run.pages());
        found.into_values().collect()
    }

    fn discard(&mut self, run: Run) {
        self.harness.discard(&self.object, run);
        self.versions.retain(|page, _| !(run.first_page()..run.first_page() + run.pages()).contains(page));
    }

    fn check(&self) {
        self.harness.server.pager().check();
        let tally = self.harness.server.tally();
        assert_eq!((tally.answered_again, tally.unasked, tally.malformed), (0, 0, 0));
        assert_eq!(self.harness.server.unanswered(), []);
    }
}

#[test]
fn pages_go_out_in_one_run_and_come_back() {
    let mut machine = Machine::new(1024);
    assert_eq!(machine.page_in(run(1 << 31, 3)), [None; 3]);
    machine.page_out(run(100, 256), 0);
    machine.page_out(run(1 << 30, 4), 0);
    machine.page_out(run(100, 2), 0);
    let expected: Vec<_> = [261, 262].into_iter().chain(3..=256).map(Some).collect();
    assert_eq!(machine.page_in(run(100, 256)), expected);
    assert_eq!(machine.page_in(run((1 << 30) - 1, 6)), [None, Some(257), Some(258), Some(259), Some(260), None]);
    assert_eq!(machine.harness.server.pager().counters().runs_out, 3);
    machine.check();
}

#[test]
fn a_full_device_refuses_new_pages_and_takes_old_ones_again() {
    let mut machine = Machine::new(16);
    assert_eq!(machine.page_out(run(0, 20), 0), [(run(16, 4), Code::NO_SPACE)]);
    assert_eq!(machine.page_out(run(8, 10), 0), [(run(16, 2), Code::NO_SPACE)]);
    assert_eq!(machine.page_in(run(7, 2)), [Some(8), Some(17)]);
    machine.discard(run(0, 1 << 31));
    assert_eq!(machine.page_out(run(50, 16), 0), []);
    machine.check();
}

#[test]
fn a_bad_slot_is_not_used_again_and_a_dead_device_is_not_blamed_on_slots() {
    let mut machine = Machine::new(64);
    assert_eq!(machine.page_out(run(0, 2), 1), []);
    assert_eq!(machine.harness.server.pager().counters().bad_slots, 2);
    assert_eq!(machine.page_in(run(0, 2)), [Some(1), Some(2)]);
    let refused = machine.page_out(run(10, 8), u32::MAX);
    assert_eq!(refused, [(run(10, 8), Code::D_IO_ERROR)]);
    let counters = machine.harness.server.pager().counters();
    assert!(counters.bad_slots <= 2 + 8, "{counters:?}");
    assert_eq!(machine.page_in(run(9, 3)), [None; 3]);
    machine.check();
}

#[test]
fn a_failed_page_in_is_an_error_and_the_slot_stays() {
    let mut machine = Machine::new(64);
    machine.page_out(run(3, 1), 0);
    assert_eq!(machine.page_in(run(3, 1)), [Some(1)]);
    machine.harness.device_failed(&machine.object, run(3, 1), Code::D_IO_ERROR);
    assert_eq!(machine.harness.answers(&machine.object), [Answer::Error(run(3, 1), Code::D_IO_ERROR)]);
    assert_eq!(machine.page_in(run(3, 1)), [Some(1)], "the next try may succeed");
    machine.check();
}

#[test]
fn objects_of_clients_keep_their_pages_between_mappings() {
    let (mut harness, _) = harness(64, no_device);
    let object = harness.create(1 << 20).unwrap();
    harness.answers(&object);
    harness.return_request(&object, run(0, 4));
    let [Answer::ToDevice { record, .. }] = harness.answers(&object)[..] else { panic!("one run") };
    harness.terminate(&object);
    let again = harness.map(object.port);
    harness.answers(&again);
    harness.request(&again, run(0, 4));
    assert!(matches!(harness.answers(&again)[..], [Answer::FromDevice { record: there, .. }] if there == record));
    harness.terminate(&again);
    harness.kernel.tell_no_senders(object.port);
    harness.pump();
    assert_eq!(harness.server.pager_mut().info().unwrap().free, 64 * 4096);
    assert_eq!(harness.create(u64::MAX), Err(Code::INVALID_ARGUMENT));
}

#[test]
fn a_kernel_without_the_extension_is_served_by_messages() {
    let disk = Rc::new(RefCell::new(vec![0_u8; 4 * 4096]));
    let served = disk.clone();
    let (mut harness, _) = harness(4, move |sent| {
        let mut disk = served.borrow_mut();
        if let Ok(request) = sent.decode::<device_write::Request>() {
            let bytes = sent.memory(request.data);
            let at = request.recnum as usize * 512;
            disk[at..at + bytes.len()].copy_from_slice(bytes);
            let bytes_written = bytes.len() as i32;
            return fake::Answer::to::<device_write::Request>(Ok(device_write::Reply { bytes_written }));
        }
        let request = sent.decode::<device_read::Request>().unwrap();
        let (at, size) = (request.recnum as usize * 512, request.bytes_wanted as usize);
        let data = Memory { address: 1, size: size as u64, deallocate: false };
        fake::Answer::with_memory::<device_read::Request>(device_read::Reply { data }, disk[at..at + size].to_vec())
    });
    let object = harness.adopt(1 << 44);
    harness.answers(&object);
    let bytes = |from: u8, pages: u8| (from..from + pages).flat_map(|page| [page; 4096]).collect::<Vec<u8>>();
    harness.data_return(&object, 4096, bytes(1, 3));
    harness.data_return(&object, 8192, bytes(20, 1));
    // One page fits; the other two stay in the pager's memory.
    harness.data_return(&object, 40960, bytes(30, 3));
    harness.request(&object, run(0, 4));
    let supplied = |offset: u64, bytes: Vec<u8>| Answer::Supply { offset, bytes };
    let mut came = harness.answers(&object);
    came.sort_by_key(|answer| matches!(answer, Answer::Supply { .. }));
    let joined: Vec<u8> =
        came[1..].iter().flat_map(|a| if let Answer::Supply { bytes, .. } = a { bytes.clone() } else { vec![] }).collect();
    assert_eq!((&came[0], joined), (&Answer::Unavailable(run(0, 1)), [bytes(1, 1), bytes(20, 1), bytes(3, 1)].concat()));
    harness.request(&object, run(10, 3));
    let expected: Vec<_> = (0..3).map(|at| supplied(40960 + at * 4096, bytes(30 + at as u8, 1))).collect();
    assert_eq!(harness.answers(&object), expected);
    harness.discard(&object, run(0, 100));
    assert_eq!(harness.kernel.pages(), 0, "what was kept in memory is given back");
    harness.server.pager().check();
}

#[derive(Clone, Debug)]
enum Step {
    Out(u64, u64, u32),
    In(u64, u64),
    Discard(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let page = || prop_oneof![0..60_u64, (1 << 32) - 20..(1_u64 << 32) - 12];
    prop_oneof![
        4 => (page(), 1..12_u64, prop_oneof![9 => Just(0_u32), 1 => 1..8_u32]).prop_map(|(page, pages, failing)| Step::Out(page, pages, failing)),
        3 => (page(), 1..12_u64).prop_map(|(page, pages)| Step::In(page, pages)),
        1 => (page(), 1..30_u64).prop_map(|(page, pages)| Step::Discard(page, pages)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_page_is_lost(steps in proptest::collection::vec(step(), 1..40)) {
        let mut machine = Machine::new(48);
        // Pages that the kernel had to keep: it doesn't ask for them until they went out or were thrown away.
        let mut kept: BTreeMap<u64, ()> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Out(page, pages, failing) => {
                    let out = run(page, pages);
                    (page..page + pages).for_each(|page| { kept.remove(&page); });
                    for (refused, _) in machine.page_out(out, failing) {
                        (0..refused.pages()).for_each(|at| { kept.insert(refused.first_page() + at, ()); });
                    }
                }
                Step::In(page, pages) => {
                    for page in (page..page + pages).filter(|page| !kept.contains_key(page)) {
                        prop_assert_eq!(machine.page_in(run(page, 1)), [machine.versions.get(&page).copied()]);
                    }
                }
                Step::Discard(page, pages) => {
                    machine.discard(run(page, pages));
                    (page..page + pages).for_each(|page| { kept.remove(&page); });
                }
            }
            machine.check();
        }
    }
}
