//! Faults, and pagers that answer well, badly, late or never.

use abi::Code;
use abi::call::mach;
use abi::message::Port;
use abi::policy::{DISCARDS, ON_DEADLINE_ERROR, ON_DEADLINE_WAIT, RETURN_REQUESTS};
use abi::vm::{Inherit, PAGE_SIZE, Protection};

use super::{SEEDS, Tally};
use crate::fake::{Answer, Bed, Fault, PagerProgram, Shape, User};
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

/// A bed with a pager and a client that reads pages of it, and tells how many it saw.
fn scene(shape: Shape, pages: u64, program: impl FnOnce(u32) -> PagerProgram) -> (Bed, usize, Tally) {
    let mut bed = Bed::new(shape);
    let (pager, client) = (bed.task(), bed.task());
    let port = bed.port(pager);
    let object = bed.send_right(pager, port, client);
    let devices = bed.give_devices(pager);
    let mut program = program(port);
    program.devices = devices;
    bed.thread(pager, move |user| program.run(user));
    let seen = Tally::default();
    let tally = seen.clone();
    let reader = bed.thread(client, move |user| async move {
        let address = map(&user, object, pages).await;
        for page in 0..pages {
            let value = user.load(address + page * PAGE_SIZE).await;
            assert!(value == page || value == 0, "page {page} holds {value}");
            tally.add(1);
        }
    });
    (bed, reader, seen)
}

#[test]
fn a_good_pager_is_read() {
    for seed in SEEDS {
        let (mut bed, reader, seen) = scene(Shape::race(seed), 40, PagerProgram::good);
        bed.run();
        assert_eq!((seen.get(), bed.state(reader)), (40, Run::Dead), "seed {seed}");
        bed.check_vm();
        bed.end();
    }
}

#[test]
fn answers_in_pieces_twice_and_of_all_kinds_are_fine() {
    for seed in SEEDS {
        let mut turn = 0;
        let (mut bed, reader, seen) = scene(Shape::race(seed), 40, move |port| {
            PagerProgram::new(port, move |_, _| {
                turn += 1;
                match turn % 5 {
                    0 => std::vec![Answer::Data, Answer::Data],
                    1 => std::vec![Answer::Unavailable],
                    2 => std::vec![Answer::FromDevice, Answer::Unavailable],
                    3 => std::vec![Answer::Sleep(2), Answer::Data, Answer::Error(Code::MEMORY_ERROR)],
                    _ => std::vec![Answer::FromDevice],
                }
            })
        });
        bed.run();
        assert_eq!((seen.get(), bed.state(reader)), (40, Run::Dead), "seed {seed}");
        bed.check_vm();
        bed.end();
    }
}

/// The reader's task ends by an exception that nobody handles.
fn reader_fails(shape: Shape, plan: fn(u64, u64) -> std::vec::Vec<Answer>, policy: Option<(u32, u32, u32, u32)>) {
    let (mut bed, reader, seen) = scene(shape, 8, |port| PagerProgram { policy, ..PagerProgram::new(port, plan) });
    bed.run();
    assert_eq!((seen.get(), bed.state(reader)), (0, Run::Dead));
    assert!(bed.machine.printed().contains("unhandled exception 1"), "{}", bed.machine.printed());
    bed.check_vm();
    bed.end();
}

#[test]
fn an_error_is_an_exception() {
    reader_fails(Shape::simple(), |_, _| std::vec![Answer::Error(Code::MEMORY_ERROR)], None);
}

#[test]
fn a_pager_that_dies_is_an_exception() {
    for seed in SEEDS {
        reader_fails(Shape::race(seed), |_, _| std::vec![Answer::Die], None);
    }
}

#[test]
fn a_pager_that_is_late_is_an_exception() {
    for seed in SEEDS {
        let policy = Some((0, 4, 5, ON_DEADLINE_ERROR));
        reader_fails(Shape::race(seed), |_, _| std::vec![Answer::Sleep(50), Answer::Data], policy);
    }
}

#[test]
fn a_device_that_fails_is_an_exception() {
    let (mut bed, reader, seen) = scene(Shape::simple(), 8, |port| PagerProgram::new(port, |_, _| std::vec![Answer::FromDevice]));
    bed.fail(Fault::Read);
    bed.run();
    assert_eq!((seen.get(), bed.state(reader)), (0, Run::Dead));
    bed.check_vm();
    bed.end();
}

/// More memory than there is, on a default pager.
fn press(shape: Shape, pages: u64, fault: Option<Fault>) -> (Bed, std::vec::Vec<usize>) {
    press_on(Bed::new(shape), pages, fault, |_, _| std::vec![Answer::FromDevice])
}

fn press_on(
    mut bed: Bed,
    pages: u64,
    fault: Option<Fault>,
    plan: impl FnMut(u64, u64) -> std::vec::Vec<Answer> + Send + Sync + 'static,
) -> (Bed, std::vec::Vec<usize>) {
    let pager = bed.task();
    let (port, devices, host) = (bed.port(pager), bed.give_devices(pager), bed.give_host(pager));
    let mut program = PagerProgram::new(port, plan);
    program.devices = devices;
    program.policy = Some((RETURN_REQUESTS | DISCARDS, 8, 0, 0));
    bed.thread(pager, move |user| program.swap(user, host));
    let mut writers = std::vec::Vec::new();
    for number in 0..2 {
        let task = bed.task();
        writers.push(bed.thread(task, move |user| async move {
            user.sleep(5).await;
            let address = user.allocate(pages).await;
            for round in 0..2 {
                for page in 0..pages {
                    let at = address + page * PAGE_SIZE;
                    let expected = if round == 0 { 0 } else { page * 10 + number };
                    assert_eq!(user.load(at).await, expected, "page {page} in round {round}");
                    user.store(at, page * 10 + number).await;
                }
            }
        }));
    }
    if let Some(fault) = fault {
        bed.fail(fault);
    }
    bed.run();
    (bed, writers)
}

