//! The options of the handshake that need more than a word: INFO and GO, and the metadata contexts.

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use super::exports::{Export, Exports, Found, Purpose};
use super::fields::Fields;
use super::refusal::{ExportRefusal, RefusalKind};
use super::reply::id_of;
use super::sink::Sink;
use crate::context::ContextSet;
use crate::flags::TransmissionFlags;
use crate::framing::Framing;
use crate::wire::{InfoBlockSize, InfoExport, MAGIC_OPTION_REPLY, OptionReplyHeader, info, option, option_reply};

/// Why an option is not done.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "it lives as long as one option, and there is no heap to box it in")]
pub(super) enum NotDone {
    /// The kind of error reply, and a sentence.
    Refused(u32, &'static str),
    /// The export is not to be had.
    Export(ExportRefusal),
    /// The option must be looked at again later.
    Wait,
}

pub(super) const MALFORMED: NotDone = NotDone::Refused(option_reply::ERR_INVALID, "the option's data is malformed");

/// Writes one option reply, its data given in pieces.
pub(super) fn reply(out: &mut impl Sink, option: u32, kind: u32, data: &[&[u8]]) {
    let length: usize = data.iter().map(|piece| piece.len()).sum();
    let header = OptionReplyHeader {
        magic: U64::new(MAGIC_OPTION_REPLY),
        option: U32::new(option),
        kind: U32::new(kind),
        length: U32::new(length as u32),
    };
    out.put(header.as_bytes());
    data.iter().for_each(|piece| out.put(piece));
}

/// What an option has to know of the handshake so far.
#[derive(Clone, Copy)]
pub(super) struct Sight<'s> {
    pub(super) exports: &'s dyn Exports,
    pub(super) framing: Framing,
    pub(super) is_secure: bool,
}

impl<'s> Sight<'s> {
    /// The export with this name. Over TLS, TLS is never what is missing.
    pub(super) fn find(&self, name: &str, purpose: Purpose) -> Result<Export<'s>, NotDone> {
        match self.exports.find(name, purpose) {
            Found::Export(export) => Ok(export),
            Found::Wait => Err(NotDone::Wait),
            Found::Refused(refusal) if self.is_secure && refusal.kind() == RefusalKind::TlsRequired => {
                Err(NotDone::Export(ExportRefusal::new(RefusalKind::Policy, format_args!("{refusal}"))))
            }
            Found::Refused(refusal) => Err(NotDone::Export(refusal)),
        }
    }

    /// An export's flags, without what the framing has no room for.
    pub(super) fn flags(&self, export: &Export<'_>, contexts: ContextSet) -> TransmissionFlags {
        let mut flags = export.info.flags;
        if !self.framing.has_chunks() {
            flags.remove(TransmissionFlags::SEND_DF);
        }
        flags.set(TransmissionFlags::BLOCK_STATUS_PAYLOAD, self.framing == Framing::Extended && !contexts.is_empty());
        flags
    }

    /// Size and flags of an export as this client may see them.
    pub(super) fn info_export(&self, export: &Export<'_>, contexts: ContextSet) -> InfoExport {
        InfoExport { size: U64::new(export.info.size), flags: U16::new(self.flags(export, contexts).bits()) }
    }
}

/// INFO and GO: describes the export that was named. `chosen` are the contexts chosen before, and for which export.
pub(super) fn describe<'s>(option: u32, data: &[u8], sight: Sight<'s>, chosen: Chosen, out: &mut impl Sink) -> Result<Export<'s>, NotDone> {
    let mut fields = Fields(data);
    let name = fields.string().ok_or(MALFORMED)?;
    let count = fields.u16().ok_or(MALFORMED)?;
    if fields.0.len() != usize::from(count) * size_of::<U16>() {
        return Err(MALFORMED);
    }
    // Asking twice for the same thing is no reason to answer twice.
    let (mut named, mut described, mut sized) = (false, false, false);
    while let Some(kind) = fields.u16() {
        match kind {
            info::NAME => named = true,
            info::DESCRIPTION => described = true,
            info::BLOCK_SIZE => sized = true,
            _ => {}
        }
    }
    let export = sight.find(name, if option == option::GO { Purpose::Enter } else { Purpose::Look })?;
    if export.needs_block_sizes && !sized {
        let text = format_args!("ask for the block sizes, and keep to them: the least is {} bytes", export.info.block.minimum);
        return Err(NotDone::Export(ExportRefusal::new(RefusalKind::BlockSizesRequired, text)));
    }
    let mut inform = |kind: u16, body: &[u8]| reply(out, option, option_reply::INFO, &[U16::new(kind).as_bytes(), body]);
    inform(info::EXPORT, sight.info_export(&export, chosen.of(&export)).as_bytes());
    if named {
        inform(info::NAME, export.name.as_bytes());
    }
    if described {
        inform(info::DESCRIPTION, export.description.as_bytes());
    }
    if sized {
        inform(info::BLOCK_SIZE, block_size(&export).as_bytes());
    }
    Ok(export)
}

fn block_size(export: &Export<'_>) -> InfoBlockSize {
    let block = export.info.block;
    InfoBlockSize { minimum: U32::new(block.minimum), preferred: U32::new(block.preferred), maximum: U32::new(block.maximum) }
}

/// The contexts a client chose, and the export it chose them for: they mean nothing for another one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chosen(Option<(usize, ContextSet)>);

impl Chosen {
    pub(super) const NOTHING: Self = Self(None);

    /// What was chosen for this export.
    pub(super) fn of(self, export: &Export<'_>) -> ContextSet {
        self.0.filter(|chosen| chosen.0 == export.id).map(|chosen| chosen.1).unwrap_or_default()
    }
}

/// LIST_META_CONTEXT and SET_META_CONTEXT: tells the contexts that are asked for, and returns them.
pub(super) fn contexts(option: u32, data: &[u8], sight: Sight<'_>, out: &mut impl Sink) -> Result<Chosen, NotDone> {
    let setting = option == option::SET_META_CONTEXT;
    let mut fields = Fields(data);
    let name = fields.string().ok_or(MALFORMED)?;
    let count = fields.u32().ok_or(MALFORMED)?;
    let queries = fields;
    for _ in 0..count {
        fields.string().ok_or(MALFORMED)?;
    }
    if !fields.is_empty() {
        return Err(MALFORMED);
    }
    let export = sight.find(name, Purpose::Look)?;
    let mut tell = |id: u32, name: &str| {
        reply(out, option, option_reply::META_CONTEXT, &[U32::new(id).as_bytes(), name.as_bytes()]);
    };
    let mut chosen = ContextSet::EMPTY;
    for (index, context) in export.contexts.iter().take(ContextSet::CAPACITY).enumerate() {
        if is_wanted(context, count, queries, setting) {
            chosen = chosen.with(index);
            // The numbers of contexts that are merely listed are of no use, and so they are zero.
            tell(if setting { id_of(index) } else { 0 }, context);
        }
    }
    if !setting {
        export.capabilities.iter().filter(|name| is_wanted(name, count, queries, setting)).for_each(|name| tell(0, name));
    }
    Ok(Chosen((!chosen.is_empty()).then_some((export.id, chosen))))
}

/// Whether one of the queries asks for this context. Listing without any query means everything; choosing without any means nothing.
/// A namespace alone asks for all that is in it, but only to be listed.
fn is_wanted(context: &str, count: u32, mut queries: Fields<'_>, setting: bool) -> bool {
    let matches = |query: &str| query == context || (!setting && query.ends_with(':') && context.starts_with(query));
    (count == 0 && !setting) || (0..count).any(|_| queries.string().is_some_and(matches))
}
