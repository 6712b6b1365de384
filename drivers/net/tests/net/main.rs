//! The network driver as a whole against a model interface.

mod failure;
mod interface;
mod packets;
