//! pagebench: memory larger than RAM, filled, swept and verified, every byte that is read.
//!
//! [`Bench`] does the sweeps over a [`Region`] by the clock and the counters of a [`System`]; on a host both are fakes, so that corruption
//! can be tried. [`figures`] is what the launcher (images/mach) reads.

mod bench;
pub mod figures;
mod histogram;
mod options;
mod pattern;
mod shuffle;
mod system;

pub use bench::{Bench, SWEEPS};
pub use figures::{Figures, Sweep};
pub use histogram::Histogram;
pub use options::{Options, Over};
pub use pattern::{Pattern, WORDS};
pub use shuffle::Shuffle;
pub use system::{Counters, Host, Region, System};
