//! The console: bytes from the guest become lines, and lines that start with `@` become messages.
//!
//! ```text
//! @progress TEXT              what it is doing; the last one stands for all
//! @phase {json}               the figures of one phase
//! @test NAME ok               @test NAME FAILED REASON
//! @bench NAME INSTRUCTIONS
//! @trace STEP N ns TEXT       one step of a page's life, N nanoseconds after its first
//! @verdict ok                 @verdict FAILED REASON
//! ```
//!
//! The guest may be broken: anything it writes is a line of some kind, and nothing it writes reaches a terminal raw.

use serde_json::Value;

/// What a line of the console says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    /// For people.
    Text(String),
    Progress(String),
    Phase(Value),
    Test {
        name: String,
        result: Result<(), String>,
    },
    Bench {
        name: String,
        instructions: u64,
    },
    Trace {
        step: String,
        ns: u64,
        text: String,
    },
    Verdict(Result<(), String>),
    /// Starts with `@` and is none of these.
    Malformed(String),
}

impl Line {
    pub(crate) fn parse(line: &str) -> Self {
        match line.strip_prefix('@') {
            None => Self::Text(line.to_owned()),
            Some(message) => Self::message(message).unwrap_or_else(|| Self::Malformed(line.to_owned())),
        }
    }

    fn message(message: &str) -> Option<Self> {
        let (word, rest) = message.split_once(' ')?;
        let rest = rest.trim();
        match word {
            "progress" => Some(Self::Progress(rest.to_owned())),
            "phase" => serde_json::from_str(rest).ok().filter(Value::is_object).map(Self::Phase),
            "test" => {
                let (name, result) = rest.split_once(' ')?;
                Some(Self::Test { name: name.to_owned(), result: outcome(result)? })
            }
            "bench" => {
                let (name, count) = rest.rsplit_once(' ')?;
                Some(Self::Bench { name: name.trim().to_owned(), instructions: count.parse().ok()? })
            }
            "trace" => trace(rest),
            "verdict" => outcome(rest).map(Self::Verdict),
            _ => None,
        }
    }
}

fn outcome(text: &str) -> Option<Result<(), String>> {
    match text.trim() {
        "ok" => Some(Ok(())),
        other => other.strip_prefix("FAILED").map(|reason| Err(reason.trim().to_owned())),
    }
}

fn trace(rest: &str) -> Option<Line> {
    let mut words = rest.splitn(4, ' ');
    let (step, ns, unit) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let text = words.next().unwrap_or_default().to_owned();
    (unit == "ns").then(|| Line::Trace { step: step.to_owned(), ns, text })
}

/// Bytes to lines: carriage returns and control characters are taken out, what is not UTF-8 is marked.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

/// A line longer than this is cut: a guest gone wild must not eat the host's memory.
const LONGEST: usize = 64 << 10;

impl Lines {
    /// The lines that `bytes` complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' || self.partial.len() >= LONGEST {
                lines.extend(self.finish());
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
        lines
    }

    /// What is left without a newline; an empty line counts only if a newline ended it.
    pub(crate) fn flush(&mut self) -> Option<String> {
        if self.partial.is_empty() { None } else { self.finish() }
    }

    fn finish(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.partial);
        let line = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        self.partial.clear();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_message_is_understood() {
        let parse = Line::parse;
        assert_eq!(parse("hello"), Line::Text("hello".into()));
        assert_eq!(parse("@progress swap: fill 10 %"), Line::Progress("swap: fill 10 %".into()));
        assert_eq!(parse("@phase {\"pager\":\"swap\"}"), Line::Phase(json!({"pager": "swap"})));
        assert_eq!(parse("@test cow ok"), Line::Test { name: "cow".into(), result: Ok(()) });
        let failed = Line::Test { name: "cow".into(), result: Err("page 3 differs".into()) };
        assert_eq!(parse("@test cow FAILED page 3 differs"), failed);
        assert_eq!(parse("@bench null-trap 122"), Line::Bench { name: "null-trap".into(), instructions: 122 });
        let step = Line::Trace { step: "Asked".into(), ns: 1500, text: "object 3 page 7".into() };
        assert_eq!(parse("@trace Asked 1500 ns object 3 page 7"), step);
        assert_eq!(parse("@verdict ok"), Line::Verdict(Ok(())));
        assert_eq!(parse("@verdict FAILED 2 corrupt"), Line::Verdict(Err("2 corrupt".into())));
    }

    #[test]
    fn a_broken_message_is_malformed_and_never_lost() {
        for line in [
            "@",
            "@phase {",
            "@phase 3",
            "@test x",
            "@test x maybe",
            "@bench x y",
            "@bench 5",
            "@trace A b ns",
            "@trace A 5 us x",
            "@verdict",
            "@verdict fine",
            "@frob 1",
        ] {
            assert_eq!(Line::parse(line), Line::Malformed(line.to_owned()));
        }
    }

    #[test]
    fn lines_come_out_however_the_bytes_are_cut() {
        let text = b"one\r\n\ntwo \x1b[31mred\xff\nthree";
        let whole = ["one", "", "two [31mred\u{fffd}"];
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut got = lines.feed(&text[..cut]);
            got.extend(lines.feed(&text[cut..]));
            assert_eq!(got, whole, "cut at {cut}");
            assert_eq!(lines.flush().as_deref(), Some("three"));
            assert_eq!(lines.flush(), None);
        }
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut lines = Lines::default();
        let got = lines.feed(&vec![b'x'; LONGEST + 5]);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].len(), LONGEST);
        assert_eq!(lines.flush().unwrap().len(), 5);
    }
}
