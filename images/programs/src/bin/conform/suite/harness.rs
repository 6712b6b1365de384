//! What a test is, how it fails, and how many there are.
//!
//! A test is a function that returns its failure; the first one ends it. Codes of calls that should have succeeded are failures by
//! themselves (`?`), with the place in the source.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Debug, Display};
use core::panic::Location;
use core::time::Duration;

use abi::Code;
use abi::message::Malformed;
use runtime::bootstrap::{self, PrivilegedPorts};
use runtime::println;

/// One behaviour.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> Outcome,
}

/// A test with the name of its function.
macro_rules! tests {
    ($($name:ident),* $(,)?) => { $crate::suite::harness::tests!(TESTS: $($name),*); };
    ($table:ident: $($name:ident),* $(,)?) => {
        pub(crate) const $table: &[$crate::suite::harness::Test] =
            &[$($crate::suite::harness::Test { name: stringify!($name), run: $name }),*];
    };
}
pub(crate) use tests;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a test failed, and where.
pub(crate) struct Failure(String);

impl Failure {
    #[track_caller]
    pub(crate) fn new(why: impl Display) -> Self {
        let at = Location::caller();
        let file = at.file().rsplit('/').next().unwrap_or_default();
        Self(format!("{why} ({file}:{})", at.line()))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Code> for Failure {
    #[track_caller]
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<Malformed> for Failure {
    #[track_caller]
    fn from(_: Malformed) -> Self {
        Self::new("the message isn't what its id says")
    }
}

/// Fails unless it is so.
#[track_caller]
pub(crate) fn expect(so: bool, what: impl Display) -> Outcome {
    if so { Ok(()) } else { Err(Failure::new(what)) }
}

/// Fails unless both are the same.
#[track_caller]
pub(crate) fn same<T: PartialEq + Debug>(what: &str, is: T, should: T) -> Outcome {
    if is == should { Ok(()) } else { Err(Failure::new(format_args!("{what}: {is:x?}, not {should:x?}"))) }
}

/// Fails unless it is an error with this code.
#[track_caller]
pub(crate) fn refused<T>(what: &str, result: Result<T, Code>, should: Code) -> Outcome {
    same(what, Code::of(&result), should)
}

/// The privileged ports; none, and a word about it, if the manifest doesn't trust this task with them.
pub(crate) fn privileged_ports(test: &str) -> Outcome<Option<PrivilegedPorts>> {
    match bootstrap::ports() {
        Err(Code::NO_ACCESS) => {
            println!("{test}: skipped, it needs `privileged` in the manifest");
            Ok(None)
        }
        ports => Ok(Some(ports?)),
    }
}

/// Longer than anything takes that will happen; a test that waits so long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Long enough for what must not happen to have happened.
pub(crate) const SHORT: Duration = Duration::from_millis(60);

/// Deterministic numbers without pattern (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}
