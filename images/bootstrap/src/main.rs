//! The bootstrap task: `bootstrap HOST-PORT DEVICE-PORT`, names of ports in decimal.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::String;

use abi::call::mach_host::{RB_HALT, host_reboot};
use bootstrap_task::loader::Archive;
use bootstrap_task::manifest;
use bootstrap_task::supervisor::Supervisor;
use runtime::bootstrap::PrivilegedPorts;
use runtime::ramdisk::Ramdisk;
use runtime::{Args, SendRight, println, task};

runtime::main!(run);

fn run(args: Args) -> Result<(), String> {
    let mut names = args.words().iter().map_while(|word| word.parse::<u32>().ok());
    let (Some(host), Some(device)) = (names.next(), names.next()) else {
        return Err(String::from("bootstrap: needs the names of the host's and the device master's ports"));
    };
    let halt = host_reboot::Request { options: RB_HALT };
    let ports = PrivilegedPorts { host: SendRight::from_name(host), device: SendRight::from_name(device) };
    // The supervisor gives its rights back when it is done.
    let host = ports.host.try_clone().map_err(|code| format!("bootstrap: the host's port: {code}"))?;
    match boot(ports) {
        Ok(()) => println!("@verdict ok"),
        Err(why) => println!("@verdict FAILED {why}"),
    }
    host.call(&halt).map(drop).map_err(|code| format!("bootstrap: cannot halt: {code}"))
}

fn boot(ports: PrivilegedPorts) -> Result<(), String> {
    // Whoever judges a pager's death must not have lost pages to it.
    task::wire_all(&ports.host).map_err(|code| format!("bootstrap: cannot stay in memory: {code}"))?;
    let ramdisk = Ramdisk::open(&ports.device).map_err(|code| format!("bootstrap: no ramdisk: {code}"))?;
    let archive = Archive::new(&ramdisk)?;
    let items = manifest::parse(archive.manifest()?)?;
    let mut supervisor = Supervisor::new(archive, ports).map_err(|code| format!("bootstrap: no ports: {code}"))?;
    supervisor.run(&items)
}
