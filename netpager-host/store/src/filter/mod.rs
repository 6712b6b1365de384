//! Stores around a store: they watch it, or change how it behaves so that what is above can be tested. They nest in any order.

mod delay;
mod error;
mod forward;
mod histogram;
mod log;
mod stats;

pub use delay::{DelayFilter, Delays};
pub use error::{ErrorFilter, ErrorRates};
pub(crate) use forward::forward;
pub use histogram::Histogram;
pub use log::LogFilter;
pub use stats::{Call, CallStats, StatsFilter, StoreStats};
