//! Makes page-ins fail in the ways that pagers fail (MACH: B6, failure modes).

use abi::Code;
use abi::vm::Protection;
use pager::{Control, Pager, Run};
use runtime::{exit, println};

use crate::forward::forward;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The pages are said to be in error.
    Error(Code),
    /// There is never an answer.
    Silence,
    /// The pager inside is asked twice, and so answers twice.
    Twice,
    /// The answer is about the pages behind those that were asked for.
    Astray,
    /// The pager's task ends, with requests open.
    Death,
    /// The pager destroys the object, with requests open.
    Destroy(Code),
}

/// When: at each so-manieth request, after so many that go well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    pub nth: u64,
    pub after: u64,
}

impl Every {
    /// Each request.
    pub const ONE: Self = Self { nth: 1, after: 0 };

    /// Whether the request with this number (from 0) is one of them.
    #[must_use]
    pub const fn hits(self, number: u64) -> bool {
        match number.checked_sub(self.after) {
            Some(since) => self.nth != 0 && since % self.nth == self.nth - 1,
            None => false,
        }
    }
}

/// Lets page-ins of the pager inside fail.
pub struct Faults<P> {
    inner: P,
    fault: Fault,
    every: Every,
    number: u64,
}

impl<P> Faults<P> {
    /// Wraps a pager.
    #[must_use]
    pub const fn new(inner: P, fault: Fault, every: Every) -> Self {
        Self { inner, fault, every, number: 0 }
    }

    /// The pager inside.
    #[must_use]
    pub const fn inner(&self) -> &P {
        &self.inner
    }
}

impl<P: Pager> Pager for Faults<P> {
    forward!(create, init, adopt, data_unlock, data_return, return_request, discard, device_failed, lock_completed, supply_completed);
    forward!(terminate, gone, info, event, deadline, tick);

    fn data_request(&mut self, object: &Control, run: Run, access: Protection) {
        let number = self.number;
        self.number += 1;
        if !self.every.hits(number) {
            return self.inner.data_request(object, run, access);
        }
        match self.fault {
            Fault::Error(code) => object.error(run, code),
            Fault::Silence => {}
            Fault::Twice => {
                self.inner.data_request(object, run, access);
                self.inner.data_request(object, run, access);
            }
            Fault::Astray => {
                if let Some(behind) = Run::new(run.end(), run.length()) {
                    self.inner.data_request(object, behind, access);
                }
            }
            Fault::Death => {
                println!("the pager dies, as it was told to");
                exit(1);
            }
            Fault::Destroy(reason) => object.destroy(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Every;

    #[test]
    fn every_third_after_two() {
        let every = Every { nth: 3, after: 2 };
        let hits: Vec<_> = (0..12).filter(|number| every.hits(*number)).collect();
        assert_eq!(hits, [4, 7, 10]);
        assert!(Every::ONE.hits(0) && !Every { nth: 0, after: 0 }.hits(0));
    }
}
