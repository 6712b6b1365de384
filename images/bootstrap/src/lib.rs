//! The first EL0 task: it reads the manifest in the ramdisk, starts the pagers, then the programs, and says how it went.
//!
//! The kernel starts it as a boot module with the names of the host's and the device master's ports. Every task that it starts gets a
//! port of its own as bootstrap and exception port ([`services`]), so that whatever comes from a task is known to come from it: the
//! names it registers and looks for, its exit status, its exceptions, its death. [`supervisor`] goes through the manifest's lines
//! ([`manifest`]) and judges; [`loader`] makes tasks of the ramdisk's ELF files ([`program`], [`stack`]).
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod loader;
pub mod manifest;
pub mod program;
pub mod services;
pub mod stack;
pub mod supervisor;
