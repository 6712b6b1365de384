//! Stores that change how another store behaves, so that what is above can be tested. They nest in any order.

mod delay;
mod error;

pub use delay::{DelayFilter, Delays};
pub use error::{ErrorFilter, ErrorRates};
