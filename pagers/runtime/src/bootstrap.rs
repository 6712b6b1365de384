//! The bootstrap task as a client sees it: how programs and pagers find each other.

use alloc::string::String;

use abi::Code;
use abi::call::bootstrap::{bootstrap_exit, bootstrap_look_up, bootstrap_ports, bootstrap_register};
use abi::item::Text;
use abi::message::Port;
use abi::trap::TASK_BOOTSTRAP_PORT;

use crate::{SendRight, task};

/// What the manifest trusts a task with.
#[derive(Debug)]
pub struct PrivilegedPorts {
    /// The host's privileged port.
    pub host: SendRight,
    /// The port that devices are opened on.
    pub device: SendRight,
}

fn port() -> Result<SendRight, Code> {
    task::special_port(TASK_BOOTSTRAP_PORT)
}

/// Tells under which name a service is found; the right is one to make or copy.
pub fn register(name: &str, service: Port) -> Result<(), Code> {
    port()?.call(&bootstrap_register::Request { name: Text(String::from(name)), service }).map(drop)
}

/// Finds a service; waits until it is registered.
pub fn look_up(name: &str) -> Result<SendRight, Code> {
    let reply = port()?.call(&bootstrap_look_up::Request { name: Text(String::from(name)) })?;
    SendRight::from_port(reply.service).ok_or(Code::INVALID_CAPABILITY)
}

/// The privileged ports; `NO_ACCESS` for a task that isn't trusted with them.
pub fn ports() -> Result<PrivilegedPorts, Code> {
    let reply = port()?.call(&bootstrap_ports::Request {})?;
    let host = SendRight::from_port(reply.host).ok_or(Code::INVALID_HOST)?;
    let device = SendRight::from_port(reply.device).ok_or(Code::D_NO_SUCH_DEVICE)?;
    Ok(PrivilegedPorts { host, device })
}

/// The program's last word. The bootstrap task itself has nobody to say it to.
pub(crate) fn say_exit(status: i32) {
    if let Ok(port) = port() {
        let _ = port.send(&bootstrap_exit::Request { status });
    }
}
