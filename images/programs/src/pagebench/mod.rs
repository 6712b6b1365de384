//! A task that uses more memory than there is, and knows what each word of it must be.

pub mod counters;
pub mod figures;
pub mod histogram;
pub mod options;
pub mod order;
pub mod pattern;
pub mod region;
pub mod sweeps;
