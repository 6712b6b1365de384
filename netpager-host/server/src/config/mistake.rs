//! Mistakes in the configuration, told so that they can be corrected: the file, the line, and what was probably meant.

use std::path::Path;

use thiserror::Error;

/// A mistake in the configuration.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{place}{text}")]
pub(crate) struct Mistake {
    place: String,
    text: String,
}

impl Mistake {
    /// A mistake that is not in one line of a file.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { place: String::new(), text: text.into() }
    }

    /// What the TOML reader found wrong in `source`, which came from `path`.
    pub(super) fn in_file(path: &Path, source: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map(|span| source[..span.start.min(source.len())].matches('\n').count() + 1);
        let place = match line {
            Some(line) => format!("{}, line {line}: ", path.display()),
            None => format!("{}: ", path.display()),
        };
        Self { place, text: with_suggestion(error.message()) }
    }
}

/// Adds what was probably meant to serde's ``unknown field `a`, expected one of `b`, `c` ``.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match quoted.next().filter(|_| unknown).and_then(|wrong| nearest(wrong, quoted)) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message.into(),
    }
}

/// The one of `words` that `wrong` was probably meant to be.
pub(super) fn nearest<'w>(wrong: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let likeness = |word: &str| strsim::jaro_winkler(&wrong.to_lowercase(), word);
    let best = words.into_iter().max_by(|left, right| likeness(left).total_cmp(&likeness(right)));
    best.filter(|word| likeness(word) > 0.75)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant_is_suggested() {
        assert_eq!(nearest("qouta", ["size", "quota", "store"]), Some("quota"));
        assert_eq!(nearest("zebra", ["size", "quota", "store"]), None);
        let message = with_suggestion("unknown field `sise`, expected one of `name`, `size`");
        assert!(message.ends_with("did you mean `size`?"), "{message}");
        assert_eq!(with_suggestion("missing field `name`"), "missing field `name`");
    }
}
