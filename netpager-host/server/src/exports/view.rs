//! The exports as one client's handshake sees them: what it may not know of is not there.
//!
//! The state machine of the handshake asks and cannot wait; the answers may take time. So every question is first noted and
//! put off, then answered by [`View::answer`], and found when the state machine asks again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use nbd::ExportInfo;
use nbd::context;
use nbd::server::{Export, ExportRefusal, Exports, Found, Purpose, RefusalKind};

use super::admission::Visitor;
use super::catalogue::Catalogue;
use super::entry::Seat;

/// The metadata contexts of every export; a context's place here is its index on the wire.
pub(crate) const CONTEXTS: [&str; 2] = [context::ALLOCATION, context::STATE];
/// What clients may know this server by, in the names of metadata contexts. That entering an export ends the older
/// connections of the same client is true, and said, of those that are exclusive.
const CAPABILITIES: [&str; 3] = ["x-netpager:cap-create", "x-netpager:cap-reserve", context::CAPABILITY_FENCE];

/// An export that may be shown.
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) info: ExportInfo,
    pub(super) is_exclusive: bool,
}

/// Why a client does not get an export, in words for it.
pub(crate) struct Refused {
    pub(super) kind: RefusalKind,
    pub(super) text: String,
}

type Question = (String, Purpose);

/// What a client sees.
pub(crate) struct View {
    catalogue: Arc<Catalogue>,
    pub(crate) visitor: Visitor,
    question: Mutex<Option<Question>>,
    answer: Option<(Question, Result<Shown, Refused>)>,
    seat: Option<Seat>,
}

impl View {
    pub(crate) fn new(catalogue: Arc<Catalogue>, visitor: Visitor) -> Self {
        Self { catalogue, visitor, question: Mutex::new(None), answer: None, seat: None }
    }

    /// Answers the question that was put off. May take a while: stores are made, older clients are waited for.
    pub(crate) async fn answer(&mut self) {
        let asked = self.question.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(question) = asked else { return };
        let (name, purpose) = &question;
        let answer = match purpose {
            Purpose::Enter => match self.catalogue.admit(&self.visitor, name).await {
                Ok((shown, seat)) => {
                    self.seat = Some(seat);
                    Ok(shown)
                }
                Err(refused) => Err(refused),
            },
            Purpose::Look => self.catalogue.look(&self.visitor, name),
        };
        if let Err(Refused { text, .. }) = &answer {
            tracing::info!("a client from {}: refused: {text}", self.visitor.peer);
        }
        self.answer = Some((question, answer));
    }

    /// Forgets the last answer: the next time the same is asked, it may be another.
    pub(crate) fn forget(&mut self) {
        self.answer = None;
    }

    /// The seat of the export that was entered.
    pub(crate) fn into_seat(self) -> Option<(Seat, Visitor)> {
        self.seat.map(|seat| (seat, self.visitor))
    }
}

impl Exports for View {
    fn find(&self, name: &str, purpose: Purpose) -> Found<'_> {
        match &self.answer {
            Some(((asked, why), answer)) if asked == name && *why == purpose => match answer {
                Ok(shown) => Found::Export(shown.export()),
                Err(Refused { kind, text }) => Found::Refused(ExportRefusal::new(*kind, format_args!("{text}"))),
            },
            _ => {
                *self.question.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.into(), purpose));
                Found::Wait
            }
        }
    }

    fn list(&self, each: &mut dyn FnMut(&str)) {
        self.catalogue.visible(&self.visitor).iter().for_each(|name| each(name));
    }
}

impl Shown {
    fn export(&self) -> Export<'_> {
        Export {
            id: id(&self.name),
            name: &self.name,
            description: &self.description,
            info: self.info,
            contexts: &CONTEXTS,
            capabilities: if self.is_exclusive { &CAPABILITIES } else { &CAPABILITIES[..2] },
            needs_block_sizes: false,
        }
    }
}

/// The number of an export within one handshake, where an export may be asked about before it is made.
fn id(name: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish() as usize
}
