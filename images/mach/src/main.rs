//! The host program behind `./mach`: builder, launcher, test runner and bench runner.
//!
//! It knows the guest only from outside: ELF files go in, console lines come out. The thin shell script at the top of the
//! tree gets the tools and calls it; `cli` says what it can be asked, each command has a module of its own.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod check;
mod cli;
mod image;
mod run;
mod size;
mod test;
mod toolchain;
mod workspace;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match dispatch(cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mach: error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Does what was asked; `false` means that it was done and the answer is no.
fn dispatch(command: cli::Command) -> anyhow::Result<bool> {
    let workspace = workspace::Workspace::find()?;
    match command {
        cli::Command::Run(options) => run::command(&workspace, &options),
        cli::Command::Test(options) => test::command(&workspace, &options),
        cli::Command::Bench(options) => bench::command(&workspace, &options),
        cli::Command::Image(options) => image::command(&workspace, &options),
        cli::Command::Check => check::command(&workspace),
        cli::Command::Build(options) => build::command(&workspace, &options),
    }
}
