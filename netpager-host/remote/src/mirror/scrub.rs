//! Compares the members of a mirror, and makes them equal if asked to.
//!
//! Two members that differ cannot say which of them is right. With three or more the majority is believed; with two, the
//! first, because that is what a fixed order of members is good for: an operator who knows better puts the other one first.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use store::StoreError;

use super::regions::REGION_BYTES;
use super::{Shared, calls};
use crate::range::pieces;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Bytes that were compared.
    pub compared: u64,
    /// Bytes that were not compared, because fewer than two members were live or somebody wrote there all the time.
    pub skipped: u64,
    /// Pages of 4096 bytes on which members do not agree.
    pub unequal_pages: u64,
    /// Of these, how many were made equal.
    pub repaired_pages: u64,
}

const PAGE: u64 = 4096;

pub(super) fn run(shared: &Shared, repair: bool, mut on_region: impl FnMut(u64, u64) -> bool) -> Result<ScrubReport, StoreError> {
    let mut report = ScrubReport::default();
    for region in pieces(0..shared.size, REGION_BYTES) {
        let end = region.end;
        compare(shared, region, repair, &mut report)?;
        if !on_region(end, shared.size) {
            break;
        }
    }
    Ok(report)
}

fn compare(shared: &Shared, region: Range<u64>, repair: bool, report: &mut ScrubReport) -> Result<(), StoreError> {
    let bytes = region.end - region.start;
    let Some(_guard) = shared.ranges.lock(region.clone(), Instant::now() + shared.config.deadline) else {
        report.skipped += bytes;
        return Ok(());
    };
    let live: Vec<usize> = shared.roster().live().collect();
    if live.len() < 2 {
        report.skipped += bytes;
        return Ok(());
    }
    let copies = read_all(shared, &live, &region)?;
    report.compared += bytes;
    if copies.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return Ok(());
    }
    for page in pieces(region.clone(), PAGE) {
        let within = (page.start - region.start) as usize..(page.end - region.start) as usize;
        let versions: Vec<(usize, &[u8])> = copies.iter().map(|(index, bytes)| (*index, &bytes[within.clone()])).collect();
        if versions.windows(2).all(|pair| pair[0].1 == pair[1].1) {
            continue;
        }
        report.unequal_pages += 1;
        tracing::warn!(offset = page.start, "the members of the mirror differ");
        if repair {
            make_equal(shared, page.start, &versions)?;
            report.repaired_pages += 1;
        }
    }
    Ok(())
}

/// One region as each of `live` has it, in their order.
fn read_all(shared: &Shared, live: &[usize], region: &Range<u64>) -> Result<Vec<(usize, Vec<u8>)>, StoreError> {
    let (offset, length) = (region.start, (region.end - region.start) as usize);
    let outcomes = shared.call(live, Instant::now() + shared.config.deadline, move |store| {
        let mut bytes = Vec::new();
        store.append_to(offset, length, &mut bytes).map(|()| bytes)
    });
    let mut copies = Vec::new();
    for (index, result) in outcomes {
        match result {
            Ok(bytes) => copies.push((index, bytes)),
            Err(error) => {
                shared.seats[index].failed(&error);
                return Err(error);
            }
        }
    }
    copies.sort_by_key(|(index, _)| *index);
    Ok(copies)
}

/// Writes what most members have, or the first of them, to those that have something else.
fn make_equal(shared: &Shared, offset: u64, versions: &[(usize, &[u8])]) -> Result<(), StoreError> {
    let votes = |bytes: &[u8]| versions.iter().filter(|(_, other)| *other == bytes).count();
    let most = versions.iter().map(|(_, bytes)| votes(bytes)).max().unwrap_or(0);
    let Some((_, right)) = versions.iter().find(|(_, bytes)| votes(bytes) == most) else { return Ok(()) };
    let wrong: Vec<usize> = versions.iter().filter(|(_, bytes)| bytes != right).map(|(index, _)| *index).collect();
    let right: Arc<[u8]> = (*right).into();
    let outcomes = shared.call(&wrong, Instant::now() + shared.config.deadline, move |store| store.write_at(offset, &right));
    if outcomes.iter().any(|(_, result)| result.is_err()) { Err(calls::first_error(outcomes)) } else { Ok(()) }
}
