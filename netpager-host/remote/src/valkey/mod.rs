//! A store in the memory of a Redis or Valkey cluster, for those who outgrow one machine and whose pages may be lost.
//!
//! An export is cut into extents of 32 KiB (a power of two, 16 to 64 KiB); each that is not all zeroes is one string under
//! `pvmach/EXPORT/NUMBER`, so that an export is spread over all nodes, and growing the cluster moves a part of it. Pages of
//! 4096 bytes alone would waste a quarter of the memory: such a string just misses the allocator's size class.
//!
//! # Durability, said plainly
//!
//! **This is for pages that may be lost.** A cluster acknowledges a write before its replicas have it. When a primary dies,
//! the replica that takes over misses the last of them, and a cluster without replicas loses everything on that node. A
//! flush therefore promises nothing by default. With [`ValkeyConfig::replicas`] a flush succeeds only if so many replicas of
//! each primary have confirmed everything; that narrows the gap and does not close it, because a failover may still choose
//! a replica that did not confirm.
//!
//! What is promised: **lost is never mistaken for zeroes or for an older page** while this process lives. A fingerprint of each
//! page is kept in memory (8 bytes for 4096), and a page that reads differently is [`StoreError::Corrupt`]. After a restart
//! of this process what is found in the cluster is believed. One process at a time may use an export.
//!
//! The nodes must not evict keys (`maxmemory-policy noeviction`, the default); one that does is refused.

mod cluster;
mod config;
mod index;

use std::io;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use store::{Content, Extent, Space, State, StateExtent, Store, StoreError, Usage};

use crate::engine::Engine;
use crate::range::{check, pieces};
use cluster::Cluster;
pub use config::ValkeyConfig;
use index::{Entry, Index, Mark, Stripe, stripe_of};

const PAGE: u64 = 4096;
/// How much is asked for at once. A multiple of every extent size, and fewer extents than the index has locks.
const STEP: u64 = 1 << 20;

/// See the module's documentation.
pub struct ValkeyStore {
    config: ValkeyConfig,
    engine: Engine,
    cluster: Cluster,
    index: Index,
}

