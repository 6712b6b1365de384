//! Tests of the engines on a pmap without hardware: scripts for each behaviour, a model for all of them together, and threads.

mod anonymous;
mod calls;
mod copies;
mod model;
mod pagers;
mod paging;
mod reigns;
mod steps;
mod threads;
mod world;
