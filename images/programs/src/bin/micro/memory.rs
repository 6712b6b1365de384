//! Anonymous memory: allocation, zero fill, copies.

use abi::Code;
use abi::call::mach::{vm_allocate, vm_deallocate, vm_read};
use abi::vm::PAGE_SIZE;
use runtime::{Pages, rpc, task, vm};

use crate::clock::{repeat, report, span};
use crate::stub::Stub;

const TIMES: u64 = 1000;
/// 16 MiB.
const PAGES: u64 = 4096;

pub(crate) fn run() -> Result<(), Code> {
    let own = task::own();
    repeat("allocate-trap", TIMES, || vm::deallocate(vm::allocate(PAGE_SIZE)?, PAGE_SIZE))?;
    let mut stub = Stub::new();
    repeat("allocate-rpc", TIMES, || {
        stub.call(own, &vm_allocate::Request { address: 0, size: PAGE_SIZE, anywhere: true })?;
        let address = stub.first_long()?;
        stub.call(own, &vm_deallocate::Request { address, size: PAGE_SIZE })
    })?;
    let mut source = Pages::allocate(PAGES * PAGE_SIZE)?;
    report("zero-fill-fault", span(|| write_all(&mut source, 1)).0, PAGES);
    copies(&mut source)?;
    report("unmap", span(|| drop(source)).0, PAGES);
    Ok(())
}

/// Stores into each page, without a look at it: that would be a fault of its own.
fn write_all(pages: &mut Pages, value: u8) {
    pages.chunks_exact_mut(PAGE_SIZE as usize).for_each(|page| page[0] = value);
}

fn copies(source: &mut Pages) -> Result<(), Code> {
    let request = vm_read::Request { address: source.address(), size: source.size() };
    let copy = || rpc::call(task::own(), &request).map(|reply| Pages::from_reply(reply.data));
    let (lazy, first) = span(copy);
    report("lazy-copy-16m", lazy, 1);
    let mut first = first?;
    report("cow-fault", span(|| write_all(&mut first, 2)).0, PAGES);
    // Nobody else has the source's pages now; from the next copy on its own writes are what copies them.
    let _second = copy()?;
    write_all(source, 3);
    let _third = copy()?;
    report("cow-fault-source", span(|| write_all(source, 4)).0, PAGES);
    Ok(())
}