fn invalid(text: String) -> StoreError {
    StoreError::Io(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl ValkeyStore {
    /// Connects, and finds out what is stored already.
    ///
    /// # Errors
    /// The cluster cannot be reached or evicts keys; the export is there with another size of extents.
    pub fn open(engine: &Engine, config: ValkeyConfig) -> Result<Self, StoreError> {
        if !matches!(config.extent, 0x4000 | 0x8000 | 0x1_0000) {
            return Err(invalid(format!("an extent has 16384, 32768 or 65536 bytes, not {}", config.extent)));
        }
        let most = config.quota.map_or(u64::MAX, |quota| quota / config.extent);
        let index = Index::new(most);
        let (url, export, shape) = (config.url.clone(), config.export.clone(), format!("1 extent={}", config.extent));
        let deadline = config.deadline;
        // A scan of a large cluster takes its time.
        let (cluster, extents) = engine.run(Instant::now() + deadline * 10, async move {
            let cluster = Cluster::connect(&url, &export, deadline).await?;
            if let Some((node, policy)) = cluster.evicting().await? {
                return Err(invalid(format!(
                    "node {node} would throw pages away when it is full: its maxmemory-policy is {policy}, not noeviction"
                )));
            }
            if !cluster.claim(&shape).await? {
                return Err(invalid(format!("the cluster has an export of the name {export}, but not with \"{shape}\"")));
            }
            let extents = cluster.extents().await?;
            Ok((cluster, extents))
        })?;
        let pages = (config.extent / PAGE) as usize;
        for extent in extents.into_iter().filter(|extent| extent.saturating_mul(config.extent) < config.size) {
            index.found(extent, pages);
        }
        Ok(Self { config, engine: engine.clone(), cluster, index })
    }

    /// Removes every page of the export from the cluster.
    ///
    /// # Errors
    /// Some may be left.
    pub fn clear(&self) -> Result<(), StoreError> {
        self.write_zeroes(0, self.config.size, Space::Release)
    }

    fn run<T: Send + 'static>(&self, work: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Result<T, StoreError> {
        self.engine.run(Instant::now() + self.config.deadline * 2, work)
    }

    /// The parts of a range by extent: its number, and the bytes within it.
    fn parts(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> + use<> {
        let size = self.config.extent;
        pieces(range, size).map(move |piece| {
            let extent = piece.start / size;
            (extent, piece.start - extent * size..piece.end - extent * size)
        })
    }

    /// Reads whole pages of one step, from extents that are locked.
    fn read_pages<'a>(&self, range: &Range<u64>, entry: impl Fn(u64) -> Option<&'a Entry>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut wanted = Vec::new();
        for (extent, within) in self.parts(range.clone()) {
            let Some(entry) = entry(extent) else { continue };
            let pages = (within.start / PAGE) as usize..(within.end / PAGE) as usize;
            if entry.pages[pages].iter().any(|&mark| mark != Mark::ZERO) {
                wanted.push((extent, within));
            }
        }
        if wanted.is_empty() {
            return Ok(bytes);
        }
        let (cluster, asked) = (self.cluster.clone(), wanted.clone());
        let got = self.run(async move {
            let gets = asked.iter().map(|(extent, within)| cluster.get(*extent, within.start as usize, within.end as usize - 1));
            try_join_all(gets).await
        })?;
        for ((extent, within), got) in wanted.into_iter().zip(got) {
            let at = (extent * self.config.extent + within.start - range.start) as usize;
            let place = &mut bytes[at..at + (within.end - within.start) as usize];
            // What is missing at the end was never written.
            let length = got.len().min(place.len());
            place[..length].copy_from_slice(&got[..length]);
            let Some(entry) = entry(extent) else { continue };
            for (number, page) in place.chunks(PAGE as usize).enumerate() {
                if !entry.pages[(within.start / PAGE) as usize + number].admits(page) {
                    let offset = extent * self.config.extent + within.start + number as u64 * PAGE;
                    tracing::error!(offset, "the cluster lost a page, or has an older one");
                    return Err(StoreError::Corrupt { offset });
                }
            }
        }
        Ok(bytes)
    }

    /// Changes part of one step: `data` at `offset`, or zeroes.
    fn write_step(&self, range: Range<u64>, data: Option<&[u8]>) -> Result<(), StoreError> {
        let size = self.config.extent;
        let outer = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE);
        let mut guards = self.index.write(range.start / size, (range.end - 1) / size);
        let mut bytes = vec![0; (outer.end - outer.start) as usize];
        // The first and the last page may be changed in part only.
        for edge in [outer.start..outer.start + PAGE, outer.end - PAGE..outer.end] {
            if edge.start < range.start || edge.end > range.end {
                let old = self.read_pages(&edge, |extent| guards.iter().find_map(|(_, stripe)| stripe.get(&extent)))?;
                let at = (edge.start - outer.start) as usize;
                bytes[at..at + old.len()].copy_from_slice(&old);
            }
        }
        let inner = (range.start - outer.start) as usize..(range.end - outer.start) as usize;
        match data {
            Some(data) => bytes[inner].copy_from_slice(data),
            None => bytes[inner].fill(0),
        }
        let bytes = Bytes::from(bytes);
        let (mut puts, mut added) = (Vec::new(), Vec::new());
        for (extent, within) in self.parts(outer.clone()) {
            let at = (extent * size + within.start - outer.start) as usize;
            let part = bytes.slice(at..at + (within.end - within.start) as usize);
            let Some(stripe) = stripe_of(&mut guards, extent) else { continue };
            if let std::collections::hash_map::Entry::Vacant(place) = stripe.entry(extent) {
                if part.iter().all(|&byte| byte == 0) {
                    continue;
                }
                if !self.index.admit() {
                    return Err(self.over_quota(&mut guards, &added));
                }
                place.insert(Entry::new((size / PAGE) as usize, Mark::ZERO));
                added.push(extent);
            }
            puts.push((extent, within, part));
        }
        self.put_all(&mut guards, puts)
    }

    /// Stores parts of extents and marks their pages.
    fn put_all<G: std::ops::DerefMut<Target = Stripe>>(
        &self,
        guards: &mut [(u64, G)],
        puts: Vec<(u64, Range<u64>, Bytes)>,
    ) -> Result<(), StoreError> {
        // Nobody knows what is there until the cluster has answered.
        let mut emptied = Vec::new();
        let mut marks = Vec::new();
        for (extent, within, part) in &puts {
            let Some(entry) = stripe_of(guards, *extent).and_then(|stripe| stripe.get_mut(extent)) else { continue };
            let first = (within.start / PAGE) as usize;
            let new: Vec<Mark> = part.chunks(PAGE as usize).map(Mark::of).collect();
            let mut after = entry.clone();
            after.pages[first..first + new.len()].copy_from_slice(&new);
            emptied.push(after.is_empty());
            entry.pages[first..first + new.len()].fill(Mark::UNKNOWN);
            marks.push((*extent, first, new));
        }
        let cluster = self.cluster.clone();
        let work = async move {
            let put = |((extent, within, part), emptied): ((u64, Range<u64>, Bytes), bool)| {
                let cluster = cluster.clone();
                async move { if emptied { cluster.remove(extent).await } else { cluster.put(extent, within.start as usize, part).await } }
            };
            Ok(join_all(puts.into_iter().zip(emptied.clone()).map(put)).await.into_iter().zip(emptied).collect::<Vec<_>>())
        };
        let mut failed = None;
        for ((extent, first, new), (result, emptied)) in marks.into_iter().zip(self.run(work)?) {
            let Some(stripe) = stripe_of(guards, extent) else { continue };
            match result {
                Ok(()) if emptied => {
                    if stripe.remove(&extent).is_some() {
                        self.index.removed();
                    }
                }
                Ok(()) => {
                    if let Some(entry) = stripe.get_mut(&extent) {
                        entry.pages[first..first + new.len()].copy_from_slice(&new);
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes back the extents that were added for a call that has no room for all of them.
    fn over_quota<G: std::ops::DerefMut<Target = Stripe>>(&self, guards: &mut [(u64, G)], added: &[u64]) -> StoreError {
        for extent in added {
            if stripe_of(guards, *extent).is_some_and(|stripe| stripe.remove(extent).is_some()) {
                self.index.removed();
            }
        }
        StoreError::Quota { quota: self.config.quota.unwrap_or(0) }
    }

    /// Removes all whole extents of a range.
    fn remove(&self, extents: Range<u64>) -> Result<(), StoreError> {
        let mut guards = self.index.write(extents.start, extents.end - 1);
        let stored: Vec<u64> =
            extents.filter(|extent| stripe_of(&mut guards, *extent).is_some_and(|stripe| stripe.contains_key(extent))).collect();
        if stored.is_empty() {
            return Ok(());
        }
        for extent in &stored {
            if let Some(entry) = stripe_of(&mut guards, *extent).and_then(|stripe| stripe.get_mut(extent)) {
                entry.pages.fill(Mark::UNKNOWN);
            }
        }
        let (cluster, asked) = (self.cluster.clone(), stored.clone());
        self.run(async move { try_join_all(asked.iter().map(|extent| cluster.remove(*extent))).await })?;
        for extent in stored {
            if stripe_of(&mut guards, extent).is_some_and(|stripe| stripe.remove(&extent).is_some()) {
                self.index.removed();
            }
        }
        Ok(())
    }

    /// Stores zeroes in all extents of a range, so that the cluster's memory is taken.
    fn reserve(&self, extents: Range<u64>) -> Result<(), StoreError> {
        let mut guards = self.index.write(extents.start, extents.end - 1);
        let pages = (self.config.extent / PAGE) as usize;
        let zeroes = Bytes::from(vec![0; self.config.extent as usize]);
        let (mut puts, mut added) = (Vec::new(), Vec::new());
        for extent in extents {
            let Some(stripe) = stripe_of(&mut guards, extent) else { continue };
            if !stripe.contains_key(&extent) {
                if !self.index.admit() {
                    return Err(self.over_quota(&mut guards, &added));
                }
                added.push(extent);
            }
            stripe.entry(extent).or_insert_with(|| Entry::new(pages, Mark::ZERO)).is_reserved = true;
            puts.push((extent, 0..self.config.extent, zeroes.clone()));
        }
        self.put_all(&mut guards, puts)
    }
}

impl Store for ValkeyStore {
    fn size(&self) -> u64 {
        self.config.size
    }

    fn is_immediate(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check(self.config.size, offset, buffer.len() as u64)?;
        for step in pieces(offset..offset + buffer.len() as u64, STEP) {
            let outer = step.start / PAGE * PAGE..step.end.next_multiple_of(PAGE);
            let guards = self.index.read(step.start / self.config.extent, (step.end - 1) / self.config.extent);
            let pages = self.read_pages(&outer, |extent| guards.iter().find_map(|(_, stripe)| stripe.get(&extent)))?;
            let from = (step.start - outer.start) as usize;
            let to = (step.start - offset) as usize..(step.end - offset) as usize;
            buffer[to.clone()].copy_from_slice(&pages[from..from + to.len()]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        check(self.config.size, offset, data.len() as u64)?;
        for step in pieces(offset..offset + data.len() as u64, STEP) {
            let part = &data[(step.start - offset) as usize..(step.end - offset) as usize];
            self.write_step(step, Some(part))?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let (replicas, deadline) = (self.config.replicas, self.config.deadline);
        if replicas == 0 {
            return Ok(());
        }
        let cluster = self.cluster.clone();
        let reached = self.run(async move { cluster.wait(replicas, deadline).await })?;
        match reached >= replicas {
            true => Ok(()),
            false => Err(StoreError::Unavailable(format!("only {reached} of {replicas} replicas have confirmed all writes"))),
        }
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        check(self.config.size, offset, length)?;
        let size = self.config.extent;
        let whole = offset.div_ceil(size)..(offset + length) / size;
        pieces(whole.start * size..whole.end.max(whole.start) * size, STEP)
            .try_for_each(|step| self.remove(step.start / size..step.end / size))
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        check(self.config.size, offset, length)?;
        let size = self.config.extent;
        for step in pieces(offset..offset + length, STEP) {
            let whole = step.start.div_ceil(size)..step.end / size;
            if whole.is_empty() {
                self.write_step(step, None)?;
                continue;
            }
            for edge in [step.start..whole.start * size, whole.end * size..step.end] {
                if !edge.is_empty() {
                    self.write_step(edge, None)?;
                }
            }
            match space {
                Space::Release => self.remove(whole)?,
                Space::Reserve => self.reserve(whole)?,
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        check(self.config.size, offset, length)?;
        let mut found: Option<(bool, u64)> = None;
        for (extent, within) in self.parts(offset..offset + length) {
            let is_stored = self.index.read(extent, extent).iter().any(|(_, stripe)| stripe.contains_key(&extent));
            match &mut found {
                Some((before, so_far)) if *before == is_stored => *so_far += within.end - within.start,
                Some(_) => break,
                None => found = Some((is_stored, within.end - within.start)),
            }
        }
        let (is_stored, length) = found.unwrap_or((true, length));
        Ok(Extent { length, content: if is_stored { Content::Data } else { Content::Hole } })
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        let extent = self.extent_at(offset, length)?;
        let state = if extent.content == Content::Data { State::REMOTE } else { State::empty() };
        Ok(StateExtent { length: extent.length, state })
    }

    fn usage(&self) -> Usage {
        let stored = self.index.stored();
        let per_extent = size_of::<(u64, Entry)>() as u64 + self.config.extent / PAGE * size_of::<Mark>() as u64;
        Usage { quota_bytes: self.config.quota, overhead_bytes: stored * per_extent, ..Usage::default() }
    }
}

impl Drop for ValkeyStore {
    fn drop(&mut self) {
        let cluster = self.cluster.clone();
        self.engine.handle().spawn(async move { cluster.close().await });
    }
}
