//! `./mach test`: the checks, the host tests, Miri, then the tests inside QEMU; all counted in one line at the end.
//!
//! A name is `check::…`, `host`, `miri::CRATE` or `guest::TOPIC::…`; the filter is a part of it.

mod boot;
mod c_program;
mod guest;
mod host;
mod kept;
mod network;
mod paging;
mod peer;
mod tally;
mod trouble;

use crate::check;
use crate::cli::TestOptions;
use crate::image::manifest::Manifest;
use crate::run::session::Products;
use crate::run::signals::Signals;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use guest::GuestTest;
use tally::Tally;

/// The tables of tests inside QEMU.
const TOPICS: &[(&str, &[GuestTest])] =
    &[("boot", boot::TESTS), ("paging", paging::TESTS), ("network", network::TESTS), ("trouble", trouble::TESTS)];

pub(crate) fn command(workspace: &Workspace, options: &TestOptions) -> Result<bool> {
    let mut tally = Tally::default();
    if let Err(error) = all(workspace, options, &mut tally) {
        tally.one("runner", None, Err(format!("{error:#}")));
    }
    Ok(tally.finish())
}

fn all(workspace: &Workspace, options: &TestOptions, tally: &mut Tally) -> Result<()> {
    let wanted = |name: &str| name.contains(&options.filter);
    let checks =
        check::each(workspace, |name| wanted(&format!("check::{name}")), |name, result| tally.one(&format!("check::{name}"), None, result));
    if let Err(error) = checks {
        tally.one("check", None, Err(format!("{error:#}")));
    }
    if wanted("host") {
        host::all(workspace, tally)?;
    }
    if !options.quick {
        host::miri(workspace, tally, wanted)?;
    }
    in_qemu(workspace, options, tally)
}

fn in_qemu(workspace: &Workspace, options: &TestOptions, tally: &mut Tally) -> Result<()> {
    let topics = TOPICS.iter().flat_map(|(topic, tests)| tests.iter().map(move |test| (topic, test)));
    let named = topics.map(|(topic, test)| (format!("guest::{topic}::{}", test.name), test));
    let chosen: Vec<(String, &GuestTest)> =
        named.filter(|(name, test)| name.contains(&options.filter) && (test.quick || !options.quick)).collect();
    let c_program = c_program::NAME.contains(&options.filter);
    if chosen.is_empty() && !c_program {
        return Ok(());
    }
    let products = build(workspace, &chosen)?;
    let signals = Signals::listen()?;
    for (name, test) in chosen {
        if signals.caught() {
            tally.one("runner", None, Err("interrupted".to_owned()));
            return Ok(());
        }
        test.run(&name, workspace, &products, tally);
    }
    if c_program && !signals.caught() {
        c_program::run(workspace, &products, tally);
    }
    Ok(())
}

/// Builds once for all.
fn build(workspace: &Workspace, tests: &[(String, &GuestTest)]) -> Result<Products> {
    let manifests: Vec<Manifest> =
        tests.iter().map(|(_, test)| test.manifest(workspace)).collect::<Result<_>>().context("a test's manifest")?;
    crate::run::build(workspace, manifests.iter().any(|manifest| !manifest.exports.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::net::Net;
    use crate::run::plan::Plan;
    use std::path::Path;

    #[test]
    fn every_line_of_the_tables_can_be_run() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let workspace = Workspace { root, target: "unused".into() };
        let mut names = Vec::new();
        for (topic, tests) in TOPICS {
            for test in *tests {
                let options = test.options().unwrap();
                let manifest = test.manifest(&workspace).unwrap();
                Plan::new(&options.guest, &manifest).unwrap();
                Net::new(&options.net, &manifest, &options.chaos).unwrap();
                names.push(format!("{topic}::{}", test.name));
            }
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "two tests have the same name");
    }
}
