//! What pagebench is told: `--pager swap|net|swap-object --working-set BYTES --seed N`.

use abi::vm::PAGE_SIZE;
use alloc::format;
use alloc::string::String;

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Plain memory: the default pager gets what doesn't fit.
    Swap,
    /// An object of the service `net`.
    Net,
    /// An object of the service `swap`: the default pager as a client sees it.
    SwapObject,
}

impl Over {
    const ALL: [Self; 3] = [Self::Swap, Self::Net, Self::SwapObject];

    /// The word of the command line and of the figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Net => "net",
            Self::SwapObject => "swap-object",
        }
    }

    /// The service that makes the memory object; none for plain memory.
    #[must_use]
    pub const fn service(self) -> Option<&'static str> {
        match self {
            Self::Swap => None,
            Self::Net => Some("net"),
            Self::SwapObject => Some("swap"),
        }
    }
}

/// All that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub over: Over,
    /// Bytes, whole pages.
    pub working_set: u64,
    pub seed: u64,
}

impl Options {
    /// Reads the words; the error is a sentence.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let (mut over, mut working_set, mut seed) = (None, None, 1);
        for pair in words.chunks(2) {
            let [option, value] = *pair else { return Err(format!("{} wants a value", pair[0])) };
            match option {
                "--pager" => {
                    let found = Over::ALL.into_iter().find(|over| over.name() == value);
                    over = Some(found.ok_or_else(|| format!("--pager {value}: say swap, net or swap-object"))?);
                }
                "--working-set" => working_set = Some(number(option, value)?),
                "--seed" => seed = number(option, value)?,
                _ => return Err(format!("{option}: the options are --pager, --working-set and --seed")),
            }
        }
        let working_set: u64 = working_set.ok_or("--working-set BYTES is missing")?;
        if working_set == 0 || !working_set.is_multiple_of(PAGE_SIZE) {
            return Err(format!("--working-set {working_set}: it must be whole pages of {PAGE_SIZE} bytes, at least one"));
        }
        Ok(Self { over: over.ok_or("--pager is missing")?, working_set, seed })
    }
}

fn number(option: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{option} {value}: that is no number"))
}

#[cfg(test)]
mod tests {
    use super::{Options, Over};

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn a_whole_line() {
        let net = Options { over: Over::Net, working_set: 8192, seed: 7 };
        assert_eq!(parse("--pager net --working-set 8192 --seed 7"), Ok(net));
        assert_eq!(parse("--working-set 8192 --pager swap"), Ok(Options { over: Over::Swap, seed: 1, ..net }));
        assert_eq!(parse("--pager swap-object --working-set 4096").unwrap().over.service(), Some("swap"));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, why) in [
            ("", "--working-set BYTES is missing"),
            ("--working-set 4096", "--pager is missing"),
            ("--pager", "wants a value"),
            ("--pager tape", "say swap"),
            ("--frob 3", "the options are"),
            ("--pager swap --working-set 64M", "no number"),
            ("--pager swap --working-set 4097", "whole pages"),
            ("--pager swap --working-set 0", "at least one"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
