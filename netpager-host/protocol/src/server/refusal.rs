//! Why a client does not get an export: a kind for its program, and words for its user.

use core::fmt;

use crate::text::Text;
use crate::wire::option_reply;

/// How many bytes of such a refusal are sent; the protocol allows more, but a sentence does not need it.
const REFUSAL_TEXT: usize = 400;

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such export, or none that this client may know of.
    Unknown,
    /// The server's configuration forbids it to this client.
    Policy,
    /// The server is going away.
    Shutdown,
    /// The export is not served without TLS. Said over TLS, it becomes [`RefusalKind::Policy`].
    TlsRequired,
    /// The client must ask for the block sizes.
    BlockSizesRequired,
}

impl RefusalKind {
    /// The kind of option reply.
    pub(super) const fn code(self) -> u32 {
        match self {
            Self::Unknown => option_reply::ERR_UNKNOWN,
            Self::Policy => option_reply::ERR_POLICY,
            Self::Shutdown => option_reply::ERR_SHUTDOWN,
            Self::TlsRequired => option_reply::ERR_TLS_REQD,
            Self::BlockSizesRequired => option_reply::ERR_BLOCK_SIZE_REQD,
        }
    }
}

/// A refusal in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportRefusal {
    kind: RefusalKind,
    text: Text<REFUSAL_TEXT>,
}

impl ExportRefusal {
    /// A refusal that says why, to the user at the other end: `ExportRefusal::new(kind, format_args!("…"))`.
    #[must_use]
    pub fn new(kind: RefusalKind, text: fmt::Arguments<'_>) -> Self {
        Self { kind, text: Text::format(text) }
    }

    /// There is no such export.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new(RefusalKind::Unknown, format_args!("no such export"))
    }

    /// What kind of refusal it is.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// The words, as they are sent.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl fmt::Display for ExportRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}
