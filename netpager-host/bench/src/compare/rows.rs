//! The rows of the comparison: what a pager does (4 KiB at random) and what a copy does (1 MiB in order).

use std::time::Duration;

use crate::load::Load;

/// One load that all servers get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    read_percent: u8,
    pub(super) block: u32,
    pub(super) depth: usize,
    connections: usize,
}

const KIB: u32 = 1024;

const fn row(name: &'static str, read_percent: u8, block: u32, depth: usize, connections: usize) -> Row {
    Row { name, read_percent, block, depth, connections }
}

pub(super) const ROWS: &[Row] = &[
    row("4K read, depth 1, 1 connection", 100, 4 * KIB, 1, 1),
    row("4K read, depth 1, 4 connections", 100, 4 * KIB, 1, 4),
    row("4K read, depth 32, 1 connection", 100, 4 * KIB, 32, 1),
    row("4K read, depth 32, 4 connections", 100, 4 * KIB, 32, 4),
    row("4K write, depth 1, 1 connection", 0, 4 * KIB, 1, 1),
    row("4K write, depth 1, 4 connections", 0, 4 * KIB, 1, 4),
    row("4K write, depth 32, 1 connection", 0, 4 * KIB, 32, 1),
    row("4K write, depth 32, 4 connections", 0, 4 * KIB, 32, 4),
    row("1M read in order, depth 8", 100, 1024 * KIB, 8, 1),
    row("1M write in order, depth 8", 0, 1024 * KIB, 8, 1),
];

impl Row {
    pub(super) fn load(&self, time: Duration, span: u64, seed: u64) -> Load {
        Load {
            read_percent: self.read_percent,
            block: self.block,
            depth: self.depth,
            connections: self.connections,
            time,
            warm_up: time / 8,
            span: Some(span),
            sequential: self.block > 4 * KIB,
            seed,
            ..Load::default()
        }
    }

    /// Whether this is the row for the goal of processor time: 4 KiB reads, deep.
    pub(super) const fn shows_cpu(&self) -> bool {
        self.read_percent == 100 && self.block == 4 * KIB && self.depth == 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_those_of_the_goals_and_have_names_of_their_own() {
        assert_eq!(ROWS.iter().filter(|row| row.shows_cpu()).count(), 2);
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other.name != row.name));
            let load = row.load(Duration::from_secs(1), 1 << 28, 0);
            assert!(load.verify == load.prefill && load.sequential == row.name.contains("in order"));
        }
    }
}
