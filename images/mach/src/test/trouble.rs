//! Trouble: what fails on purpose, and what must come of it: a stall that ends, or a clear error for the one concerned.

use super::guest::{Expect, GuestTest, others_went_on, restarted_once};

const TROUBLED: GuestTest = GuestTest { name: "", line: "", expect: Expect::Refused, also: &[others_went_on], quick: false };

pub(crate) const TESTS: &[GuestTest] = &[
    GuestTest {
        name: "host-killed-and-back",
        line: "net --accel tcg --link user --memory 48 --working-set 96 --timeout 300 --chaos kill-host@random",
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
