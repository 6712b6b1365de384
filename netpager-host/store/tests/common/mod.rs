//! What several tests use.

#[allow(dead_code, reason = "not every test has a disk")]
pub(crate) mod disk;
#[allow(dead_code, reason = "not every test uses all of it")]
pub(crate) mod random;
