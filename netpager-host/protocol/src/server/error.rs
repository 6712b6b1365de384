//! Why a connection must be given up, from the server's side.

use thiserror::Error;

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
    #[error("EXPORT_NAME with the name of no export")]
    UnknownExport,
    /// Not the start of a request.
    #[error("a request with magic {0:#x}")]
    RequestMagic(u32),
}
