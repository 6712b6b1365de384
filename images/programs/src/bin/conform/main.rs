//! The conformance tests: the kernel's interface as EL0 sees it, one behaviour a test.
//!
//! Each prints `@test CASE ok` or `@test CASE FAILED why`. Without arguments all run that need nothing but the kernel; an argument is
//! a group (`traps`, `fork`, …), a test, or one of the groups that need a machine made for them (`paging`, …: images/manifests).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod suite;

#[cfg(target_os = "none")]
runtime::main!(suite::run);

/// The tests are of a kernel; a host has none.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("conform: runs at EL0 of the kernel that it tests");
}
