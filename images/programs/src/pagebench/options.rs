//! `pagebench --pager swap|NAME [--working-set BYTES] [--seed N]`.

use alloc::format;
use alloc::string::String;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `swap` is anonymous memory; any other is the name of a pager that makes objects.
    pub pager: String,
    /// Bytes, whole pages.
    pub working_set: u64,
    pub seed: u64,
}

const PAGE: u64 = abi::vm::PAGE_SIZE;

impl Options {
    /// Reads the words. The error says what is wrong.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { pager: String::from("swap"), working_set: 256 << 20, seed: 1 };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            match *word {
                "--pager" => options.pager = String::from(*value),
                "--working-set" => options.working_set = size(value).ok_or_else(|| format!("--working-set {value}: no size"))?,
                "--seed" => options.seed = value.parse().map_err(|_| format!("--seed {value}: no number"))?,
                _ => return Err(format!("{word}: no such option")),
            }
        }
        options.working_set = options.working_set.next_multiple_of(PAGE);
        Ok(options)
    }
}

/// Bytes, or with K, M or G.
fn size(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(1 << shift).filter(|bytes| (1..1 << 46).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn words_and_defaults() {
        let options = Options::parse(&["--pager", "net", "--working-set", "1M", "--seed", "9"]).unwrap();
        assert_eq!(options, Options { pager: "net".into(), working_set: 1 << 20, seed: 9 });
        assert_eq!(Options::parse(&["--working-set", "5000"]).unwrap().working_set, 8192);
        assert_eq!(Options::parse(&[]).unwrap().pager, "swap");
    }

    #[test]
    fn mistakes_are_named() {
        for (words, why) in [
            (&["--pager"][..], "needs a value"),
            (&["--seed", "x"], "--seed x"),
            (&["--working-set", "0"], "no size"),
            (&["--working-set", "99999999G"], "no size"),
            (&["--working-set", "M"], "no size"),
            (&["--speed", "1"], "no such option"),
        ] {
            assert!(Options::parse(words).unwrap_err().contains(why), "{words:?}");
        }
    }
}
