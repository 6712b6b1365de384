//! `netpager-host verify`: reads all of a store that no service uses, to find what is damaged.

use std::error::Error;

use admin::Progress;
use clap::Args;

use crate::config::{ExportSpec, Size, StoreSpec};
use crate::exports::open_alone;
use crate::scan::{Watch, read_all};

/// Read and verify a store that no service uses. `check` does the same in a running service.
///
/// Stores with checksums (log) tell what is damaged; of the others at least everything is read once.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The store, as after `store=` in `serve --export`.
    store: StoreSpec,
    /// Its size.
    size: Size,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

impl Verify {
    /// Whether all is well.
    pub(crate) fn run(&self) -> Result<bool, Box<dyn Error>> {
        let store = open_alone(&ExportSpec::new("", self.size, self.store.clone()))?;
        let mut watch = Told { progress: Progress::bytes("verifying", Some(store.size()), self.quiet), faults: 0 };
        read_all(&*store, &mut watch);
        println!("{}", watch.progress.finish());
        match watch.faults {
            0 => println!("{}: no damage was found", self.store),
            count => println!("{}: {count} pieces are damaged", self.store),
        }
        Ok(watch.faults == 0)
    }
}

/// What goes to the terminal.
struct Told {
    progress: Progress,
    faults: u64,
}

impl Watch for Told {
    fn done(&mut self, at: u64) -> bool {
        self.progress.set(at);
        true
    }

    fn fault(&mut self, text: String) {
        self.faults += 1;
        self.progress.say(&text);
    }
}
