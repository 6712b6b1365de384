//! bootstrap.defs: how tasks of one boot find each other's ports. Served by the bootstrap task on every task's bootstrap port.

use crate::item::Text;
use crate::message::Port;
use crate::table::subsystem;

subsystem! { 400;
    /// Tells the name under which a service is found.
    bootstrap_register = 403 (name: Text<128>, service: Port) -> ();
    /// Finds a service; answered as soon as it is registered.
    bootstrap_look_up = 404 (name: Text<128>) -> (service: Port);
    /// The host and device ports, for tasks that the manifest trusts with them.
    bootstrap_ports = 409 () -> (host: Port, device: Port);
    /// A program's last word: its exit status.
    bootstrap_exit = 410 (status: i32);
}
