//! The other end of a connection as the rest of the service holds it: who it is, and the cord to pull.

use std::fmt;
use std::sync::Arc;

use security::{Grant, Identity};
use tokio::sync::watch;

/// Why a connection is ended by somebody else than its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A newer connection took over its exclusive export.
    Fenced,
    /// The rules or certificates no longer let it in.
    Revoked,
    /// An operator said so.
    Disconnected,
    /// Its export is removed.
    Removed,
    /// The service ends: it may finish, and say goodbye.
    Ending,
}

impl fmt::Display for Cut {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Fenced => "a newer connection of the same client took over",
            Self::Revoked => "it is no longer allowed here",
            Self::Disconnected => "an operator disconnected it",
            Self::Removed => "its export is removed",
            Self::Ending => "the service is ending",
        })
    }
}

/// A client that was let in.
pub(crate) struct Link {
    pub(crate) identity: Identity,
    /// The identity in a word.
    pub(crate) label: String,
    pub(crate) grant: Grant,
    pub(crate) is_exclusive: bool,
    cut: watch::Sender<Option<Cut>>,
}

impl Link {
    /// A client, and its connection's end of the cord.
    pub(crate) fn new(identity: Identity, grant: Grant, is_exclusive: bool) -> (Arc<Self>, watch::Receiver<Option<Cut>>) {
        let (cut, cord) = watch::channel(None);
        let label = identity.label();
        (Arc::new(Self { identity, label, grant, is_exclusive, cut }), cord)
    }

    /// Has the connection end: what it has begun is finished, and nothing more is begun. The first reason counts, but for an
    /// ending, which leaves time.
    pub(crate) fn pull(&self, why: Cut) {
        self.cut.send_if_modified(|reason| {
            let counts = matches!(reason, None | Some(Cut::Ending)) && *reason != Some(why);
            if counts {
                *reason = Some(why);
            }
            counts
        });
    }
}
