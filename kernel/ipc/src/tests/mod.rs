//! Whole-crate tests: scenarios with the codes that Mach gives, random steps with all counts checked after each, and threads.

mod counts;
mod scenarios;
mod steps;
mod threads;
mod world;
