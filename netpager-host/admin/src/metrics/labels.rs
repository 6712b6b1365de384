//! What a request was and how it ended, in the words that metrics and the API use for it.

/// A command of NBD's transmission phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Command {
    /// Bytes to the client.
    Read,
    /// Bytes from the client.
    Write,
    /// Make durable what was written.
    Flush,
    /// Content that is no longer wanted.
    Trim,
    /// Zeroes, without sending them.
    WriteZeroes,
    /// Bring close.
    Cache,
    /// Ask what is there.
    BlockStatus,
}

impl Command {
    /// All of them, in the order of their numbers here.
    pub const ALL: [Self; 7] = [Self::Read, Self::Write, Self::Flush, Self::Trim, Self::WriteZeroes, Self::Cache, Self::BlockStatus];

    /// The label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Trim => "trim",
            Self::WriteZeroes => "write_zeroes",
            Self::Cache => "cache",
            Self::BlockStatus => "block_status",
        }
    }
}

/// How a request ended: with success, or with one of the errors NBD has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// EPERM: not allowed.
    NotPermitted,
    /// EIO: the store failed.
    InputOutput,
    /// ENOMEM: not now.
    NoMemory,
    /// EINVAL: the client's mistake.
    Invalid,
    /// ENOSPC: no space or over quota.
    NoSpace,
    /// EOVERFLOW: the answer doesn't fit.
    Overflow,
    /// ENOTSUP: not as asked, for example not fast.
    NotSupported,
    /// ESHUTDOWN: the service is ending.
    Shutdown,
}

impl Outcome {
    /// All of them, in the order of their numbers here.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::NotPermitted,
        Self::InputOutput,
        Self::NoMemory,
        Self::Invalid,
        Self::NoSpace,
        Self::Overflow,
        Self::NotSupported,
        Self::Shutdown,
    ];

    /// The label: `ok` or the error's name in NBD.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotPermitted => "EPERM",
            Self::InputOutput => "EIO",
            Self::NoMemory => "ENOMEM",
            Self::Invalid => "EINVAL",
            Self::NoSpace => "ENOSPC",
            Self::Overflow => "EOVERFLOW",
            Self::NotSupported => "ENOTSUP",
            Self::Shutdown => "ESHUTDOWN",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_stands_at_its_own_number() {
        assert!(Command::ALL.iter().enumerate().all(|(index, &command)| command as usize == index));
        assert!(Outcome::ALL.iter().enumerate().all(|(index, &outcome)| outcome as usize == index));
    }
}
