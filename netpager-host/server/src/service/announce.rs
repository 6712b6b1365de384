//! The lines on standard output that say where clients may come.

use std::io::{self, Write};

use crate::exports::Catalogue;
use crate::listener::Listener;

/// Exports shown; whoever has more knows their names.
const SHOWN_MAX: usize = 20;

/// Says where clients may come. Whoever started us may wait for these lines, so they must not stay in a buffer.
pub(super) fn announce(listeners: &[Listener], admin: Option<&String>, catalogue: &Catalogue) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for listener in listeners {
        writeln!(stdout, "listening on {}", listener.address())?;
    }
    stdout.flush()?;
    // The rest is for people. A program that read what it wanted may have closed its end by now.
    match describe(&mut stdout, listeners, admin, catalogue) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn describe(out: &mut impl Write, listeners: &[Listener], admin: Option<&String>, catalogue: &Catalogue) -> io::Result<()> {
    if let Some(address) = admin {
        writeln!(out, "status and metrics at {address}")?;
    }
    let (entries, policy) = (catalogue.entries(), catalogue.policy());
    for listener in listeners {
        writeln!(out, "{} ({})", listener.uri(""), listener.protection())?;
        for entry in entries.iter().take(SHOWN_MAX) {
            let exclusive = if entry.spec.exclusive { ", one client at a time" } else { "" };
            writeln!(out, "  {}   {}{exclusive}", listener.uri(entry.name()), entry.describe())?;
        }
        if entries.len() > SHOWN_MAX {
            writeln!(out, "  … and {} more exports", entries.len() - SHOWN_MAX)?;
        }
        for pattern in &policy.patterns {
            let spec = &pattern.spec;
            writeln!(out, "  {}   made on demand: {} in {}, kept: {}", listener.uri(&spec.names), spec.size, spec.store, spec.lifetime)?;
        }
    }
    out.flush()
}
