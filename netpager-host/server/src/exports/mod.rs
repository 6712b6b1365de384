//! The exports of this service: those configured, and those that clients and operators ask into being.
//!
//! | module | what it does |
//! |---|---|
//! | [`catalogue`] | all exports there are; making and removing them |
//! | [`entry`] | one of them: its store, its users, and how a newcomer fences older ones |
//! | [`link`] | one user |
//! | [`admission`] | from a name that a client asks for to a seat at an export, or words why not |
//! | [`view`] | the exports as one client's handshake sees them |
//! | [`policy`] | the part of the configuration that a reload replaces |
//! | [`make`] | stores |
//! | [`metadata`] | what outlives the service |
//! | [`throttle`] | how fast one identity may go |
//! | [`expiry`] | gives up what nobody uses |

mod admission;
mod catalogue;
mod entry;
mod expiry;
mod link;
mod make;
mod metadata;
mod policy;
mod throttle;
mod view;

pub(crate) use admission::Visitor;
pub(crate) use catalogue::{Catalogue, CatalogueError};
pub(crate) use entry::{Entry, Seat, Source};
pub(crate) use expiry::expire;
pub(crate) use link::{Cut, Link};
pub(crate) use make::{certificates, open_alone};
pub(crate) use view::{CONTEXTS, View};
