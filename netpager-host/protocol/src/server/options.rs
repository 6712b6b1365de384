//! The options of the handshake that need more than a word: INFO and GO, and the metadata contexts.

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use super::exports::{Export, Exports};
use super::fields::Fields;
use super::sink::Sink;
use crate::flags::TransmissionFlags;
use crate::wire::{InfoBlockSize, InfoExport, MAGIC_OPTION_REPLY, OptionReplyHeader, info, option, option_reply};

/// The one metadata context served.
pub(super) const BASE_ALLOCATION: &str = "base:allocation";
/// Its number on every connection that chose it.
pub const ALLOCATION_CONTEXT: u32 = 1;

/// A refusal: the kind of error reply, and a sentence.
pub(super) type Refused = (u32, &'static str);

pub(super) const MALFORMED: Refused = (option_reply::ERR_INVALID, "the option's data is malformed");
pub(super) const UNKNOWN_EXPORT: Refused = (option_reply::ERR_UNKNOWN, "no such export");

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

/// Size and flags of an export as this client may see them.
pub(super) fn info_export(export: &Export<'_>, structured: bool) -> InfoExport {
    InfoExport { size: U64::new(export.info.size), flags: U16::new(visible_flags(export, structured).bits()) }
}

/// An export's flags, without what needs structured replies if there are none.
pub(super) fn visible_flags(export: &Export<'_>, structured: bool) -> TransmissionFlags {
    let hidden = if structured { TransmissionFlags::empty() } else { TransmissionFlags::SEND_DF };
    export.info.flags - hidden
}

/// INFO and GO: describes the export that was named.
pub(super) fn describe<'e>(
    option: u32,
    data: &[u8],
    structured: bool,
    exports: &'e impl Exports,
    out: &mut impl Sink,
) -> Result<Export<'e>, Refused> {
    let mut fields = Fields(data);
    let name = fields.string().ok_or(MALFORMED)?;
    let count = fields.u16().ok_or(MALFORMED)?;
    if fields.0.len() != usize::from(count) * size_of::<U16>() {
        return Err(MALFORMED);
    }
    let export = exports.find(name).ok_or(UNKNOWN_EXPORT)?;
    let mut inform = |kind: u16, body: &[u8]| reply(out, option, option_reply::INFO, &[U16::new(kind).as_bytes(), body]);
    inform(info::EXPORT, info_export(&export, structured).as_bytes());
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

/// LIST_META_CONTEXT and SET_META_CONTEXT: which export, and whether `base:allocation` was chosen for it.
pub(super) fn contexts(option: u32, data: &[u8], exports: &impl Exports, out: &mut impl Sink) -> Result<(usize, bool), Refused> {
    let setting = option == option::SET_META_CONTEXT;
    let mut fields = Fields(data);
    let name = fields.string().ok_or(MALFORMED)?;
    let count = fields.u32().ok_or(MALFORMED)?;
    // Listing with no query means everything; setting with none clears the choice.
    let mut chosen = !setting && count == 0;
    for _ in 0..count {
        let query = fields.string().ok_or(MALFORMED)?;
        chosen |= query == BASE_ALLOCATION || (!setting && query == "base:");
    }
    if !fields.is_empty() {
        return Err(MALFORMED);
    }
    let export = exports.find(name).ok_or(UNKNOWN_EXPORT)?;
    if chosen {
        let number = U32::new(if setting { ALLOCATION_CONTEXT } else { 0 });
        reply(out, option, option_reply::META_CONTEXT, &[number.as_bytes(), BASE_ALLOCATION.as_bytes()]);
    }
    Ok((export.id, chosen))
}
