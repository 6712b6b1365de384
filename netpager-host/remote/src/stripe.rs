//! Several stores one after the other, in stripes: more space and more speed than one of them has.
//!
//! Byte `n` is in stripe `n / stripe`, which lies in member `stripe number % members`. A call that touches several members
//! is split and its parts run side by side. There is no redundancy: a member that fails fails every call that touches it,
//! and no other. A stripe of mirrors has both.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::channel;

use store::{Content, Extent, Space, StateExtent, Store, StoreError, Usage};

use crate::lane::{Finished, Lane};
use crate::range::{check, pieces};

/// A member, as its lane's threads see it.
type Whole = dyn Store;

/// See the module's documentation.
pub struct Stripe {
    members: Vec<(Arc<dyn Store>, Lane)>,
    stripe: u64,
    size: u64,
}

/// A part of a call: which member, where in it, and where in the caller's range.
struct Part {
    member: usize,
    offset: u64,
    within: Range<usize>,
}

impl Stripe {
    /// Puts `members` of equal size together in stripes of `stripe` bytes. What does not fill a stripe at the end of the
    /// members is not used.
    ///
    /// # Errors
    /// Fewer than two members, unequal sizes, a stripe of no bytes or one that is larger than a member.
    pub fn new(members: Vec<Arc<dyn Store>>, stripe: u64) -> Result<Self, StoreError> {
        let invalid = |text: String| Err(StoreError::Io(io::Error::new(io::ErrorKind::InvalidInput, text)));
        if members.len() < 2 {
            return invalid("a stripe set needs at least two members".into());
        }
        let each = members[0].size();
        if let Some((at, other)) = members.iter().enumerate().find(|(_, member)| member.size() != each) {
            return invalid(format!("the first member of the stripe set has {each} bytes, but member {} has {}", at + 1, other.size()));
        }
        if stripe == 0 || stripe > each {
            return invalid(format!("stripes of {stripe} bytes do not fit members of {each} bytes"));
        }
        let Some(size) = (each / stripe * stripe).checked_mul(members.len() as u64) else {
            return invalid("the members are too large to be put together".into());
        };
        Ok(Self { members: members.into_iter().map(|store| (store, Lane::default())).collect(), stripe, size })
    }

    /// The member and the offset in it where a byte is.
    const fn place(&self, offset: u64) -> (usize, u64) {
        let (row, column) = (offset / self.stripe / self.members.len() as u64, offset / self.stripe % self.members.len() as u64);
        (column as usize, row * self.stripe + offset % self.stripe)
    }

    fn parts(&self, offset: u64, length: u64) -> impl Iterator<Item = Part> + '_ {
        pieces(offset..offset + length, self.stripe).map(move |piece| {
            let (member, at) = self.place(piece.start);
            Part { member, offset: at, within: (piece.start - offset) as usize..(piece.end - offset) as usize }
        })
    }

    /// Calls all parts and waits for all of them; the first error wins.
    fn run<T, W>(&self, parts: Vec<Part>, work: impl Fn(&Part) -> W) -> Result<Vec<(Part, T)>, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Whole) -> Result<T, StoreError> + Send + 'static,
    {
        if let [part] = &parts[..] {
            let value = work(part)(&*self.members[part.member].0)?;
            return Ok(parts.into_iter().zip([value]).collect());
        }
        let (sender, receiver) = channel();
        for (number, part) in parts.iter().enumerate() {
            let (store, lane) = &self.members[part.member];
            lane.call(store, number, &sender, work(part));
        }
        drop(sender);
        let mut values: Vec<Option<T>> = parts.iter().map(|_| None).collect();
        let mut error = None;
        for Finished { index, result, .. } in receiver {
            match result {
                Ok(value) => values[index] = Some(value),
                Err(failure) => error = error.or(Some(failure)),
            }
        }
        let done: Vec<(Part, T)> = parts.into_iter().zip(values).filter_map(|(part, value)| Some((part, value?))).collect();
        error.map_or(Ok(done), Err)
    }

    fn all(&self) -> Vec<Part> {
        (0..self.members.len()).map(|member| Part { member, offset: 0, within: 0..0 }).collect()
    }
}

impl Store for Stripe {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_immediate(&self) -> bool {
        self.members.iter().all(|(store, _)| store.is_immediate())
    }

