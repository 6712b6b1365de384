//! From an address to a connection that takes requests.

use std::io;

use nbd::client::{Client, ClientError, Event, RequestTable, Session, TlsWish, Wishes};
use nbd::uri::Transport;
use nbd::{Framing, context};
use rustix::net::sockopt;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::config::{BoxStream, NbdConfig};

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Nbd(#[from] ClientError),
    #[error("the server closed the connection during the handshake")]
    Closed,
    #[error("no connection within {0:?}")]
    Timeout(std::time::Duration),
    #[error("the export's name is too long")]
    Name,
    #[error("the address asks for TLS, but no certificates were given (tls-certificates=DIR)")]
    NoCertificates,
    #[error("the server sent bytes that nobody asked for")]
    Unsolicited,
}

/// A connection after its handshake.
pub(super) struct Link {
    pub(super) stream: BoxStream,
    pub(super) client: Client,
}

const CONTEXTS: &[&str] = &[context::ALLOCATION];
/// See [`is_fenced`].
const CAPABILITIES: &[&str] = &[context::CAPABILITY_FENCE];

/// Whether the server has ended all older connections of ours, with everything that was asked on them.
pub(super) fn is_fenced(session: &Session) -> bool {
    session.capabilities.contains(0)
}

/// Connects and shakes hands.
pub(super) async fn dial(config: &NbdConfig) -> Result<Link, DialError> {
    timeout(config.connect, connect(config)).await.map_err(|_| DialError::Timeout(config.connect))?
}

async fn connect(config: &NbdConfig) -> Result<Link, DialError> {
    let tls = if config.uri.is_secure { TlsWish::Require } else { TlsWish::Never };
    if config.uri.is_secure && config.tls.is_none() {
        return Err(DialError::NoCertificates);
    }
    let wishes = Wishes { tls, framing: Framing::Extended, contexts: CONTEXTS, capabilities: CAPABILITIES };
    let mut client = Client::with(&config.uri.export, &wishes).ok_or(DialError::Name)?;
    let mut stream: BoxStream = match &config.uri.transport {
        Transport::Tcp { host, port } => Box::new(tcp(host, *port).await?),
        Transport::Unix { socket } => Box::new(UnixStream::connect(socket).await?),
    };
    let mut nothing = RequestTable::<(), 1>::new();
    let mut buffer = vec![0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(DialError::Closed);
        }
        let mut input = &buffer[..count];
        loop {
            let received = client.receive(input, &mut nothing);
            // A refused client still has a polite ABORT to send.
            let waiting = client.transmit().to_vec();
            if !waiting.is_empty() {
                stream.write_all(&waiting).await?;
                client.transmitted(waiting.len());
            }
            let (used, event) = received?;
            input = &input[used..];
            match event {
                None => break,
                Some(Event::Ready(_)) if input.is_empty() => return Ok(Link { stream, client }),
                Some(Event::StartTls) if input.is_empty() => {
                    let tls = config.tls.as_ref().ok_or(DialError::NoCertificates)?;
                    stream = tls.secure(stream, server_name(config)).await?;
                    client.secured();
                    let waiting = client.transmit().to_vec();
                    stream.write_all(&waiting).await?;
                    stream.flush().await?;
                    client.transmitted(waiting.len());
                }
                Some(_) => return Err(DialError::Unsolicited),
            }
        }
    }
}

/// The name the server's certificate must have.
fn server_name(config: &NbdConfig) -> &str {
    match (&config.uri.tls.hostname, &config.uri.transport) {
        (Some(name), _) => name,
        (None, Transport::Tcp { host, .. }) => host,
        (None, Transport::Unix { .. }) => "localhost",
    }
}

/// A TCP connection that sends small requests at once and notices a peer that is gone.
async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, std::time::Duration::from_secs(10))?;
    sockopt::set_tcp_keepintvl(&stream, std::time::Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    sockopt::set_tcp_user_timeout(&stream, 25_000)?;
    Ok(stream)
}
