//! Sums of what connections did, as plain numbers.

use super::{Command, Histogram, Outcome};

/// Sums for one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandTotals {
    pub(crate) requests: [u64; Outcome::ALL.len()],
    pub(crate) bytes: u64,
    pub(crate) latency_ns: u64,
    pub(crate) latencies: Option<Histogram>,
}

/// Sums for all commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub(crate) commands: [CommandTotals; Command::ALL.len()],
}

impl Totals {
    /// How many requests ended.
    #[must_use]
    pub fn requests(&self) -> u64 {
        Command::ALL.iter().map(|&command| self.requests_of(command)).sum()
    }

    /// How many requests of one kind ended.
    #[must_use]
    pub fn requests_of(&self, command: Command) -> u64 {
        self.commands[command as usize].requests.iter().sum()
    }

    /// How many requests of one kind ended in one way.
    #[must_use]
    pub fn count(&self, command: Command, outcome: Outcome) -> u64 {
        self.commands[command as usize].requests[outcome as usize]
    }

    /// How many requests did not succeed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.commands.iter().flat_map(|sums| &sums.requests[1..]).sum()
    }

    /// Bytes read, written, trimmed, zeroed, …
    #[must_use]
    pub fn bytes(&self, command: Command) -> u64 {
        self.commands[command as usize].bytes
    }

    /// The sum of all latencies of one kind.
    #[must_use]
    pub fn latency_ns(&self, command: Command) -> u64 {
        self.commands[command as usize].latency_ns
    }

    /// The latencies of some commands together.
    #[must_use]
    pub fn latencies(&self, commands: &[Command]) -> Histogram {
        let mut sum = Histogram::default();
        commands.iter().filter_map(|&command| self.commands[command as usize].latencies.as_ref()).for_each(|more| sum.merge(more));
        sum
    }

    /// Adds another's sums.
    pub fn merge(&mut self, other: &Self) {
        for (sums, more) in self.commands.iter_mut().zip(&other.commands) {
            sums.requests.iter_mut().zip(more.requests).for_each(|(sum, count)| *sum += count);
            sums.bytes += more.bytes;
            sums.latency_ns += more.latency_ns;
            if let Some(latencies) = &more.latencies {
                sums.latencies.get_or_insert_with(Histogram::default).merge(latencies);
            }
        }
    }
}
