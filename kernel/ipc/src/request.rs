//! A dead-name request, kept by the port it is about.

use crate::Host;
use crate::right::Right;

pub(crate) struct Request<H: Host> {
    /// The name that the requester's space has for the port.
    pub(crate) name: u32,
    /// Where the notification goes.
    pub(crate) notify: Right<H>,
}
