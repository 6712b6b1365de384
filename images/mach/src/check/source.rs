//! Rust source without its comments, strings and characters, so that words can be looked for in the code alone.
//!
//! Not a parser: it only knows where code ends and text begins. Every blanked character becomes a space; lines stay.

/// `text` with everything blanked that is not code.
pub(crate) fn code(text: &str) -> String {
    let mut scanner = Scanner { rest: text, code: String::with_capacity(text.len()) };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    scanner.code
}

/// The words of a piece of code: identifiers and keywords.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
}

impl Scanner<'_> {
    /// Takes one comment, literal, word, or character.
    fn step(&mut self) {
        let rest = self.rest;
        let length = if rest.starts_with("//") {
            return self.blank(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            return self.blank(block_comment(rest));
        } else if let Some(length) = string(rest).or_else(|| character(rest)) {
            return self.blank(length);
        } else {
            let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) }
        };
        self.code.push_str(&rest[..length]);
        self.rest = &rest[length..];
    }

    fn blank(&mut self, length: usize) {
        let (text, rest) = self.rest.split_at(length);
        self.code.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string literal that starts here, with its prefix: `"…"`, `b"…"`, `c"…"`, `r#"…"#`.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !c.is_ascii_alphabetic()).filter(|length| *length <= 2)?;
    if !matches!(&rest[..prefix], "" | "b" | "c" | "r" | "br" | "cr") {
        return None;
    }
    if rest[..prefix].ends_with('r') {
        return raw_string(rest, prefix);
    }
    let inside = rest[prefix..].strip_prefix('"')?;
    let start = prefix + 1;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(start + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

fn raw_string(rest: &str, prefix: usize) -> Option<usize> {
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let start = prefix + hashes;
    rest[start..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest[start + 1..].find(&end).map_or(rest.len(), |at| start + 1 + at + end.len()))
}

/// The length of the character literal that starts here; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let prefix = usize::from(rest.starts_with("b'"));
    let inside = rest[prefix..].strip_prefix('\'')?;
    let mut characters = inside.char_indices();
    if characters.next()?.1 == '\\' {
        // The escaped character itself may be a quote.
        let (at, escaped) = characters.next()?;
        let after = at + escaped.len_utf8();
        return Some(prefix + 1 + after + inside[after..].find('\'')? + 1);
    }
    let (at, quote) = characters.next()?;
    (quote == '\'').then_some(prefix + 1 + at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> String {
        let code = code(text);
        assert_eq!(code.matches('\n').count(), text.matches('\n').count());
        code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        assert_eq!(left("a // unsafe\nb"), "a b");
        assert_eq!(left("a /* unsafe /* nested */ still */ b"), "a b");
        assert_eq!(left(r#"a("unsafe \" still", b)"#), "a( , b)");
        assert_eq!(left(r##"a(r#"unsafe " still"#, br"x", b"y")"##), "a( , , )");
        assert_eq!(left(r"('u', '\'', b'\n', '\u{1f}') unsafe"), "( , , , ) unsafe");
    }

    #[test]
    fn lifetimes_raw_identifiers_and_words_with_r_are_code() {
        assert_eq!(left("fn f<'a>(x: &'a str, r: for_r) {}"), "fn f<'a>(x: &'a str, r: for_r) {}");
        assert_eq!(left("r#type + attr\"x\""), "r#type + attr");
    }

    #[test]
    fn unfinished_text_ends_with_the_file() {
        for text in ["\"abc", "/* abc", "r#\"abc\"", "'", "b'\\", "// x"] {
            code(text);
        }
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("#![forbid(unsafe_code)] unsafe{").collect::<Vec<_>>(), ["forbid", "unsafe_code", "unsafe"]);
    }
}
