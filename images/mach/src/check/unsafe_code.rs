//! Unsafe code: only in the crates that ARCHITECTURE.md names, forbidden by the compiler in all others.
//!
//! The line there reads `unsafe crates: frames, kernel, …`. Clippy sees to the proofs (`undocumented_unsafe_blocks`).

use super::files::{SourceFile, is_rust};
use super::metadata::{Metadata, Package};
use super::source;

const LINE: &str = "unsafe crates:";

pub(crate) fn check(architecture: &str, metadata: &Metadata, files: &[SourceFile]) -> Vec<String> {
    let Some(named) = named(architecture) else {
        return vec![format!("ARCHITECTURE.md has no line `{LINE} …`")];
    };
    let known = |name: &&String| metadata.packages.iter().any(|package| package.name == **name);
    let strangers = named.iter().filter(|name| !known(name));
    let mut problems: Vec<String> = strangers.map(|name| format!("`{LINE}` names {name}, which is no crate")).collect();
    for package in metadata.packages.iter().filter(|package| !named.contains(&package.name)) {
        problems.extend(in_safe_crate(package, files));
    }
    problems
}

fn named(architecture: &str) -> Option<Vec<String>> {
    let line = architecture.lines().find_map(|line| line.trim().trim_matches(['`', '*']).strip_prefix(LINE))?;
    let names = line.split(',').map(|name| name.trim().trim_matches(['`', '*', '.']).to_owned());
    Some(names.filter(|name| !name.is_empty()).collect())
}

fn in_safe_crate(package: &Package, files: &[SourceFile]) -> Vec<String> {
    let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
    let own = files.iter().filter(|file| is_rust(file) && file.path.starts_with(folder));
    let mut problems = Vec::new();
    for file in own {
        let code = source::code(&file.text);
        let lines = code.lines().enumerate().filter(|(_, line)| source::words(line).any(|word| word == "unsafe"));
        problems.extend(lines.map(|(index, _)| format!("{}:{}: unsafe in the crate {}", file.name, index + 1, package.name)));
    }
    for target in package.roots() {
        if let Some(file) = files.iter().find(|file| file.path == target.src_path)
            && !forbids(&file.text)
        {
            problems.push(format!("{}: no #![forbid(unsafe_code)]", file.name));
        }
    }
    problems
}

fn forbids(text: &str) -> bool {
    let code: String = source::code(text).split_whitespace().collect();
    code.contains("#![forbid(unsafe_code)]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(names: &[&str]) -> Metadata {
        let packages = names.iter().map(|name| {
            let target = json!({"kind": ["lib"], "src_path": format!("/w/{name}/src/lib.rs")});
            let path = format!("/w/{name}/Cargo.toml");
            json!({"name": name, "manifest_path": path, "dependencies": [], "targets": [target], "metadata": null})
        });
        serde_json::from_value(json!({ "packages": packages.collect::<Vec<_>>() })).unwrap()
    }

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { path: format!("/w/{name}").into(), name: name.into(), text: text.into() }
    }

    const DOCUMENT: &str = "Text.\n\nunsafe crates: `frames`, kernel\n";

    #[test]
    fn named_crates_may_and_others_may_not() {
        let files = [
            file("frames/src/lib.rs", "unsafe {}"),
            file("vm/src/lib.rs", "//! unsafe?\n#![forbid(unsafe_code)]\n"),
            file("vm/src/map.rs", "// x\nfn f() {\n  unsafe { g() }\n}\n\"unsafe\""),
            file("ipc/src/lib.rs", "//! #![forbid(unsafe_code)]\n"),
            file("ipc/README.md", "No unsafe code.\n"),
        ];
        let problems = check(DOCUMENT, &metadata(&["frames", "kernel", "vm", "ipc"]), &files);
        assert_eq!(problems, ["vm/src/map.rs:3: unsafe in the crate vm", "ipc/src/lib.rs: no #![forbid(unsafe_code)]"]);
    }

    #[test]
    fn the_line_must_be_there_and_name_crates() {
        assert_eq!(check("nothing", &metadata(&[]), &[]).len(), 1);
        assert_eq!(check(DOCUMENT, &metadata(&["frames"]), &[]), ["`unsafe crates:` names kernel, which is no crate"]);
    }
}
