//! Delay, error, log, stats: each a Pager around a Pager.
