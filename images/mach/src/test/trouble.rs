//! Trouble: what fails on purpose, and what must come of it: a stall that ends, or a clear error for the one concerned.

use super::guest::{Expect, GuestTest, others_went_on, restarted_once};

const TROUBLED: GuestTest = GuestTest { name: "", line: "", peer: None, expect: Expect::Refused, also: &[others_went_on], quick: false };

/// The guest's own tests of how trouble is told say that all went as it should.
const fn told(name: &'static str, line: &'static str) -> GuestTest {
    GuestTest { name, line, peer: None, expect: Expect::Verified, also: &[], quick: false }
}

pub(crate) const TESTS: &[GuestTest] = &[
    told("conform-full-swap-1-cpu", "full-swap --accel tcg --cpus 1 --timeout 180"),
    GuestTest { quick: true, ..told("conform-full-swap-2-cpus", "full-swap --accel tcg --timeout 180") },
    told("conform-disk-read-errors", "bad-disk --accel tcg --timeout 180 --disk-errors read@20"),
    told("conform-disk-write-errors", "bad-disk --accel tcg --timeout 180 --disk-errors write@20"),
    told("conform-pager-death-1-cpu", "pager-death --accel tcg --cpus 1 --timeout 180"),
    told("conform-pager-death-2-cpus", "pager-death --accel tcg --timeout 180"),
    GuestTest {
        name: "host-killed-and-back",
        line: "net --accel tcg --link user --memory 48 --working-set 96 --timeout 300 --chaos kill-host@random",
        peer: None,
        expect: Expect::Verified,
        also: &[restarted_once],
        quick: false,
    },
    GuestTest {
        name: "disk-read-errors",
        line: "trouble --accel tcg --memory 48 --working-set 96 --timeout 240 --disk-errors read@20",
        ..TROUBLED
    },
    GuestTest {
        name: "disk-write-errors",
        line: "trouble --accel tcg --memory 48 --working-set 96 --timeout 240 --disk-errors write@20",
        ..TROUBLED
    },
    GuestTest { name: "full-swap-disk", line: "trouble --accel tcg --memory 48 --working-set 96 --timeout 240 --disk-size 16", ..TROUBLED },
];
