//! What the handshake needs to know about the exports a server has.

use super::refusal::ExportRefusal;
use crate::export::ExportInfo;

/// One export, as the handshake presents it.
#[derive(Clone, Copy, Debug)]
pub struct Export<'e> {
    /// How the server finds it again; unique among its exports.
    pub id: usize,
    /// Its name, which may differ from the one asked for (the empty name stands for a default).
    pub name: &'e str,
    /// A sentence for people.
    pub description: &'e str,
    /// Size and abilities. The handshake itself takes out what a client's framing has no room for, and puts in
    /// `BLOCK_STATUS_PAYLOAD`.
    pub info: ExportInfo,
    /// The metadata contexts it can be asked about, at most [`crate::ContextSet::CAPACITY`]. A context's place here is its index in
    /// [`super::Negotiated::contexts`] and in every request, so the list of one export must not change while it is in use.
    pub contexts: &'e [&'e str],
    /// Names that are listed like contexts but cannot be chosen: what the server can do beyond the protocol.
    pub capabilities: &'e [&'e str],
    /// Whether it is refused to clients that do not ask for its block sizes, because they could not know how to use it.
    pub needs_block_sizes: bool,
}

/// What an export is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be described, or to choose contexts for it. Nothing should come of that: an export that would be made on demand can be
    /// described as it would be, under the id that it would have.
    Look,
    /// To be used from now on: the time to make it, and to end the connections that this one replaces.
    Enter,
}

/// What became of a name.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "looked at once per handshake, and there is no heap to box it in")]
pub enum Found<'e> {
    /// The export.
    Export(Export<'e>),
    /// This client may not have it, or it is not there.
    Refused(ExportRefusal),
    /// That takes time: a store must be opened, or older clients be sent away first. The handshake stops with
    /// [`super::Outcome::Wait`], and asks again when it goes on.
    Wait,
}

/// The exports of a server, as one client may see them.
pub trait Exports {
    /// The export with this name. May be asked several times in one handshake.
    fn find(&self, name: &str, purpose: Purpose) -> Found<'_>;
    /// Calls `each` with every name that may be shown.
    fn list(&self, each: &mut dyn FnMut(&str));
}
