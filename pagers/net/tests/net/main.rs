//! The network pager against servers in memory, without a network and over a bad one.

mod bench;
mod model;
mod pipes;
mod scenarios;
mod server;
mod tcp;
