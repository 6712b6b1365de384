//! `netpager-host man`: the manual page, made from the command line itself.

use std::io;

use clap::Args;

/// Print the manual page, in the form `man -l -` reads.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The page of one command instead of the whole program's.
    pub(crate) command: Option<String>,
}

impl Man {
    pub(crate) fn run(&self) -> io::Result<()> {
        let all = super::command();
        let command = match &self.command {
            None => all,
            Some(name) => {
                let found = all.find_subcommand(name).cloned();
                let found = found.ok_or_else(|| io::Error::other(format!("there is no command `{name}`")))?;
                found.name(format!("netpager-host-{name}")).version(env!("CARGO_PKG_VERSION"))
            }
        };
        clap_mangen::Man::new(command).section("8").render(&mut io::stdout().lock())
    }
}
