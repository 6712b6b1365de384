//! A connected client, by whatever road it came.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use security::{Identity, Origin, TlsMode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A quiet client is asked whether it is still there after this long, and given up after three times as long without an
/// answer; so is one that acknowledges nothing.
const KEEPALIVE: Duration = Duration::from_secs(8);

/// What a connection needs of a socket.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection, whatever it is made of.
pub(crate) type Wire = Box<dyn Stream>;

/// A socket between two runtimes.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A client that has just come.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: Socket,
    pub(crate) origin: Origin,
    /// Where it came from, for logs.
    pub(crate) peer: String,
    pub(crate) tls: TlsMode,
}

impl Arrival {
    /// Takes over a TCP connection. Small replies must not wait for acknowledgements, and a dead client must be noticed.
    pub(crate) fn tcp(stream: TcpStream, peer: std::net::SocketAddr, tls: TlsMode) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE)?;
        sockopt::set_tcp_keepcnt(&stream, 2)?;
        sockopt::set_tcp_user_timeout(&stream, 3 * KEEPALIVE.as_millis() as u32)?;
        let (origin, peer) = (Origin::of_address(peer.ip()), peer.to_string());
        Ok(Self { socket: Socket::Tcp(stream.into_std()?), origin, peer, tls })
    }

    /// Takes over a Unix connection. The kernel says who is at the other end.
    pub(crate) fn unix(stream: UnixStream, tls: TlsMode) -> io::Result<Self> {
        let user = stream.peer_cred()?;
        let origin = Origin::Unix { uid: user.uid(), gid: user.gid() };
        let peer = user.pid().map_or_else(|| "unix".into(), |process| format!("unix, process {process}"));
        Ok(Self { socket: Socket::Unix(stream.into_std()?), origin, peer, tls })
    }

    /// Who this is, as far as the kernel knows.
    pub(crate) fn identity(&self) -> Identity {
        Identity::of_origin(self.origin)
    }
}

impl Socket {
    /// Registers the socket with the runtime of this thread.
    pub(crate) fn attach(self) -> io::Result<Wire> {
        Ok(match self {
            Self::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Box::new(UnixStream::from_std(stream)?),
        })
    }

    /// What it is, in a word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "TCP",
            Self::Unix(_) => "Unix socket",
        }
    }
}
