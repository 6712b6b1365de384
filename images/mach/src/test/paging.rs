//! Paging: the conformance tests of paged memory, and pagebench over each pager, with 1, 2 and 4 CPUs, on both buses, in little memory.

use super::guest::{Expect, GuestTest, moved_in_runs, ten_steps};

const fn test(name: &'static str, line: &'static str) -> GuestTest {
    GuestTest { name, line, peer: None, expect: Expect::Verified, also: &[], quick: false }
}

const fn quick(name: &'static str, line: &'static str) -> GuestTest {
    GuestTest { quick: true, ..test(name, line) }
}

pub(crate) const TESTS: &[GuestTest] = &[
    test("conform-1-cpu", "paging-conform --accel tcg --cpus 1 --timeout 180"),
    quick("conform-2-cpus", "paging-conform --accel tcg --cpus 2 --timeout 180"),
    test("conform-4-cpus", "paging-conform --accel tcg --cpus 4 --timeout 180"),
    GuestTest { also: &[moved_in_runs], ..quick("swap-1-cpu", "swap --accel tcg --cpus 1 --memory 48 --working-set 128 --timeout 240") },
    quick("swap-2-cpus", "swap --accel tcg --cpus 2 --memory 48 --working-set 128 --timeout 240"),
    test("swap-4-cpus", "swap --accel tcg --cpus 4 --memory 48 --working-set 128 --timeout 240"),
    test("swap-mmio", "swap --accel tcg --bus mmio --memory 48 --working-set 96 --timeout 240"),
    test("swap-cortex-a72-gic-2", "swap --accel tcg --cpu cortex-a72 --gic 2 --memory 48 --working-set 96 --timeout 240"),
    test("net-1-cpu", "net --accel tcg --link user --cpus 1 --memory 48 --working-set 96 --timeout 300"),
    quick("net-2-cpus", "net --accel tcg --link user --cpus 2 --memory 48 --working-set 96 --timeout 300"),
    test("net-4-cpus", "net --accel tcg --link user --cpus 4 --memory 48 --working-set 96 --timeout 300"),
    test("net-mmio", "net --accel tcg --link user --bus mmio --memory 48 --working-set 64 --timeout 300"),
    GuestTest { also: &[ten_steps], ..test("trace", "swap --accel tcg --trace --memory 48 --working-set 64 --timeout 240") },
    test("demo", "demo --link user --timeout 420"),
    test("demo-little-memory", "demo --link user --memory 32 --working-set 512 --timeout 720"),
];
