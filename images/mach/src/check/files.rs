//! The files of the tree: what git would commit, and the rules for each: a header, not too long, no paths of one machine.

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// A text file of the tree.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    /// Relative to the top of the tree.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// More lines than a person reads in one sitting.
const MOST_LINES: usize = 450;
/// Where somebody's files live. Written in two pieces, or this file would break its own rule.
const MACHINE_PATHS: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// Every text file that git knows or would add.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<SourceFile>> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut files = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let path = workspace.root.join(name);
        // Deleted but not committed, and binary files, have no text to look at.
        if let Ok(text) = std::fs::read_to_string(&path) {
            files.push(SourceFile { path, name: name.to_owned(), text });
        }
    }
    Ok(files)
}

pub(crate) fn is_rust(file: &SourceFile) -> bool {
    file.name.ends_with(".rs")
}

pub(crate) fn headers(files: &[SourceFile]) -> Vec<String> {
    let headless = |file: &&SourceFile| is_rust(file) && !starts_with_comment(&file.text);
    files.iter().filter(headless).map(|file| format!("{}: the first line does not say what it is", file.name)).collect()
}

fn starts_with_comment(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("//").is_some_and(|rest| !rest.trim_matches(['/', '!', ' ']).is_empty())
}

pub(crate) fn lengths(files: &[SourceFile]) -> Vec<String> {
    let lines = |file: &SourceFile| file.text.lines().count();
    let long = files.iter().filter(|file| is_rust(file) && lines(file) > MOST_LINES);
    long.map(|file| format!("{}: {} lines, more than {MOST_LINES}", file.name, lines(file))).collect()
}

pub(crate) fn machine_paths(files: &[SourceFile]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(path) = MACHINE_PATHS.iter().find(|path| starts_word(line, path)) {
                problems.push(format!("{}:{}: a path of one machine ({path})", file.name, index + 1));
            }
        }
    }
    problems
}

/// Is `path` in the line, and not in the middle of a longer path or address?
fn starts_word(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-./}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { path: name.into(), name: name.into(), text: text.into() }
    }

    #[test]
    fn a_rust_file_says_what_it_is_in_its_first_line() {
        let files = [
            file("a.rs", "//! What it is.\n"),
            file("b.rs", "// What it is.\n"),
            file("c.rs", "use x;\n"),
            file("d.rs", "//!\n"),
            file("e.rs", ""),
            file("f.toml", "x = 1\n"),
        ];
        let named: Vec<String> = headers(&files).iter().map(|problem| problem[..4].to_owned()).collect();
        assert_eq!(named, ["c.rs", "d.rs", "e.rs"]);
    }

    #[test]
    fn long_files_are_named() {
        let files = [file("a.rs", &"x\n".repeat(450)), file("b.rs", &"x\n".repeat(451)), file("c.md", &"x\n".repeat(451))];
        assert_eq!(lengths(&files), ["b.rs: 451 lines, more than 450"]);
    }

    #[test]
    fn paths_of_one_machine_are_found_at_their_line() {
        let home = MACHINE_PATHS[0];
        let bad = format!("ok\nsee {home}me/x\n");
        let fine = format!("https://example.org{home}page\n$x{home}\n");
        assert_eq!(machine_paths(&[file("a", &bad), file("b", &fine[..fine.find('$').unwrap()])]).len(), 1);
        assert!(machine_paths(&[file("a", &bad)])[0].starts_with("a:2:"));
    }
}
