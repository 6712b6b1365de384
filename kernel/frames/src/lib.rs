//! Owns every byte of RAM: frames, buddy, per-CPU caches, reserves, the kernel heap.
//!
//! A [`Frame`] is the right to one page of RAM; there is exactly one for each page in use and it cannot be copied. [`Pool`] hands them
//! out and takes them back, keeps some for those who free memory ([`Purpose`], [`Reserves`]), and is the only door to a frame's
//! contents. [`Heap`] makes the kernel's global allocator of it. `kernel/vm` holds frames in objects, `kernel/aarch64` makes the pool
//! at boot from what the device tree says.
//!
//! One of the two kernel crates that may say `unsafe`: `linear.rs` (contents), `carve.rs` (the pool's own tables), `slab.rs` and
//! `heap.rs` (raw memory for the global allocator), `arena.rs` (memory for host tests).
//!
//! Locks, in the order they are taken: a heap class, a per-CPU cache, the buddy. All are spin locks held for bounded work. None may be
//! taken by an interrupt handler that can interrupt a holder: the kernel runs with interrupts masked.

#![cfg_attr(not(any(test, feature = "test-pool")), no_std)]

#[cfg(any(test, feature = "test-pool"))]
mod arena;
mod buddy;
mod cache;
mod carve;
mod contents;
mod frame;
mod heap;
mod linear;
mod pool;
mod ram;
mod reserves;
mod slab;

pub use carve::PoolError;
pub use frame::{Frame, FrameNumber, FrameRun, PAGE_SHIFT, PAGE_SIZE, Purpose};
pub use heap::Heap;
pub use linear::LinearMap;
pub use pool::{MAX_ORDER, Pool};
pub use reserves::{BadReserves, Reserves};
