//! Stripes against an array of bytes, and what a member that fails does to the others.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use remote::Stripe;
use store::{Arena, Content, DelayFilter, Delays, ErrorFilter, ErrorRates, RamStore, Space, Store, StoreError};

const EACH: u64 = 100_000;
const STRIPE: u64 = 4096;

fn ram() -> Arc<dyn Store> {
    Arc::new(RamStore::new(Arc::new(Arena::new(1 << 20)), EACH, u64::MAX).unwrap())
}

/// Never immediate, so that parts run on threads.
fn waiting(delay: Duration) -> Arc<dyn Store> {
    Arc::new(DelayFilter::new(ram(), Delays { read: delay, write: delay, flush: delay }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_stripe_set_is_an_array_of_bytes(
        members in 2..4usize,
        steps in prop::collection::vec((0..5u8, any::<u64>(), 0..40_000usize, any::<u8>()), 1..30),
    ) {
        let stores = (0..members).map(|at| if at % 2 == 0 { ram() } else { waiting(Duration::ZERO) }).collect();
        let store = Stripe::new(stores, STRIPE).unwrap();
        let size = (EACH / STRIPE * STRIPE) as usize * members;
        prop_assert_eq!(store.size(), size as u64);
        let mut model = vec![0; size];
        for (kind, offset, length, fill) in steps {
            let offset = (offset % size as u64) as usize;
            let range = offset..size.min(offset + length);
            let (at, count) = (offset as u64, range.len() as u64);
            match kind {
                0 => { store.write_zeroes(at, count, Space::Release).unwrap(); model[range].fill(0); }
                1 => { store.trim(at, count).unwrap(); store.read_at(at, &mut model[range]).unwrap(); }
                2 if count > 0 => {
                    let extent = store.extent_at(at, count).unwrap();
                    prop_assert!(extent.length > 0 && extent.length <= count);
                    let part = &model[offset..offset + extent.length as usize];
                    prop_assert!(extent.content == Content::Data || part.iter().all(|&byte| byte == 0));
                }
                _ => { store.write_at(at, &vec![fill; range.len()]).unwrap(); model[range].fill(fill); }
            }
            store.flush().unwrap();
            let mut all = vec![0xee; size];
            store.read_at(0, &mut all).unwrap();
            prop_assert!(all == model);
        }
    }
}

#[test]
fn nothing_outside_can_be_touched() {
    let store = Stripe::new(vec![ram(), ram()], STRIPE).unwrap();
    for offset in [store.size(), store.size() - 1, u64::MAX] {
        assert!(matches!(store.read_at(offset, &mut [0; 2]), Err(StoreError::OutOfRange { .. })));
        assert!(matches!(store.write_at(offset, &[0; 2]), Err(StoreError::OutOfRange { .. })));
        assert!(matches!(store.write_zeroes(offset, 2, Space::Reserve), Err(StoreError::OutOfRange { .. })));
    }
}

#[test]
fn a_member_that_fails_fails_its_stripes_only() {
    let failing = ErrorFilter::new(ram(), ErrorRates { read: 1000, write: 1000, flush: 1000 }, 1);
    let switch = failing.armed();
    let store = Stripe::new(vec![ram(), Arc::new(failing)], STRIPE).unwrap();
    store.write_at(0, &[1; STRIPE as usize]).unwrap();
    store.read_at(2 * STRIPE, &mut [0; STRIPE as usize]).unwrap();
    assert!(store.write_at(STRIPE, &[1]).is_err() && store.read_at(0, &mut [0; STRIPE as usize + 1]).is_err() && store.flush().is_err());
    switch.store(false, Ordering::SeqCst);
    store.write_at(STRIPE, &[1]).unwrap();
    store.flush().unwrap();
}

#[test]
fn parts_of_a_call_run_side_by_side() {
    let delay = Duration::from_millis(100);
    let store = Stripe::new((0..6).map(|_| waiting(delay)).collect(), STRIPE).unwrap();
    let began = Instant::now();
    store.write_at(0, &[1; 6 * STRIPE as usize]).unwrap();
    assert!(began.elapsed() >= delay && began.elapsed() < delay * 5, "{:?}", began.elapsed());
}

#[test]
fn bad_sets_are_refused_in_words() {
    let refused = |members, stripe| Stripe::new(members, stripe).err().map(|error| error.to_string()).unwrap();
    let small: Arc<dyn Store> = Arc::new(RamStore::new(Arc::new(Arena::new(1 << 20)), 5, u64::MAX).unwrap());
    assert!(refused(vec![ram()], STRIPE).contains("at least two"));
    assert!(refused(vec![ram(), small], STRIPE).contains("member 2 has 5"));
    assert!(refused(vec![ram(), ram()], 0).contains("do not fit"));
    assert!(refused(vec![ram(), ram()], EACH + 1).contains("do not fit"));
}
