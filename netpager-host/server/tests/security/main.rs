//! The service as somebody meets it who may not do everything: TLS, certificates, rules, end to end.
//!
//! Certificates come from `netpager-host pki`, as an operator's would. What is to be refused is said by hand, byte by byte,
//! because a proper client would not say it; what is to work is done by other people's tools.

mod downgrade;
mod place;
mod raw;
mod reload;
mod rules;
mod tools;
