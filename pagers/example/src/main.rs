#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]
runtime::main!(run);
fn run(args: runtime::Args) -> Result<(), abi::Code> {
    runtime::println!("hello {}", args.program());
    Ok(())
}
