//! What a client asks of a server beyond the export itself.

use super::handshake::CONTEXT_NAME_MAX;
use crate::context::ContextSet;
use crate::framing::Framing;
use crate::limits::{CLIENT_CONTEXT_NAMES_MAX, CLIENT_CONTEXTS_MAX};

/// Whether TLS is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsWish {
    /// No; or the bytes go through TLS from the first one on, which the client need not know.
    Never,
    /// If the server has it. Whoever can write on the wire can prevent it.
    Prefer,
    /// Yes, or the connection is given up.
    Require,
}

/// What to ask for. The server may refuse everything but TLS that is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Whether TLS is started.
    pub tls: TlsWish,
    /// The best framing to ask for; a server that does not know it is asked for the next one.
    pub framing: Framing,
    /// Metadata contexts to be asked about with BLOCK_STATUS. A context's place here is its index everywhere else. At most
    /// [`CLIENT_CONTEXTS_MAX`] of them.
    pub contexts: &'static [&'static str],
    /// What is good to know of the server's abilities beyond the protocol, such as [`crate::context::CAPABILITY_FENCE`]; as many.
    pub capabilities: &'static [&'static str],
}

impl Wishes {
    /// The best framing, and neither TLS nor contexts nor questions.
    pub const DEFAULT: Self = Self { tls: TlsWish::Never, framing: Framing::Extended, contexts: &[], capabilities: &[] };

    /// Whether they fit the handshake's memory.
    pub(super) fn fit(&self) -> bool {
        [self.contexts, self.capabilities].iter().all(|list| {
            let names: usize = list.iter().map(|name| name.len()).sum();
            let is_short = |name: &&str| name.len() <= CONTEXT_NAME_MAX;
            list.len() <= CLIENT_CONTEXTS_MAX && list.iter().all(is_short) && names <= CLIENT_CONTEXT_NAMES_MAX
        })
    }
}

impl Default for Wishes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The contexts a server granted: for each of the wishes, the number it has on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contexts {
    ids: [u32; CLIENT_CONTEXTS_MAX],
    granted: ContextSet,
}

impl Contexts {
    /// Which of [`Wishes::contexts`] they are.
    #[must_use]
    pub(super) const fn granted(&self) -> ContextSet {
        self.granted
    }

    /// Notes that a wish was granted under a number. False if it makes no sense: a number or a wish that was granted before, or that
    /// cannot be.
    pub(super) fn grant(&mut self, index: usize, id: u32) -> bool {
        let is_new = !self.granted.contains(index) && self.index_of(id).is_none();
        match self.ids.get_mut(index) {
            Some(place) if is_new => {
                *place = id;
                self.granted = self.granted.with(index);
                true
            }
            _ => false,
        }
    }

    /// The wish that was granted under this number.
    pub(super) fn index_of(&self, id: u32) -> Option<usize> {
        self.granted.iter().find(|&index| self.ids.get(index) == Some(&id))
    }

    /// The numbers of some of the granted contexts.
    pub(super) fn ids(&self, contexts: ContextSet) -> impl Iterator<Item = u32> + Clone {
        let ids = self.ids;
        let chosen = self.granted.without(self.granted.without(contexts));
        (0..CLIENT_CONTEXTS_MAX).filter(move |&index| chosen.contains(index)).map(move |index| ids[index])
    }
}
