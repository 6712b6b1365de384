//! The network pager against servers in memory, without a network and over a bad one.

mod bench;
mod late;
mod model;
mod pipes;
mod scenarios;
mod sealed;
mod secure;
mod server;
mod tcp;
mod tls_end;
