//! Patterns of names: which exports, which identities.
//!
//! Export names look like paths (`np1/tenant/object`), so a pattern must be able to stop at a slash; and a rule that gives
//! every guest a place of its own must be able to say so once. The same type serves rules and patterns of exports, so that
//! both mean the same.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Stands for the name of whoever asks.
const NAME: &str = "{name}";
/// Longer patterns are a mistake.
const PATTERN_MAX: usize = 1024;

/// A pattern of names: `*` is any text without `/`, `**` any text, `?` one character but `/`, and `{name}` the name of the
/// identity that asks. Everything else stands for itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Segment,
    Anything,
    Name,
}

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GlobError {
    /// A brace that begins or ends nothing.
    #[error("pattern `{0}`: braces are only for {NAME}")]
    Brace(String),
    /// Too much text.
    #[error("a pattern has {0} bytes; at most {PATTERN_MAX} are allowed")]
    TooLong(usize),
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        if text.len() > PATTERN_MAX {
            return Err(GlobError::TooLong(text.len()));
        }
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let (token, length) = match next {
                '*' if rest.starts_with("**") => (Token::Anything, 2),
                '*' => (Token::Segment, 1),
                '?' => (Token::One, 1),
                '{' if rest.starts_with(NAME) => (Token::Name, NAME.len()),
                '{' | '}' => return Err(GlobError::Brace(text.into())),
                other => (Token::Char(other), other.len_utf8()),
            };
            tokens.push(token);
            rest = &rest[length..];
        }
        Ok(Self { text: text.into(), tokens })
    }
}

impl Glob {
    /// Whether `candidate` is one of the names meant. `{name}` matches nothing.
    pub fn matches(&self, candidate: &str) -> bool {
        self.matches_for(candidate, None)
    }

    /// Whether `candidate` is one of the names meant when `{name}` is `name`.
    ///
    /// `name` stands for itself, whatever it holds. If it is empty or holds a slash, `{name}` matches nothing: `a/b` must not
    /// reach into the place of `a`.
    pub fn matches_for(&self, candidate: &str, name: Option<&str>) -> bool {
        let name = name.filter(|name| !name.is_empty() && !name.contains('/'));
        let Some(tokens) = self.expanded(name) else { return false };
        // All ways to match are followed at once: `reached[i]` means that the first i tokens can match what has been read.
        // The cost is bounded by the product of the lengths, whatever the pattern.
        let mut reached = vec![false; tokens.len() + 1];
        reached[0] = true;
        pass_over_nothing(&tokens, &mut reached);
        for character in candidate.chars() {
            let mut next = vec![false; tokens.len() + 1];
            for (index, token) in tokens.iter().enumerate().filter(|(index, _)| reached[*index]) {
                match token {
                    Token::Anything => next[index] = true,
                    Token::Segment if character != '/' => next[index] = true,
                    Token::One if character != '/' => next[index + 1] = true,
                    Token::Char(expected) if *expected == character => next[index + 1] = true,
                    _ => {}
                }
            }
            pass_over_nothing(&tokens, &mut next);
            reached = next;
        }
        reached[tokens.len()]
    }

    /// Whether `{name}` is in it.
    pub fn names_the_identity(&self) -> bool {
        self.tokens.contains(&Token::Name)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn expanded(&self, name: Option<&str>) -> Option<Vec<Token>> {
        let mut tokens = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            match token {
                Token::Name => tokens.extend(name?.chars().map(Token::Char)),
                other => tokens.push(*other),
            }
        }
        Some(tokens)
    }
}

/// Stars also match no text at all.
fn pass_over_nothing(tokens: &[Token], reached: &mut [bool]) {
    for (index, token) in tokens.iter().enumerate() {
        if reached[index] && matches!(token, Token::Segment | Token::Anything) {
            reached[index + 1] = true;
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, candidate: &str) -> bool {
        pattern.parse::<Glob>().unwrap().matches(candidate)
    }

    #[test]
    fn a_star_stops_at_a_slash_and_two_do_not() {
        for (pattern, yes, no) in [
            ("np1/*/heap", "np1/a/heap", "np1/a/b/heap"),
            ("np1/**", "np1/a/b", "np2/a"),
            ("np1/*", "np1/", "np1/a/b"),
            ("**", "", "\0no such thing"),
            ("disk?", "disk1", "disk/"),
            ("*.img", "a.img", "a/b.img"),
            ("a**c", "a/b/c", "a/b"),
            ("", "", "a"),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes}");
            assert!(pattern == "**" || !matches(pattern, no), "{pattern} {no}");
        }
    }

    #[test]
    fn the_name_stands_for_itself_only() {
        let glob: Glob = "np1/{name}/**".parse().unwrap();
        assert!(glob.matches_for("np1/a/heap", Some("a")));
        assert!(!glob.matches_for("np1/b/heap", Some("a")));
        assert!(!glob.matches_for("np1/b/heap", Some("*")), "a star in a name is no pattern");
        assert!(!glob.matches_for("np1/a/b/heap", Some("a/b")), "nobody reaches into another's place");
        assert!(!glob.matches_for("np1//heap", Some("")) && !glob.matches("np1/a/heap"));
    }

    #[test]
    fn braces_that_mean_nothing_are_refused() {
        for text in ["{user}/**", "a}", "{", "{name"] {
            assert_eq!(text.parse::<Glob>(), Err(GlobError::Brace(text.into())));
        }
        assert!(matches!("a".repeat(1025).parse::<Glob>(), Err(GlobError::TooLong(1025))));
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_length_says() {
        let glob: Glob = "*a**".repeat(250).parse().unwrap();
        assert!(!glob.matches(&"b".repeat(4096)));
    }

    /// The plain definition, exponential but obviously right.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', '*', rest @ ..] => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            ['*', rest @ ..] => {
                let end = text.iter().position(|&c| c == '/').unwrap_or(text.len());
                (0..=end).any(|skip| naive(rest, &text[skip..]))
            }
            ['?', rest @ ..] => text.first().is_some_and(|&c| c != '/') && naive(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab/*?]{0,8}", text in "[ab/]{0,8}") {
            let expected = naive(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(&pattern, &text), expected, "{} {}", pattern, text);
        }
    }
}
