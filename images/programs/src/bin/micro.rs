//! placeholder
#![cfg_attr(target_os = "none", no_std, no_main)]
runtime::main!(run);
fn run(_: runtime::Args) {}
