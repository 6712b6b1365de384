//! The service against the tools that everybody has: libnbd's, nbdkit as an oracle, fio, nbd-client, qemu's.
//!
//! They decide what conforming means, with their own parsers, checks and strict modes. Each test starts a service of its
//! own on a free port. A tool that is missing is a failure that names its Debian package: a skipped test shows nothing.

mod copies;
mod information;
mod rules;
mod speed;
mod tools;
