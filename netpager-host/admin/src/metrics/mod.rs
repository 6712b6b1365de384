//! Counters of what clients do.
//!
//! A counter that all connections share costs as much as the request it counts, since its cache line travels between the
//! processors. So each connection counts for itself, in a [`Recorder`] that nobody else writes, and whoever looks adds up.

mod cells;
mod histogram;
mod labels;
mod recorder;
mod registry;
mod totals;

pub use histogram::Histogram;
pub use labels::{Command, Outcome};
pub use recorder::Recorder;
pub(crate) use registry::Glance;
pub use registry::{ClientInfo, ClientTotals, Registry, Series, SeriesKey};
pub use totals::Totals;
