//! What is wrong with an address.

use alloc::string::String;

use thiserror::Error;

use crate::limits::STRING_MAX;

/// Why a text is no address of an export.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UriError {
    /// Not even the beginning of a URI.
    #[error("expected an address such as nbd://localhost/export or nbd+unix:///export?socket=/path")]
    NoScheme,
    /// A URI of something else.
    #[error("`{0}` is no scheme of NBD; expected nbd, nbds, nbd+unix or nbds+unix")]
    Scheme(String),
    /// A transport that exists, but not here.
    #[error("`{0}`: VM sockets are not supported; use TCP or a Unix socket")]
    Vsock(String),
    /// Something that is no part of such an address.
    #[error("`#` has no meaning in the address of an export; write %23 if it is part of a name")]
    Fragment,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("`{0}`: a `%` must be followed by two hexadecimal digits")]
    Percent(String),
    /// Bytes that are no text.
    #[error("`{0}` is no text in UTF-8 once it is decoded")]
    NotText(String),
    /// A NUL, where none can be.
    #[error("a NUL (%00) cannot be part of {0}")]
    Nul(&'static str),
    /// A character that must be percent-encoded.
    #[error("the character {0:?} must be percent-encoded")]
    Character(char),
    /// No host, or none that can be.
    #[error("`{0}` is no host")]
    Host(String),
    /// No port.
    #[error("`{0}` is no port; expected a number from 0 to 65535")]
    Port(String),
    /// A user and a password.
    #[error("an address holds no password: name a file of keys with tls-psk-file=")]
    Password,
    /// A host where a socket is named.
    #[error("a Unix socket has no host: write nbd+unix:///export?socket=…")]
    HostOfSocket,
    /// A Unix socket without a name.
    #[error("the address of a Unix socket needs socket=PATH")]
    NoSocket,
    /// A Unix socket for TCP.
    #[error("socket= belongs to nbd+unix and nbds+unix only")]
    SocketOfTcp,
    /// A name that the protocol has no room for.
    #[error("the export's name is longer than {STRING_MAX} bytes")]
    ExportTooLong,
    /// Nothing that is known.
    #[error(
        "`{0}` is no parameter; expected socket, tls-certificates, tls-psk-file, tls-username, tls-hostname, tls-verify-peer or tls-type"
    )]
    Parameter(String),
    /// Said twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A value that the parameter does not have.
    #[error("`{value}` is no value of {parameter}; expected {expected}")]
    Value {
        /// The parameter.
        parameter: &'static str,
        /// What was said.
        value: String,
        /// What could be said.
        expected: &'static str,
    },
    /// TLS, where there is none.
    #[error("`{0}` means nothing without TLS: use nbds or nbds+unix")]
    TlsWithoutTls(String),
}
