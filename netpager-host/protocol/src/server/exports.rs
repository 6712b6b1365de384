//! What the handshake needs to know about the exports a server has.

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
    /// Size and abilities. The handshake takes `SEND_DF` out for clients without structured replies.
    pub info: ExportInfo,
}

/// The exports of a server.
pub trait Exports {
    /// The export with this name.
    fn find(&self, name: &str) -> Option<Export<'_>>;
    /// Calls `each` with every name that may be shown.
    fn list(&self, each: &mut dyn FnMut(&str));
}
