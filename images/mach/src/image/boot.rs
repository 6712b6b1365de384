//! The boot manifest: the plain text that the bootstrap task reads from the ramdisk.
//!
//! One line per item, words separated by blanks, `#` starts a comment, the order is the order of starting:
//!
//! ```text
//! pager NAME PROGRAM [default=yes] [key=value …]
//! run NAME PROGRAM [argument …]
//! ```
//!
//! A run starts when the one before it has ended; after the last one bootstrap prints its verdict and powers off.

use super::manifest::Manifest;
use super::variables::Variables;
use anyhow::{Result, bail};
use std::fmt::Write;

/// The boot manifest of `manifest` with the variables of one run.
pub(crate) fn text(manifest: &Manifest, variables: &Variables) -> Result<String> {
    let mut text = format!("# {}\n", manifest.summary.replace('\n', " "));
    for pager in &manifest.pagers {
        let default = if pager.default { " default=yes" } else { "" };
        let words = words(&pager.args, variables)?;
        writeln!(text, "pager {} {}{default}{words}", word(&pager.name)?, word(&pager.program)?)?;
    }
    for run in &manifest.runs {
        let name = run.name.as_deref().unwrap_or(&run.program);
        let words = words(&run.args, variables)?;
        writeln!(text, "run {} {}{words}", word(name)?, word(&run.program)?)?;
    }
    Ok(text)
}

fn words(args: &[String], variables: &Variables) -> Result<String> {
    let mut words = String::new();
    for arg in args {
        for expanded in variables.words(arg)? {
            words.push(' ');
            words.push_str(word(&expanded)?);
        }
    }
    Ok(words)
}

/// The format has no quotes: what it cannot say is refused here, not misread there.
fn word(text: &str) -> Result<&str> {
    if text.is_empty() || text.starts_with('#') || text.contains(char::is_whitespace) {
        bail!("`{text}` cannot be one word of a boot manifest: no blanks, not empty, no # at its start");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = r#"
        summary = "both"
        [[pager]]
        name = "swap"
        program = "swap-pager"
        args = ["device=vda"]
        default = true
        [[pager]]
        name = "net"
        program = "net-pager"
        args = ["ip=${ip}", "server=${server}", "${net_options}"]
        [[run]]
        name = "first"
        program = "pagebench"
        args = ["--seed", "${seed}"]
        [[run]]
        program = "hello"
    "#;

    #[test]
    fn one_line_per_item_in_order() {
        let manifest = Manifest::parse(BOTH).unwrap();
        let expected = "# both\n\
            pager swap swap-pager default=yes device=vda\n\
            pager net net-pager ip=10.0.2.15/24 server=10.0.2.2:4000 seal=yes foreign=take\n\
            run first pagebench --seed 7\n\
            run hello hello\n";
        assert_eq!(text(&manifest, &Variables::example()).unwrap(), expected);
    }

    #[test]
    fn what_is_not_one_word_is_refused() {
        for bad in ["two words", "", "#comment", "line\\nbreak"] {
            let manifest = format!("summary='s'\n[[run]]\nprogram='p'\nargs=[\"{bad}\"]\n");
            let manifest = Manifest::parse(&manifest).unwrap();
            assert!(text(&manifest, &Variables::example()).is_err(), "`{bad}` was taken");
        }
    }
}
