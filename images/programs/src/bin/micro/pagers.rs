//! Faults that a pager of this program's own serves. The pages that it gives were made before: what is measured is the way of a fault
//! from the touch to the pager and back, not the making of contents.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::Code;
use abi::call::default_pager::default_pager_object_create;
use abi::message::kind;
use abi::vm::{PAGE_SIZE, Protection};
use pager::{Attributes, Control, ObjectId, OnDeadline, Pager, Policy, Returned, Run, Server};
use runtime::thread::STACK;
use runtime::{Mapping, Pages, SendRight, println, task, thread, trap};

use crate::clock::{report, span};

/// Objects that are mapped, each for its first fault.
const OBJECTS: u64 = 64;
/// Single faults.
const FAULTS: u64 = 512;
/// Pages of a run, and how many runs.
const RUN: u64 = 32;
const RUNS: u64 = 128;
/// Runs until read-ahead is at its full length.
const WARM: u64 = 4;

/// The port of the pager that was started last.
static SERVICE: AtomicU32 = AtomicU32::new(0);

/// Gives prepared pages away.
struct Prepared {
    run_pages: u32,
    stock: Vec<Pages>,
}

fn touched(pages: u64) -> Result<Pages, Code> {
    let mut pages = Pages::allocate(pages * PAGE_SIZE)?;
    pages.iter_mut().step_by(PAGE_SIZE as usize).for_each(|byte| *byte = 1);
    Ok(pages)
}

impl Pager for Prepared {
    fn create(&mut self, _: ObjectId, _: u64) -> Result<(), Code> {
        Ok(())
    }

    fn init(&mut self, _: &Control) -> Option<Attributes> {
        let policy =
            Policy { return_requests: false, discards: false, run_pages: self.run_pages, deadline_ms: 0, on_deadline: OnDeadline::Wait };
        Some(Attributes { policy: Some(policy), ..Attributes::default() })
    }

    fn data_request(&mut self, object: &Control, run: Run, _: Protection) {
        let fits = self.stock.last().is_some_and(|pages| pages.size() == run.length());
        let pages = if fits { self.stock.pop().ok_or(Code::FAILURE) } else { touched(run.pages()) };
        match pages {
            Ok(pages) => object.supply(run.offset(), pages),
            Err(code) => object.error(run, code),
        }
    }

    fn data_return(&mut self, _: &Control, _: Run, _: Pages, _: Returned) {}
}

/// Starts a pager that answers with runs of so many pages, so many of them prepared.
fn start(run_pages: u64, prepared: u64) -> Result<SendRight, Code> {
    SERVICE.store(0, Ordering::Release);
    thread::spawn(STACK, move || {
        let stock = (0..prepared).map(|_| touched(run_pages)).collect::<Result<Vec<_>, _>>();
        let served = stock.and_then(|stock| Server::new(Prepared { run_pages: run_pages as u32, stock })).and_then(|server| {
            SERVICE.store(server.service().name, Ordering::Release);
            server.run()
        });
        if let Err(code) = served {
            println!("micro: the pager: {code}");
            SERVICE.store(u32::MAX, Ordering::Release);
        }
    })?;
    let name = loop {
        match SERVICE.load(Ordering::Acquire) {
            0 => trap::swtch(),
            u32::MAX => return Err(Code::FAILURE),
            name => break name,
        }
    };
    trap::mach_port_insert_right(task::own(), name, name, kind::MAKE_SEND)?;
    Ok(SendRight::from_name(name))
}

fn object(service: &SendRight, pages: u64) -> Result<SendRight, Code> {
    let reply = service.call(&default_pager_object_create::Request { size: pages * PAGE_SIZE })?;
    SendRight::from_port(reply.object).ok_or(Code::INVALID_CAPABILITY)
}

fn read(memory: &Mapping, pages: impl Iterator<Item = u64>) {
    pages.for_each(|page| {
        core::hint::black_box(memory.load_u64(page * PAGE_SIZE));
    });
}

fn map(object: &SendRight, pages: u64) -> Result<Mapping, Code> {
    Mapping::map(object.copy(), 0, pages * PAGE_SIZE, Protection::DEFAULT)
}

pub(crate) fn run() -> Result<(), Code> {
    let single = start(1, OBJECTS + FAULTS + 1)?;
    let objects = (0..OBJECTS).map(|_| object(&single, 1)).collect::<Result<Vec<_>, _>>()?;
    let mut mapped = Vec::with_capacity(objects.len());
    let (time, done) = span(|| {
        objects.iter().try_for_each(|object| {
            let memory = map(object, 1)?;
            read(&memory, 0..1);
            mapped.push(memory);
            Ok::<_, Code>(())
        })
    });
    done?;
    report("map-object", time, OBJECTS);
    let one = object(&single, FAULTS + 1)?;
    let memory = map(&one, FAULTS + 1)?;
    read(&memory, 0..1);
    report("pager-fault", span(|| read(&memory, 1..=FAULTS)).0, FAULTS);

    let runs = start(RUN, RUNS)?;
    let pages = (WARM + RUNS + 1) * RUN;
    let many = object(&runs, pages)?;
    let memory = map(&many, pages)?;
    read(&memory, 0..WARM * RUN);
    let span = span(|| read(&memory, WARM * RUN..(WARM + RUNS) * RUN)).0;
    report("pager-fault-32", span, RUNS * RUN);
    Ok(())
}
