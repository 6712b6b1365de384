//! A page's life: its ten steps are the same in ARCHITECTURE.md, in the files that do them, and in the trace's enum.
//!
//! ARCHITECTURE.md numbers them in the section `A page's life` (``1 `Touched` …``); the file that does a step says so in its
//! first line (`(page's life, step 1: Touched)`); `enum Step` in kernel/abi/src/trace.rs lists them in order.

use super::files::SourceFile;
use super::source;

const TRACE: &str = "kernel/abi/src/trace.rs";
const STEPS: usize = 10;

pub(crate) fn check(architecture: &str, files: &[SourceFile]) -> Vec<String> {
    let documented = documented(architecture);
    if documented.len() != STEPS {
        return vec![format!("ARCHITECTURE.md: `A page's life` has {} of {STEPS} steps: {documented:?}", documented.len())];
    }
    let mut problems = Vec::new();
    match files.iter().find(|file| file.name == TRACE).map(|file| variants(&file.text)) {
        None => problems.push(format!("{TRACE} is not there")),
        Some(variants) if variants != documented => {
            problems.push(format!("{TRACE}: enum Step is {variants:?}, ARCHITECTURE.md says {documented:?}"));
        }
        Some(_) => {}
    }
    problems.extend(headers(&documented, files));
    problems
}

/// The first lines of files against the document.
fn headers(documented: &[String], files: &[SourceFile]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = vec![false; documented.len()];
    for file in files {
        let Some((number, name)) = header(&file.text) else { continue };
        match documented.get(number.wrapping_sub(1)) {
            Some(step) if step == name => seen[number - 1] = true,
            _ => problems.push(format!("{}: there is no step {number}: {name}", file.name)),
        }
    }
    for (index, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
        problems.push(format!("no file says that it does step {}: {}", index + 1, documented[index]));
    }
    problems
}

/// The numbered names in the section: a number, then a name in backticks; they count up from 1.
fn documented(architecture: &str) -> Vec<String> {
    let heading = |line: &&str| line.starts_with('#') && line.to_lowercase().contains("a page's life");
    let Some(title) = architecture.lines().find(heading) else { return Vec::new() };
    let section = architecture.split_once(title).map_or("", |(_, after)| after);
    let section = section.split("\n#").next().unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    let pieces: Vec<&str> = section.split('`').collect();
    for pair in pieces.chunks(2) {
        let [before, name] = pair else { break };
        let number = before.trim_end_matches([' ', '.', '*', '|']).rsplit(|c: char| !c.is_ascii_digit()).next();
        if number.and_then(|number| number.parse::<usize>().ok()) == Some(names.len() + 1) {
            names.push((*name).to_owned());
        }
    }
    names
}

/// `… (page's life, step N: Name)` in the first line.
fn header(text: &str) -> Option<(usize, &str)> {
    let (_, after) = text.lines().next()?.split_once("(page's life, step ")?;
    let (number, name) = after.split_once(')')?.0.split_once(": ")?;
    Some((number.parse().ok()?, name))
}

/// The variants of `enum Step`, in order.
fn variants(text: &str) -> Vec<String> {
    let code = source::code(text);
    let body = code.split_once("enum Step").and_then(|(_, after)| after.split_once('{'));
    let body = body.and_then(|(_, after)| after.split_once('}')).map_or("", |(body, _)| body);
    let first_word = |variant: &str| source::words(variant).find(|word| word.starts_with(char::is_uppercase)).map(str::to_owned);
    body.split(',').filter_map(first_word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; STEPS] =
        ["Touched", "Faulted", "Missed", "Asked", "Carried", "Served", "Fetched", "Supplied", "Entered", "Returned"];

    fn document() -> String {
        let steps = NAMES.iter().enumerate().map(|(index, name)| format!("{} `{name}` text (`crate`) → ", index + 1));
        format!("# Other\n1 `No` x\n## 4. A page's life\n\nIt has\n{}\n## Next\n11 `Extra`\n", steps.collect::<String>())
    }

    fn file(name: &str, text: String) -> SourceFile {
        SourceFile { path: name.into(), name: name.into(), text }
    }

    fn files() -> Vec<SourceFile> {
        let variants = NAMES.map(|name| format!("    /// {{ {name}, }}\n    {name} = 1,\n")).concat();
        let mut files = vec![file(TRACE, format!("//! Trace.\n#[repr(u8)]\npub enum Step {{\n{variants}}}\n"))];
        let header = |(index, name)| file(name, format!("//! Does it (page's life, step {}: {name})\n", index + 1));
        files.extend(NAMES.into_iter().enumerate().map(header));
        files
    }

    #[test]
    fn four_times_the_same_is_fine() {
        assert_eq!(check(&document(), &files()), Vec::<String>::new());
    }

    #[test]
    fn a_difference_anywhere_is_found() {
        assert!(check("# nothing", &files())[0].contains("0 of 10"));
        let mut renamed = files();
        renamed[0].text = renamed[0].text.replace("Carried", "Borne");
        assert!(check(&document(), &renamed)[0].contains("enum Step"));
        let mut wrong = files();
        wrong[3].text = wrong[3].text.replace("step 3", "step 4");
        let problems = check(&document(), &wrong);
        assert!(problems[0].contains("no step 4: Missed") && problems[1].contains("step 3: Missed"), "{problems:?}");
        assert_eq!(check(&document(), &files()[..10]), ["no file says that it does step 10: Returned"]);
        assert!(check(&document(), &files()[1..])[0].contains("is not there"));
    }
}
