//! The pager framework: trait Pager, the serve loop, the request book.
