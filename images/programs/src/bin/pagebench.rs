//! `pagebench --pager swap|NAME --working-set BYTES --seed N`: uses more memory than there is, and verifies every word.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;

use programs::pagebench::{options::Options, sweeps};
use runtime::Args;

runtime::main!(run);

fn run(args: Args) -> Result<(), String> {
    let failed = |why| format!("{}: {why}", args.program());
    let options = Options::parse(args.words()).map_err(failed)?;
    sweeps::run(&options).map_err(failed)
}
