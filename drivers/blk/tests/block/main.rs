//! The block driver as a whole against a model disk.

mod disk;
mod failure;
mod requests;
