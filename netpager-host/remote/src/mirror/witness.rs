//! How a mirror that is opened again notices that a member was emptied meanwhile.
//!
//! When a mirror is closed, a few pages of what it held are written down as fingerprints, in the [`super::StaleLog`]. Whoever
//! does not have them when it is opened again has lost its contents: a memory server that was restarted, say, which would
//! otherwise be believed and copied over the good members. A mirror that was killed has written nothing down; then the first
//! member that answers is believed.

use store::Content;

use super::{Peer, Shared, read};

/// How many pages.
const COUNT: u64 = 32;
const PAGE: u64 = 4096;

/// One page that every complete member must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Where it is.
    pub offset: u64,
    /// The FNV-1a hash of its bytes.
    pub fingerprint: u64,
}

/// FNV-1a, 64 bits: it is kept in a file, so it must be the same in every build, and it guards against loss only.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn length(size: u64, offset: u64) -> usize {
    PAGE.min(size - offset) as usize
}

/// Pages that are not zeroes, from all over the mirror.
pub(super) fn choose(shared: &Shared) -> Vec<Witness> {
    let step = (shared.size / COUNT).max(PAGE);
    let mut witnesses = Vec::new();
    for part in (0..shared.size).step_by(step as usize) {
        // The first data of each part, or none.
        let left = step.min(shared.size - part);
        let Ok(extent) = read::ask(shared, move |store: &Peer| store.extent_at(part, left)) else { continue };
        let offset = if extent.content == Content::Hole { part + extent.length } else { part };
        if offset >= part + left {
            continue;
        }
        let mut page = vec![0; length(shared.size, offset)];
        if read::read_at(shared, offset, &mut page).is_ok() && page.iter().any(|&byte| byte != 0) {
            witnesses.push(Witness { offset, fingerprint: fingerprint(&page) });
        }
    }
    witnesses
}

/// Whether `store` has all of them. An error says nothing either way.
pub(super) fn are_in(witnesses: &[Witness], store: &Peer) -> Option<bool> {
    for witness in witnesses.iter().filter(|witness| witness.offset < store.size()) {
        let mut page = vec![0; length(store.size(), witness.offset)];
        store.read_at(witness.offset, &mut page).ok()?;
        if fingerprint(&page) != witness.fingerprint {
            return Some(false);
        }
    }
    Some(true)
}
