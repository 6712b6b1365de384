//! Ctrl-C, SIGTERM and SIGHUP: noticed, so that a run can end its children and remove its files first.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Tells whether one of the signals has come since the program started.
pub(crate) struct Signals(Arc<AtomicBool>);

impl Signals {
    /// From the first call on the signals no longer end the program by themselves; whoever waits must ask `caught`.
    pub(crate) fn listen() -> Result<Self> {
        static CAUGHT: OnceLock<Arc<AtomicBool>> = OnceLock::new();
        if let Some(caught) = CAUGHT.get() {
            return Ok(Self(caught.clone()));
        }
        let caught = CAUGHT.get_or_init(|| Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, caught.clone()).context("cannot listen to signals")?;
        }
        Ok(Self(caught.clone()))
    }

    pub(crate) fn caught(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
