//! `netpager-host config`: the configuration, without serving anything.

use std::path::PathBuf;

use clap::Subcommand;

use super::Serve;
use crate::config::{Config, EXAMPLE, File, Mistake};

/// Look at configuration: print an example, check a file, print what is in force.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a file with everything in it, explained.
    Example,
    /// Say what is wrong in a file.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print what `serve` with the same options and environment would do.
    Print(Box<Serve>),
}

impl ConfigCommand {
    pub(crate) fn run(&self) -> Result<(), Mistake> {
        match self {
            Self::Example => print!("{EXAMPLE}"),
            Self::Check { file } => {
                let File { export, pattern, acl, .. } = check(file.clone())?;
                println!("{}: {} exports, {} patterns, {} rules", file.display(), export.len(), pattern.len(), acl.len());
            }
            Self::Print(serve) => print!("{}", Config::load(serve)?),
        }
        Ok(())
    }
}

/// The file at `path`, if a service could be started with it alone.
fn check(path: PathBuf) -> Result<File, Mistake> {
    let serve = Serve { config: Some(path.clone()), ..Serve::default() };
    Config::load(&serve)?;
    File::read(&path)
}
