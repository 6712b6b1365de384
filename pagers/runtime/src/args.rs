//! The words a program was started with.
//!
//! The first is the name under which the boot manifest knows the task; a pager registers itself under it. The rest is free: pagers use
//! `key=value`, programs what they like.

use core::str::FromStr;

/// argv.
#[derive(Clone, Copy, Debug)]
pub struct Args {
    words: &'static [&'static str],
}

impl Args {
    /// Wraps words that live as long as the program.
    #[must_use]
    pub const fn new(words: &'static [&'static str]) -> Self {
        Self { words }
    }

    /// The task's name.
    #[must_use]
    pub fn program(&self) -> &'static str {
        self.words.first().copied().unwrap_or("?")
    }

    /// The words after the name.
    #[must_use]
    pub fn words(&self) -> &'static [&'static str] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The value of the last `key=value` word with this key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'static str> {
        self.words().iter().rev().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The value of a key as something else; a value that can't be read so is given back.
    pub fn parse<T: FromStr>(&self, key: &str) -> Result<Option<T>, &'static str> {
        self.value(key).map(|text| text.parse().map_err(|_| text)).transpose()
    }

    /// Whether the bare word is there.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.words().contains(&word)
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    #[test]
    fn values_flags_and_names() {
        let args = Args::new(&["swap", "device=vda", "pages=12", "pages=13", "verbose", "pagesize"]);
        assert_eq!(args.program(), "swap");
        assert_eq!(args.value("device"), Some("vda"));
        assert_eq!(args.parse::<u32>("pages"), Ok(Some(13)));
        assert_eq!(args.parse::<u32>("device"), Err("vda"));
        assert_eq!(args.value("page"), None);
        assert!(args.has("verbose") && !args.has("swap"));
        assert_eq!(Args::new(&[]).program(), "?");
    }
}
