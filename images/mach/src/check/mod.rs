//! `./mach check`: what keeps the house in order. Each check is a list of problems, best empty.
//!
//! `./mach test` runs the same checks first and counts each as a test.

mod arrows;
mod files;
mod lints;
pub(crate) mod metadata;
mod source;
mod steps;
mod unsafe_code;

use crate::workspace::Workspace;
use anyhow::Result;
use files::SourceFile;
use metadata::Metadata;

/// One check's name and what it looks at.
struct Check {
    name: &'static str,
    problems: fn(&House) -> Result<Vec<String>>,
}

/// What the checks look at, read once.
struct House<'a> {
    workspace: &'a Workspace,
    metadata: Metadata,
    files: Vec<SourceFile>,
    architecture: String,
}

const CHECKS: &[Check] = &[
    Check { name: "formatting", problems: |house| lints::formatting(house.workspace) },
    Check { name: "arrows", problems: |house| Ok(arrows::check(&house.architecture, &house.metadata)) },
    Check { name: "unsafe-code", problems: |house| Ok(unsafe_code::check(&house.architecture, &house.metadata, &house.files)) },
    Check { name: "page-life", problems: |house| Ok(steps::check(&house.architecture, &house.files)) },
    Check { name: "file-headers", problems: |house| Ok(files::headers(&house.files)) },
    Check { name: "file-lengths", problems: |house| Ok(files::lengths(&house.files)) },
    Check { name: "machine-paths", problems: |house| Ok(files::machine_paths(&house.files)) },
    Check { name: "clippy-host", problems: |house| lints::host(house.workspace) },
    Check { name: "clippy-kernel", problems: |house| lints::kernel(house.workspace) },
    Check { name: "clippy-programs", problems: |house| lints::programs(house.workspace) },
];

impl<'a> House<'a> {
    fn read(workspace: &'a Workspace) -> Result<Self> {
        // Without the document the checks that read it say what they miss; the others go on.
        let architecture = std::fs::read_to_string(workspace.root.join("ARCHITECTURE.md")).unwrap_or_default();
        let (metadata, files) = (Metadata::read(workspace)?, files::all(workspace)?);
        Ok(Self { workspace, metadata, files, architecture })
    }
}

/// Runs the checks whose name contains `filter`, tells each one's result, in order.
pub(crate) fn each(workspace: &Workspace, wanted: impl Fn(&str) -> bool, mut tell: impl FnMut(&str, Result<(), String>)) -> Result<()> {
    let chosen: Vec<&Check> = CHECKS.iter().filter(|check| wanted(check.name)).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let house = House::read(workspace)?;
    for check in chosen {
        let problems = (check.problems)(&house).unwrap_or_else(|error| vec![format!("{error:#}")]);
        tell(check.name, if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) });
    }
    Ok(())
}

pub(crate) fn command(workspace: &Workspace) -> Result<bool> {
    let mut good = true;
    each(
        workspace,
        |_| true,
        |name, result| match result {
            Ok(()) => println!("check {name} ... ok"),
            Err(problems) => {
                println!("check {name} ... FAILED\n{problems}\n");
                good = false;
            }
        },
    )?;
    Ok(good)
}
