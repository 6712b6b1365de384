//! Boot: the conformance program on every machine that the kernel promises to run on.

use super::guest::{Expect, GuestTest};

const fn test(name: &'static str, line: &'static str) -> GuestTest {
    GuestTest { name, line, peer: None, expect: Expect::Verified, also: &[], quick: false }
}

const fn quick(name: &'static str, line: &'static str) -> GuestTest {
    GuestTest { quick: true, ..test(name, line) }
}

pub(crate) const TESTS: &[GuestTest] = &[
    quick("1-cpu", "conform --accel tcg --cpus 1 --timeout 120"),
    quick("2-cpus", "conform --accel tcg --cpus 2 --timeout 120"),
    quick("4-cpus", "conform --accel tcg --cpus 4 --timeout 120"),
    test("8-cpus-gic-2", "conform --accel tcg --cpus 8 --gic 2 --timeout 180"),
    test("cortex-a72", "conform --accel tcg --cpu cortex-a72 --gic 2 --timeout 120"),
    test("cpu-max", "conform --accel tcg --cpu max --timeout 180"),
    test("el2", "conform --accel tcg --el2 --timeout 120"),
    test("el2-4-cpus-cpu-max", "conform --accel tcg --el2 --cpus 4 --cpu max --timeout 180"),
    test("32-mib", "conform --accel tcg --memory 32 --timeout 120"),
    test("4-gib", "conform --accel tcg --memory 4096 --timeout 180"),
    test("icount", "conform --icount --cpus 1 --timeout 240"),
    test("ram-below-4-gib-only", "conform --accel tcg --timeout 120 -- -M highmem=off"),
];
