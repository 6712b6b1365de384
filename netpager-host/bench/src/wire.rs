//! What a connection's bytes go through: the bare socket, or TLS on it, with the same manners.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use security::TlsStream;

use crate::error::BenchError;
use crate::stream::Stream;
use crate::target::Target;

/// A way to the server.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

impl Wire {
    /// Starts TLS.
    pub(crate) fn secure(self, target: &Target) -> Result<Self, BenchError> {
        let Self::Plain(stream) = self else { return Ok(self) };
        let mut tls = target.secure(stream)?;
        // What is queued is bounded by the requests in flight, as it is without TLS.
        tls.conn.set_buffer_limit(None);
        Ok(Self::Tls(Box::new(tls)))
    }

    /// Takes the front of `output`, from `sent` on, as far as it can be sent now; true when nothing is left anywhere.
    pub(crate) fn push(&mut self, output: &mut Vec<u8>, sent: &mut usize) -> io::Result<bool> {
        let blocked = |error: io::Error| if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) };
        match self {
            Self::Plain(stream) => {
                while *sent < output.len() {
                    match stream.write(&output[*sent..]) {
                        Ok(count) => *sent += count,
                        Err(error) => return blocked(error),
                    }
                }
                output.clear();
                *sent = 0;
            }
            Self::Tls(tls) => {
                tls.conn.writer().write_all(&output[*sent..])?;
                output.clear();
                *sent = 0;
                while tls.conn.wants_write() {
                    if let Err(error) = tls.conn.write_tls(&mut tls.sock) {
                        return blocked(error);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Waits for input. An end of the stream is an error.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self {
            Self::Plain(stream) => stream.read(buffer)?,
            Self::Tls(tls) => loop {
                match tls.conn.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => break result?,
                }
                // Nothing decrypted is left, so the socket has to be asked.
                if tls.conn.read_tls(&mut tls.sock)? == 0 {
                    break 0;
                }
                tls.conn.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            },
        };
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        Ok(count)
    }

    /// Waits until there is input or room for output; true if there is input.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<bool> {
        match self {
            Self::Plain(stream) => stream.wait(patience),
            Self::Tls(tls) => tls.sock.wait(patience),
        }
    }
}
