//! `pagebench --pager swap|net|swap-object --working-set BYTES --seed N`: fills memory larger than RAM, sweeps it, rewrites some, verifies
//! every byte that it reads, and prints the figures as one `@phase` line.
//!
//! Plain memory is the default pager's business; with `net` the memory is an object of that pager's own, mapped.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::Code;
use abi::call::default_pager::default_pager_object_create;
use abi::vm::Protection;
use alloc::format;
use alloc::string::String;
use programs::pagebench::{Bench, Figures, Host, Options};
use runtime::{Args, Mapping, SendRight, bootstrap, println};

runtime::main!(run);

/// The memory, and the right that keeps its object.
fn region(options: &Options) -> Result<(Mapping, Option<SendRight>), Code> {
    let Some(service) = options.over.service() else {
        return Ok((Mapping::anonymous(options.working_set)?, None));
    };
    let reply = bootstrap::look_up(service)?.call(&default_pager_object_create::Request { size: options.working_set })?;
    let object = SendRight::from_port(reply.object).ok_or(Code::INVALID_CAPABILITY)?;
    Ok((Mapping::map(object.copy(), 0, options.working_set, Protection::DEFAULT)?, Some(object)))
}

fn measure(options: Options) -> Result<Figures, Code> {
    let (memory, _object) = region(&options)?;
    Bench::new(&memory, &Host::new(), options).run()
}

fn run(args: Args) -> Result<(), String> {
    let name = args.program();
    let options = Options::parse(args.words()).map_err(|why| format!("{name}: {why}"))?;
    let figures = measure(options).map_err(|code| format!("{name}: {} bytes over {}: {code}", options.working_set, options.over.name()))?;
    println!("@phase {figures}");
    match figures.corrupt_pages() {
        0 => Ok(()),
        corrupt => Err(format!("{name}: {corrupt} corrupt pages")),
    }
}
