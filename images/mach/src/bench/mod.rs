//! `./mach bench`: `micro` here, `host` and `soak` in a module of their own.
//!
//! `micro` runs the guest's `micro` program under `-icount shift=0` and puts its figures beside the peers'. With one CPU and
//! counted instructions a figure is exact: it does not depend on the host, and two runs agree.

mod host;
mod peers;

use crate::cli::{BenchOptions, Benchmark, Cli, Command, MicroOptions, RunOptions};
use crate::image::manifest::Manifest;
use crate::run::net::Net;
use crate::run::plan::Plan;
use crate::run::screen::Screen;
use crate::run::session::{Outcome, Session};
use crate::run::table::{align, grouped};
use crate::run::{build, tail};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use std::time::Duration;

/// The run that measures: what a person would type.
const MICRO: &[&str] = &["mach", "run", "micro", "--icount", "--cpus", "1"];

pub(crate) fn command(workspace: &Workspace, options: &BenchOptions) -> Result<bool> {
    match &options.what {
        Benchmark::Micro(options) => micro(workspace, options),
        Benchmark::Host(options) => host::compare(workspace, options),
        Benchmark::Soak(options) => host::soak(workspace, options),
    }
}

fn micro(workspace: &Workspace, options: &MicroOptions) -> Result<bool> {
    let run = micro_options()?;
    let manifest = Manifest::load(&workspace.root, &run.guest.manifest)?;
    let plan = Plan::new(&run.guest, &manifest)?;
    let products = build(workspace, false)?;
    println!("mach: {}", plan.describe());
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(workspace.scratch("")?)?;
    let session = Session {
        manifest: &manifest,
        plan: &plan,
        net: &Net::default(),
        chaos: &[],
        timeout: Duration::from_secs(options.timeout),
        extra: &[],
        folder: folder.path(),
    };
    let mut outcome = session.run(&products, &mut Screen::standard())?;
    if outcome.failures.is_empty() && outcome.report.benches.is_empty() {
        outcome.failures.push("the guest measured nothing".to_owned());
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&figures(&outcome))? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("\n{}", table(&outcome.report.benches));
    if !outcome.failures.is_empty() {
        println!("mach: the end of the console:\n{}", tail(&outcome.console));
        outcome.failures.iter().for_each(|failure| println!("mach: FAILED: {failure}"));
    }
    Ok(outcome.failures.is_empty())
}

fn micro_options() -> Result<RunOptions> {
    match Cli::try_parse_from(MICRO)?.command {
        Command::Run(options) => Ok(options),
        other => bail!("the benchmark's own options mean {other:?}"),
    }
}

/// Guest instructions per operation: ours first, then the peers'.
fn table(benches: &[(String, u64)]) -> String {
    let heading = ["guest instructions", "pvmach", "GNU Mach", "(kind)", "Linux 6.1", "(tuned)"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (name, instructions) in benches {
        let number = |figure: Option<u64>| figure.map_or("-".to_owned(), grouped);
        rows.push(match peers::find(name) {
            Some(peer) => vec![
                peer.description.to_owned(),
                grouped(*instructions),
                number(peer.mach_as_is),
                number(peer.mach_kind),
                number(peer.linux),
                number(peer.linux_tuned),
            ],
            None => vec![name.clone(), grouped(*instructions)],
        });
    }
    align(&rows)
}

/// The file that `--json` writes.
fn figures(outcome: &Outcome) -> Value {
    let figures = outcome.report.benches.iter().map(|(name, instructions)| {
        let mut figure = json!({ "name": name, "instructions": instructions });
        if let Some(peer) = peers::find(name) {
            figure["description"] = json!(peer.description);
            figure["peers"] = json!({
                "gnu_mach": peer.mach_as_is, "gnu_mach_kind": peer.mach_kind,
                "linux": peer.linux, "linux_tuned": peer.linux_tuned,
            });
        }
        figure
    });
    json!({ "icount": "shift=0", "cpus": 1, "figures": figures.collect::<Vec<_>>(), "ok": outcome.failures.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::Accel;

    #[test]
    fn the_run_counts_instructions_on_one_cpu() {
        let manifest = Manifest::parse("summary='s'\n[guest]\ncpus=4\n[[run]]\nprogram='micro'\n").unwrap();
        let plan = Plan::new(&micro_options().unwrap().guest, &manifest).unwrap();
        assert_eq!((plan.accel, plan.cpus), (Accel::TcgCounted, 1));
    }

    #[test]
    fn figures_stand_beside_the_peers() {
        let table = table(&[("null-trap".into(), 99), ("our-own".into(), 1234)]);
        let lines: Vec<&str> = table.lines().collect();
        let words: Vec<&str> = lines[1].split_whitespace().rev().take(5).collect();
        assert_eq!(words, ["327", "509", "122", "122", "99"]);
        assert!(lines[2].starts_with("our-own") && lines[2].ends_with("1,234"), "{table}");
    }
}
