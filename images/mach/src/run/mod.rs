//! `./mach run`: boots a manifest in QEMU, relays the guest's console, and says whether everything was verified.

pub(crate) mod chaos;
pub(crate) mod child;
pub(crate) mod console;
pub(crate) mod disk;
#[cfg(test)]
mod fakes;
pub(crate) mod guest;
mod host_side;
pub(crate) mod link;
pub(crate) mod net;
pub(crate) mod pki;
pub(crate) mod plan;
pub(crate) mod qemu;
pub(crate) mod report;
pub(crate) mod screen;
pub(crate) mod server;
mod servers;
pub(crate) mod session;
pub(crate) mod signals;
pub(crate) mod table;

use crate::build::Builder;
use crate::cli::RunOptions;
use crate::image::manifest::Manifest;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use net::Net;
use plan::Plan;
use screen::Screen;
use session::{Outcome, Products, Session};
use std::time::Duration;

/// How much of the console is shown again when a run fails.
const TAIL: usize = 40;

pub(crate) fn command(workspace: &Workspace, options: &RunOptions) -> Result<bool> {
    let manifest = Manifest::load(&workspace.root, &options.guest.manifest)?;
    let mut plan = Plan::new(&options.guest, &manifest)?;
    plan.disk_errors = options.disk_errors;
    let net = Net::new(&options.net, &manifest, &options.chaos)?;
    let products = build(workspace, net.starts_host() && !manifest.exports.is_empty())?;
    println!("mach: {}: {}", options.guest.manifest, manifest.summary);
    println!("mach: {}, working set {} MiB", plan.describe(), plan.working_set >> 20);
    let folder = tempfile::Builder::new().prefix("run-").disable_cleanup(options.keep).tempdir_in(workspace.scratch("")?)?;
    let session = Session {
        manifest: &manifest,
        plan: &plan,
        net: &net,
        chaos: &options.chaos,
        timeout: Duration::from_secs(options.timeout),
        extra: &options.qemu,
        folder: folder.path(),
    };
    let outcome = session.run(&products, &mut Screen::standard())?;
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&outcome.report.json(&outcome.failures))? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    conclude(&outcome);
    if options.keep {
        println!("mach: kept {}", folder.path().display());
    }
    Ok(outcome.failures.is_empty())
}

/// Builds what is booted, and netpager-host if a run starts it.
pub(crate) fn build(workspace: &Workspace, with_server: bool) -> Result<Products> {
    let builder = Builder::new(workspace)?;
    let kernel = builder.kernel()?.image;
    let programs = builder.programs()?;
    let server = if with_server { Some(builder.server()?) } else { None };
    Ok(Products { qemu: qemu::program(), kernel, programs, server })
}

/// The table, and the verdict with its reasons.
fn conclude(outcome: &Outcome) {
    if !outcome.report.phases.is_empty() {
        println!("\n{}", table::phases(&outcome.report.phases));
    }
    for error in outcome.guest_errors.iter().take(5) {
        println!("mach: QEMU says of the guest: {error}");
    }
    let seconds = outcome.elapsed.as_secs_f64();
    if outcome.failures.is_empty() {
        println!("mach: verified, {seconds:.1} s");
        return;
    }
    if outcome.report.verdict.is_none() {
        println!("\nmach: the end of the console:");
        println!("{}", tail(&outcome.console));
    }
    for failure in &outcome.failures {
        println!("mach: FAILED: {failure}");
    }
    println!("mach: not verified, {seconds:.1} s");
}

/// The last lines of a console, indented.
pub(crate) fn tail(console: &[String]) -> String {
    if console.is_empty() {
        return "    (the guest printed nothing)".to_owned();
    }
    let from = console.len().saturating_sub(TAIL);
    console[from..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
