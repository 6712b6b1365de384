//! Where a connection stands with TLS.

/// What the server does about TLS on one connection. It stays the same for the whole connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// There is none; or the bytes come through TLS from the first one on, which the handshake need not know.
    None,
    /// A client may start it. Exports that need it are refused with [`super::RefusalKind::TlsRequired`] before that.
    Offered,
    /// A client must start it before anything else.
    Required,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsState {
    Plain(TlsMode),
    /// STARTTLS was acknowledged; nothing may be read until TLS runs.
    Starting,
    Running,
}

impl TlsState {
    pub(super) const fn is_running(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether nothing but STARTTLS and ABORT is to be answered.
    pub(super) const fn is_missing(self) -> bool {
        matches!(self, Self::Plain(TlsMode::Required))
    }
}
