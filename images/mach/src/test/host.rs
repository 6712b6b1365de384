//! Tests on the host: `cargo test` over the default members, and under Miri over the crates that ask for it.

use super::tally::Tally;
use crate::check::metadata::Metadata;
use crate::toolchain::host_cargo;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use std::time::Instant;

/// More of a failing run's words than this are not shown.
const MOST_LINES: usize = 400;
/// proptest looks at its environment; physical addresses are made into pointers on purpose.
const MIRI_FLAGS: &str = "-Zmiri-disable-isolation -Zmiri-permissive-provenance";

/// `cargo test`, all of it even if something fails.
pub(crate) fn all(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    let mut cargo = host_cargo();
    cargo.current_dir(&workspace.root).args(["test", "--quiet", "--no-fail-fast"]);
    cargo_test("host", cargo, tally)
}

/// `cargo miri test` for each crate whose Cargo.toml says `[package.metadata.mach] miri = true`.
pub(crate) fn miri(workspace: &Workspace, tally: &mut Tally, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let metadata = Metadata::read(workspace)?;
    let asking = metadata.packages.iter().filter(|package| package.wants_miri());
    let named: Vec<(String, &str)> = asking.map(|package| (format!("miri::{}", package.name), &*package.name)).collect();
    let there = named.iter().any(|(name, _)| wanted(name)) && miri_is_there();
    for (name, package) in named.iter().filter(|(name, _)| wanted(name)) {
        if !there {
            Tally::skipped(name, "no nightly toolchain with miri (rustup +nightly component add miri rust-src)");
            continue;
        }
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&workspace.root).args(["+nightly", "miri", "test", "--quiet", "-p", package]);
        cargo.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
        cargo.env("MIRIFLAGS", MIRI_FLAGS);
        // Miri is a thousand times slower.
        cargo.env("PROPTEST_CASES", "4");
        cargo_test(name, cargo, tally)?;
    }
    Ok(())
}

/// Miri itself, and the standard library built for it.
fn miri_is_there() -> bool {
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "miri", "setup"]).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Installing is rustup's business, with its own words; here nothing is downloaded.
    cargo.env("RUSTUP_AUTO_INSTALL", "0").status().is_ok_and(|status| status.success())
}

fn cargo_test(name: &str, mut cargo: Command, tally: &mut Tally) -> Result<()> {
    let start = Instant::now();
    cargo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (passed, failed) = counts(&text);
    tally.many(passed, failed);
    println!("test {name}: {passed} passed, {failed} failed ({:.1} s)", start.elapsed().as_secs_f64());
    if output.status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = text.lines().collect();
    println!("{}", lines[lines.len().saturating_sub(MOST_LINES)..].join("\n"));
    if failed == 0 {
        // It did not build, or died without counting: no test, and yet a failure.
        tally.one(name, None, Err(format!("cargo said {}", output.status)));
    }
    Ok(())
}

/// The sums of `test result: ok. 12 passed; 0 failed; …` over all binaries.
fn counts(text: &str) -> (usize, usize) {
    let results = text.lines().filter_map(|line| line.strip_prefix("test result: "));
    results.fold((0, 0), |(passed, failed), line| (passed + before(line, " passed"), failed + before(line, " failed")))
}

/// The number before a word.
fn before(line: &str, word: &str) -> usize {
    let number = line.split(word).next().and_then(|text| text.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_added() {
        let text = "running 3 tests\n...\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            error: 1 target failed\n";
        assert_eq!(counts(text), (13, 2));
        assert_eq!(counts("error: could not compile\n"), (0, 0));
    }
}