#[test]
fn more_memory_than_there_is_goes_to_the_disk_and_back() {
    for seed in 1..4 {
        let (bed, writers) = press(Shape { cpus: 2, frames: 256, seed }, 150, None);
        for writer in writers {
            assert_eq!(bed.state(writer), Run::Dead);
        }
        assert!(bed.transfers() > 10);
        assert_eq!(bed.machine.printed(), "", "no exceptions");
        bed.check_vm();
        bed.end();
    }
}

#[test]
fn a_write_that_fails_is_done_again() {
    let (bed, writers) = press(Shape { cpus: 1, frames: 256, seed: 3 }, 150, Some(Fault::Write));
    assert!(writers.iter().all(|writer| bed.state(*writer) == Run::Dead));
    assert_eq!(bed.machine.printed(), "", "no exceptions");
    bed.end();
}

/// The kernel finds no memory to tell the pager what it wants: it asks again, and nothing is lost.
#[test]
fn what_could_not_be_asked_is_asked_again() {
    for seed in SEEDS {
        let bed = Bed::new(Shape { cpus: 2, frames: 256, seed });
        let machine = bed.machine;
        let (bed, writers) = press_on(bed, 150, None, |_, _| {
            machine.fail_messages(40);
            std::vec![Answer::FromDevice]
        });
        assert!(writers.iter().all(|writer| bed.state(*writer) == Run::Dead), "seed {seed}: {}", bed.kernel.census.left());
        assert_eq!(bed.machine.printed(), "", "no exceptions");
        bed.check_vm();
        bed.end();
    }
}

/// Memory is gone but for a few frames when the pager answers: the answer gets through, or nobody would ever get any.
#[test]
fn an_answer_gets_through_when_memory_is_gone() {
    for seed in 1..3 {
        let mut bed = Bed::new(Shape { cpus: 2, frames: 256, seed });
        let pool = bed.kernel.pool;
        let hoard = std::sync::Arc::new(std::sync::Mutex::new(std::vec::Vec::new()));
        let (mut request, hoarded, kept) = (0, hoard.clone(), hoard.clone());
        let miser = bed.task();
        bed.thread(miser, move |user| async move {
            for _ in 0..40 {
                user.sleep(20).await;
                kept.lock().unwrap().drain(..).for_each(|frame| pool.free(frame));
            }
        });
        let (bed, writers) = press_on(bed, 150, None, move |_, _| {
            request += 1;
            if request % 4 == 0 && request < 20 {
                // Less than a trap of anybody else may begin with.
                let most = pool.available().saturating_sub(6);
                hoarded.lock().unwrap().extend(core::iter::from_fn(|| pool.allocate(frames::Purpose::Kernel)).take(most));
            }
            std::vec![Answer::FromDevice]
        });
        assert!(writers.iter().all(|writer| bed.state(*writer) == Run::Dead), "seed {seed}: {}", bed.kernel.census.left());
        hoard.lock().unwrap().drain(..).for_each(|frame| pool.free(frame));
        bed.check_vm();
        bed.end();
    }
}

/// A pager's port that died between the message and the routine: nothing stays behind.
#[test]
fn a_dead_memory_object_is_refused_whole() {
    let mut bed = Bed::new(Shape::simple());
    let task = bed.task();
    let port = bed.port(task);
    let space = &bed.task_of(task).space;
    let mut effects = crate::kobject::Effects::new();
    let right = space.extract_right(port, abi::message::kind::MAKE_SEND, &mut effects).unwrap();
    space.destroy_name(port, &mut effects).unwrap();
    bed.kernel.work_off(effects);
    assert!(bed.kernel.object_of_port(right).is_err());
    bed.end();
}

/// The default pager ends while its pages are wanted: whoever needs one is told.
#[test]
fn a_default_pager_that_dies_leaves_nobody_waiting() {
    // Also if it was late before: a deadline of 2 ms that is only counted.
    for (seed, deadline) in SEEDS.zip([0, 2].into_iter().cycle()) {
        let mut bed = Bed::new(Shape { cpus: 2, frames: 256, seed });
        let pager = bed.task();
        let (port, devices, host) = (bed.port(pager), bed.give_devices(pager), bed.give_host(pager));
        let mut left = 3;
        let mut program = PagerProgram::new(port, move |_, _| {
            left -= 1;
            if left == 0 { std::vec![Answer::Sleep(20), Answer::Die] } else { std::vec![Answer::FromDevice] }
        });
        program.devices = devices;
        program.policy = Some((RETURN_REQUESTS, 8, deadline, ON_DEADLINE_WAIT));
        bed.thread(pager, move |user| program.swap(user, host));
        let task = bed.task();
        let writers: std::vec::Vec<_> = (0..2)
            .map(|number| {
                bed.thread(task, move |user| async move {
                    user.sleep(5).await;
                    let address = user.allocate(200).await;
                    for page in (0..200).chain(0..200) {
                        user.store(address + page * PAGE_SIZE, number).await;
                    }
                })
            })
            .collect();
        bed.run();
        assert!(writers.iter().all(|writer| bed.state(*writer) == Run::Dead), "seed {seed}");
        assert!(bed.machine.printed().contains("unhandled exception 1"), "{}", bed.machine.printed());
        bed.check_vm();
        bed.end();
    }
}
