//! `./mach bench host` and `./mach bench soak`: netpager-host under the load generator of the crate `bench`.
//!
//! Both are built for release, because a debug build would measure itself; what is measured and judged is said there.

use crate::build::Builder;
use crate::cli::{HostOptions, SoakOptions};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// The binary says with this that it could not do what it was asked, as opposed to a measurement that is a no.
const TROUBLE: i32 = 2;

pub(crate) fn compare(workspace: &Workspace, options: &HostOptions) -> Result<bool> {
    let mut words = vec!["--rounds".to_owned(), options.rounds.to_string(), "--seconds".into(), options.seconds.to_string()];
    words.extend(options.strict.then(|| "--strict".into()));
    run(workspace, "compare", &words, options.json.as_deref())
}

pub(crate) fn soak(workspace: &Workspace, options: &SoakOptions) -> Result<bool> {
    let words = ["--hours-worth".to_owned(), options.hours_worth.to_string(), "--seed".into(), options.seed.to_string()];
    run(workspace, "soak", &words, None)
}

fn run(workspace: &Workspace, what: &str, words: &[String], json: Option<&Path>) -> Result<bool> {
    let builder = Builder::new(workspace)?;
    let (server, bench) = (builder.server()?, builder.bench()?);
    let mut command = Command::new(&bench);
    command.arg(what).arg("--server").arg(server).args(words);
    if let Some(path) = json {
        command.arg("--json").arg(path);
    }
    let status = command.status().with_context(|| format!("cannot run {}", bench.display()))?;
    match status.code() {
        Some(TROUBLE) | None => bail!("{what} ended with {status}"),
        Some(code) => Ok(code == 0),
    }
}
