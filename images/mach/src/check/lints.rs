//! What cargo itself can check: formatting, and clippy without a warning for host and guest crates.
//!
//! Host crates are the workspace's default members; guest crates are linted for the targets they are built for.

use crate::build::{KERNEL_PACKAGE, USER_PACKAGES};
use crate::toolchain::{GuestToolchain, KERNEL_TARGET, USER_TARGET, host_cargo};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::process::Command;

/// More of cargo's words than this say nothing new.
const MOST_LINES: usize = 120;

pub(crate) fn formatting(workspace: &Workspace) -> Result<Vec<String>> {
    let mut cargo = host_cargo();
    cargo.current_dir(&workspace.root).args(["fmt", "--all", "--check"]);
    problems(cargo)
}

pub(crate) fn host(workspace: &Workspace) -> Result<Vec<String>> {
    let mut cargo = host_cargo();
    cargo.current_dir(&workspace.root).args(["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]);
    problems(cargo)
}

pub(crate) fn kernel(workspace: &Workspace) -> Result<Vec<String>> {
    guest(workspace, KERNEL_TARGET, &[KERNEL_PACKAGE])
}

pub(crate) fn programs(workspace: &Workspace) -> Result<Vec<String>> {
    guest(workspace, USER_TARGET, USER_PACKAGES)
}

fn guest(workspace: &Workspace, target: &str, packages: &[&str]) -> Result<Vec<String>> {
    let mut cargo = GuestToolchain::pick()?.cargo(workspace, "clippy", target);
    // The profile that is booted: its dependencies are there already.
    cargo.args(["--quiet", "--release"]).args(packages.iter().flat_map(|package| ["-p", package]));
    cargo.args(["--", "-D", "warnings"]);
    problems(cargo)
}

/// Runs it; if it is not content, what it says.
fn problems(mut command: Command) -> Result<Vec<String>> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    if output.status.success() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<String> = text.lines().take(MOST_LINES).map(str::to_owned).collect();
    let left = text.lines().count() - lines.len();
    if left > 0 {
        lines.push(format!("… and {left} more lines"));
    }
    lines.push(format!("({})", output.status));
    Ok(lines)
}
