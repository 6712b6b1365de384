//! Reads all that a store keeps, to find what is damaged: for `check` in a running service, and for `verify` without one.

use store::{Content, Store};

/// How much is read at a time.
const PIECE_BYTES: u64 = 256 * 1024;

/// Whoever wants to know how far it is.
pub(crate) trait Watch {
    /// Everything before `at` was read. Says whether to go on.
    fn done(&mut self, at: u64) -> bool;
    /// Something is damaged.
    fn fault(&mut self, text: String);
}

/// Reads what is kept, piece by piece; holes are skipped. Stores that have checksums notice damage when they read. Says
/// whether it came to the end.
pub(crate) fn read_all(store: &dyn Store, watch: &mut impl Watch) -> bool {
    let mut buffer = vec![0; PIECE_BYTES as usize];
    let (mut at, end) = (0, store.size());
    while at < end {
        at += match read_piece(store, at, end, &mut buffer) {
            Ok(length) => length,
            Err(text) => {
                watch.fault(format!("at {at}: {text}"));
                // The rest of the piece may be good, but whoever repairs the export looks at more than one page anyway.
                PIECE_BYTES.min(end - at)
            }
        };
        if !watch.done(at) {
            return false;
        }
    }
    true
}

fn read_piece(store: &dyn Store, at: u64, end: u64, buffer: &mut [u8]) -> Result<u64, String> {
    let extent = store.extent_at(at, end - at).map_err(|error| error.to_string())?;
    if extent.content == Content::Hole {
        return Ok(extent.length.min(end - at));
    }
    let length = extent.length.min(buffer.len() as u64).min(end - at);
    store.read_at(at, &mut buffer[..length as usize]).map_err(|error| error.to_string())?;
    Ok(length)
}
