//! Operating netpager-host: what it counts, how it is looked at, and how it is told to do things while it runs.
//!
//! The service implements [`Observed`] and [`Operated`], gives every connection a [`Recorder`], and serves the result on a
//! listener of its own. Nothing here knows NBD: commands are labels, exports are names.
//!
//! | module | what it does |
//! |---|---|
//! | [`metrics`] | counters and latency histograms: one writer each, summed when somebody looks |
//! | [`observed`] | the traits the service implements, and the words both sides of the API use |
//! | [`sampler`] | once a second: rates and percentiles, and the last minutes of them |
//! | [`prometheus`] | the text that is scraped |
//! | [`map`] | a store as some hundreds of coloured cells |
//! | [`http`] | the admin listener: who may ask, the API, the event stream, the status page |
//! | [`client`] | the commands `status`, `export` and `check`, which ask a running service |
//! | [`progress`] | bars for long work |
//!
//! Not here: TLS for the admin listener. It is for loopback and Unix sockets, or behind a proxy that has TLS.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod client;
pub mod http;
pub mod map;
pub mod metrics;
pub mod observed;
mod process;
pub mod progress;
pub mod prometheus;
pub mod sampler;

pub use http::{AdminAddress, AdminConfig, AdminListener, Token};
pub use metrics::{ClientInfo, Command, Outcome, Recorder, Registry};
pub use observed::{Fault, Observed, Operated};
pub use progress::Progress;
pub use sampler::Sampler;
