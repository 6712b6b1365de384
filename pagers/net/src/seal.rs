//! Sealed pages: what the server keeps is ciphertext, and what it gives back is the very page that it was given last, or an error.
//!
//! Each page is sealed by itself with ChaCha20-Poly1305 under a key that exists only in this task and only for this boot. The nonce is the number of the
//! write: it counts up and is never used twice. The object, the page and that number are authenticated with the bytes. Number and tag, the
//! [`Stamp`], stay here, 24 bytes for each page, so the server can neither change a page nor give one for another, nor bring an older one back: any
//! of these is a page that doesn't open, and a page that doesn't open is a memory error for whoever wants it, never zeroes.
//!
//! What the server still sees: which places are written and read, when, and (unless `seal=full`) which pages are all zero.

use core::fmt;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use pager::ObjectId;

/// How pages are sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealing {
    /// They aren't.
    #[default]
    Off,
    /// All that are written; pages that are all zero needn't be, and the server knows which those are.
    On,
    /// All, zeroes too.
    Full,
}

/// A key, which is never printed.
#[derive(Clone)]
pub struct SealKey(pub [u8; 32]);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

/// What has to be remembered of a sealed page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the write; 0 if it was never sealed.
    write: u64,
    tag: [u8; 16],
}

/// The page isn't the one that was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Seals and opens pages.
pub struct Seal {
    cipher: ChaCha20Poly1305,
    writes: u64,
    /// Zero pages are sealed like others.
    pub(crate) is_full: bool,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({} pages sealed)", self.writes)
    }
}

impl Seal {
    /// With a key that nobody else has and that was never used before.
    #[must_use]
    pub fn new(key: &SealKey, is_full: bool) -> Self {
        Self { cipher: ChaCha20Poly1305::new(&Key::from(key.0)), writes: 0, is_full }
    }

    /// Turns a page into ciphertext.
    pub fn seal(&mut self, object: ObjectId, page: u64, bytes: &mut [u8]) -> Stamp {
        // At a page each nanosecond it would take centuries to come round.
        self.writes += 1;
        let write = self.writes;
        let sealed = self.cipher.encrypt_inout_detached(&nonce(write), &associated(object, page, write), bytes.into());
        // It fails for 256 GiB at once, and not for a page.
        sealed.map_or_else(|_| Stamp::default(), |tag| Stamp { write, tag: tag.into() })
    }

    /// Turns it back. If it is broken, the bytes are worthless.
    pub fn open(&self, object: ObjectId, page: u64, stamp: &Stamp, bytes: &mut [u8]) -> Result<(), Broken> {
        if stamp.write == 0 {
            return Err(Broken);
        }
        let (nonce, associated) = (nonce(stamp.write), associated(object, page, stamp.write));
        self.cipher.decrypt_inout_detached(&nonce, &associated, bytes.into(), &Tag::from(stamp.tag)).map_err(|_| Broken)
    }
}

fn nonce(write: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&write.to_le_bytes());
    nonce.into()
}

fn associated(object: ObjectId, page: u64, write: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&u64::from(object.0).to_le_bytes());
    bytes[8..16].copy_from_slice(&page.to_le_bytes());
    bytes[16..].copy_from_slice(&write.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use pager::ObjectId;
    use proptest::prelude::*;

    use super::{Broken, Seal, SealKey, Stamp};

    #[test]
    fn only_the_last_seal_of_the_same_page_opens() {
        let mut seal = Seal::new(&SealKey([5; 32]), false);
        let plain = [7; 4096];
        let (object, page) = (ObjectId(3), 9);
        let (mut first, mut second) = (plain, plain);
        let old = seal.seal(object, page, &mut first);
        let new = seal.seal(object, page, &mut second);
        assert!(first != plain && second != first, "the same page is never sealed alike");
        let open = |object, page, stamp: &Stamp, bytes: &[u8; 4096]| {
            let mut bytes = *bytes;
            seal.open(object, page, stamp, &mut bytes).map(|()| bytes == plain)
        };
        assert_eq!(open(object, page, &new, &second), Ok(true));
        assert_eq!(open(object, page, &new, &first), Err(Broken), "an older one");
        assert_eq!(open(object, page + 1, &new, &second), Err(Broken), "another page's");
        assert_eq!(open(ObjectId(4), page, &new, &second), Err(Broken), "another object's");
        assert_eq!(open(object, page, &Stamp::default(), &[0; 4096]), Err(Broken), "never sealed");
        assert_eq!(open(object, page, &old, &first), Ok(true));
        assert_eq!(size_of::<Stamp>(), 24);
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_noticed(bit in 0..4096 * 8_usize, fill: u8) {
            let mut seal = Seal::new(&SealKey([1; 32]), false);
            let mut bytes = [fill; 4096];
            let stamp = seal.seal(ObjectId(1), 1, &mut bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(seal.open(ObjectId(1), 1, &stamp, &mut bytes), Err(Broken));
        }
    }
}
