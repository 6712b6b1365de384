//! Tells systemd how the service does (sd_notify(3)): a datagram to the socket it named, if it named one.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// Clients may come, or go on after a reload.
pub(super) fn ready() {
    tell("READY=1");
}

/// The configuration is being read again.
pub(super) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
}

/// The service ends.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

fn tell(message: &str) {
    let Some(address) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(address.as_bytes(), message) {
        tracing::warn!("systemd could not be told {message}: {error}");
    }
}

fn send(address: &[u8], message: &str) -> io::Result<()> {
    let address = match address {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_at_paths_and_abstract_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("netpager-host-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let abstract_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(path.as_os_str().as_bytes(), "READY=1").unwrap();
        send(format!("@{name}").as_bytes(), "STOPPING=1").unwrap();
        for (socket, expected) in [(by_path, "READY=1"), (abstract_name, "STOPPING=1")] {
            let mut heard = [0; 64];
            let count = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..count], expected.as_bytes());
        }
    }
}