    fn is_zeroing_fast(&self) -> bool {
        self.members.iter().all(|(store, _)| store.is_zeroing_fast())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check(self.size, offset, buffer.len() as u64)?;
        let parts: Vec<Part> = self.parts(offset, buffer.len() as u64).collect();
        if let [part] = &parts[..] {
            return self.members[part.member].0.read_at(part.offset, buffer);
        }
        let read = self.run(parts, |part| {
            let (at, length) = (part.offset, part.within.len());
            move |store: &Whole| {
                let mut bytes = Vec::new();
                store.append_to(at, length, &mut bytes).map(|()| bytes)
            }
        })?;
        for (part, bytes) in read {
            buffer[part.within].copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        check(self.size, offset, data.len() as u64)?;
        let parts: Vec<Part> = self.parts(offset, data.len() as u64).collect();
        if let [part] = &parts[..] {
            return self.members[part.member].0.write_at(part.offset, data);
        }
        let write = |part: &Part| {
            let (at, bytes) = (part.offset, data[part.within.clone()].to_vec());
            move |store: &Whole| store.write_at(at, &bytes)
        };
        self.run(parts, write).map(drop)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.run(self.all(), |_| |store: &Whole| store.flush()).map(drop)
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        check(self.size, offset, length)?;
        self.ranges(offset, length, |store, at, length| store.trim(at, length))
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        check(self.size, offset, length)?;
        self.ranges(offset, length, move |store, at, length| store.write_zeroes(at, length, space))
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        check(self.size, offset, length)?;
        let mut found: Option<Extent> = None;
        for part in self.parts(offset, length) {
            let asked = part.within.len() as u64;
            let extent = self.members[part.member].0.extent_at(part.offset, asked)?;
            let so_far = found.get_or_insert(Extent { length: 0, content: extent.content });
            if so_far.content != extent.content {
                break;
            }
            so_far.length += extent.length.min(asked);
            if extent.length < asked {
                break;
            }
        }
        Ok(found.unwrap_or(Extent { length, content: Content::Data }))
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        check(self.size, offset, length)?;
        let (member, at) = self.place(offset);
        self.members[member].0.state_at(at, length.min(self.stripe - offset % self.stripe))
    }

    fn usage(&self) -> Usage {
        self.members.iter().map(|(store, _)| store.usage()).reduce(sum).unwrap_or_default()
    }
}

fn sum(one: Usage, other: Usage) -> Usage {
    Usage {
        resident_bytes: one.resident_bytes + other.resident_bytes,
        compressed_stored_bytes: one.compressed_stored_bytes + other.compressed_stored_bytes,
        compressed_original_bytes: one.compressed_original_bytes + other.compressed_original_bytes,
        zero_bytes: one.zero_bytes + other.zero_bytes,
        file_bytes: one.file_bytes + other.file_bytes,
        reserved_bytes: one.reserved_bytes + other.reserved_bytes,
        // The set has no limit if one member has none, though that one alone cannot hold everything.
        quota_bytes: one.quota_bytes.zip(other.quota_bytes).map(|(one, other)| one.saturating_add(other)),
        overhead_bytes: one.overhead_bytes + other.overhead_bytes,
    }
}

impl Stripe {
    /// Calls something that has no data for a range, which may be long: once for each member. The stripes of one range that
    /// lie in one member are next to each other there.
    fn ranges<W>(&self, offset: u64, length: u64, work: W) -> Result<(), StoreError>
    where
        W: Fn(&Whole, u64, u64) -> Result<(), StoreError> + Copy + Send + 'static,
    {
        let count = self.members.len() as u64;
        let end = offset + length;
        let mut parts = Vec::new();
        for member in 0..count {
            // Of each member, the bytes whose place in the whole is within the range.
            let before = |byte: u64| {
                let (row, column) = (byte / self.stripe / count, byte / self.stripe % count);
                row * self.stripe
                    + match column.cmp(&member) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => byte % self.stripe,
                        std::cmp::Ordering::Greater => self.stripe,
                    }
            };
            let (start, stop) = (before(offset), before(end));
            if start < stop {
                parts.push(Part { member: member as usize, offset: start, within: 0..(stop - start) as usize });
            }
        }
        self.run(parts, |part| {
            let (at, length) = (part.offset, part.within.len() as u64);
            move |store: &Whole| work(store, at, length)
        })
        .map(drop)
    }
}
