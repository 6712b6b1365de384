//! Why a connection must be given up, from the server's side.

use thiserror::Error;

use super::refusal::RefusalKind;

/// What a client did that leaves no way to go on. Everything less is answered with an error instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ServerError {
    /// Client flags we never offered.
    #[error("the client set unknown handshake flags ({0:#x})")]
    ClientFlags(u32),
    /// Not the start of an option.
    #[error("an option with magic {0:#x}")]
    OptionMagic(u64),
    /// More data than [`crate::limits::OPTION_DATA_MAX`].
    #[error("an option with {0} bytes of data")]
    OptionLength(u32),
    /// More options than [`crate::limits::OPTIONS_MAX`].
    #[error("the client keeps sending options and chooses no export")]
    TooManyOptions,
    /// A client without FIXED_NEWSTYLE may only send EXPORT_NAME, because it could not understand a refusal.
    #[error("option {0} from a client without the fixed newstyle handshake")]
    NotFixedNewstyle(u32),
    /// EXPORT_NAME cannot be refused, only hung up on.
    #[error("EXPORT_NAME for an export that is refused ({0:?})")]
    ExportName(RefusalKind),
    /// EXPORT_NAME with a name that is none.
    #[error("EXPORT_NAME with a name that is too long or no text")]
    ExportNameMalformed,
    /// EXPORT_NAME where TLS is required first; it cannot be refused.
    #[error("EXPORT_NAME without TLS, which is required")]
    ExportNameWithoutTls,
    /// EXPORT_NAME after extended headers were agreed upon, which is forbidden and cannot be refused.
    #[error("EXPORT_NAME from a client that asked for extended headers")]
    ExportNameAfterExtended,
    /// Somebody wrote plaintext where the TLS handshake belongs: the client, or an attacker in between (CVE-2021-3716).
    #[error("plaintext where the TLS handshake must begin")]
    PlaintextAfterStartTls,
    /// Not the start of a request.
    #[error("a request with magic {0:#x}")]
    RequestMagic(u32),
    /// A payload longer than [`crate::limits::PAYLOAD_MAX`].
    #[error("a request with a payload of {0} bytes")]
    PayloadLength(u64),
}
