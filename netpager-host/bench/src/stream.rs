//! A socket, TCP or Unix, used so that neither side can wait for the other for ever.
//!
//! Sending never blocks: a server that does not read until we read (both buffers full) would otherwise hang us and itself.
//! Receiving blocks, because a depth-1 round trip then costs one system call less than with poll(2); a timeout bounds it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nbd::uri::Transport;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, send};

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over IP, without Nagle's delay.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

impl Stream {
    /// Connects; a server that is silent for longer than `patience` afterwards is an error.
    pub(crate) fn connect(transport: &Transport, patience: Duration) -> io::Result<Self> {
        let stream = match transport {
            Transport::Tcp { host, port } => Self::Tcp(TcpStream::connect((host.as_str(), *port))?),
            Transport::Unix { socket } => Self::Unix(connect_unix(socket)?),
        };
        match &stream {
            Self::Tcp(tcp) => tcp.set_nodelay(true).and_then(|()| tcp.set_read_timeout(Some(patience)))?,
            Self::Unix(unix) => unix.set_read_timeout(Some(patience))?,
        }
        Ok(stream)
    }

    /// Waits until there is input or room for output; true if there is input, or an error to be read.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self, PollFlags::IN | PollFlags::OUT)];
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) => Ok(!fds[0].revents().difference(PollFlags::OUT).is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// An abstract name begins with a NUL and is in no file system.
#[cfg(target_os = "linux")]
fn connect_unix(socket: &str) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;
    match socket.strip_prefix('\0') {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        None => UnixStream::connect(socket),
    }
}

#[cfg(not(target_os = "linux"))]
fn connect_unix(socket: &str) -> io::Result<UnixStream> {
    UnixStream::connect(socket)
}

/// Sends what the socket takes at once; `WouldBlock` if that is nothing.
impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match send(self.as_fd(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            result => Ok(result?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for input.
impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Self::Tcp(tcp) => tcp.read(buffer),
                Self::Unix(unix) => unix.read(buffer),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}
