//! The pager's task: `swap-pager device=vda default=yes`.
//!
//! It gets the privileged ports from the bootstrap task, makes its tables, wires itself, and only then becomes the default pager: from
//! that moment the kernel waits for it when memory is short. Without `default=yes` it only makes objects for clients.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::collections::TryReserveError;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;

use abi::call::device::{D_READ, D_WRITE};
use abi::call::mach::vm_set_default_memory_manager;
use abi::vm::PAGE_SIZE;
use pager::Server;
use runtime::device::Device;
use runtime::{Args, bootstrap, println, task};
use swap_pager::Swap;

runtime::main!(run);

/// Heap for the objects to come. The heap must not have to grow while the kernel waits for this pager to make room.
const HEAP_SLACK: usize = 512 * 1024;

/// Lets the heap grow now: what was allocated once stays with it.
fn reserve_heap() -> Result<(), TryReserveError> {
    let mut slack = Vec::<u8>::new();
    slack.try_reserve_exact(HEAP_SLACK)?;
    core::hint::black_box(&mut slack);
    Ok(())
}

fn run(args: Args) -> Result<(), String> {
    let name = args.value("device").unwrap_or("vda");
    let failed = |what: &str, why: &dyn Display| format!("{}: {what}: {why}", args.program());
    let ports = bootstrap::ports().map_err(|code| failed("the privileged ports", &code))?;
    let device = Device::open(&ports.device, name, D_READ | D_WRITE).map_err(|code| failed(name, &code))?;
    let records = device.records().map_err(|code| failed("the size of the device", &code))?;
    if records.size > PAGE_SIZE as u32 || !PAGE_SIZE.is_multiple_of(records.size.into()) {
        return Err(failed("the size of a record", &records.size));
    }
    let swap = Swap::new(device, records).map_err(|_| failed("tables for the device", &"no memory"))?;
    let (pages, tables) = (swap.capacity(), swap.table_bytes());
    if pages == 0 {
        return Err(failed(name, &"not one page fits"));
    }
    reserve_heap().map_err(|_| failed("heap", &"no memory"))?;
    let server = Server::new(swap).map_err(|code| failed("ports", &code))?;
    task::wire_all(&ports.host).map_err(|code| failed("wiring", &code))?;
    if args.value("default") == Some("yes") {
        let become_default = vm_set_default_memory_manager::Request { default_manager: server.service() };
        ports.host.call(&become_default).map_err(|code| failed("becoming the default pager", &code))?;
    }
    println!("{}: {pages} pages on {name}, tables of {} KiB", args.program(), tables / 1024);
    server.register(args.program()).map_err(|code| failed("registering", &code))?;
    server.run().map_err(|code| failed("serving", &code))
}
