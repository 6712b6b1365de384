//! PSCI: starting CPUs, ending.

use crate::console::say;
use crate::cpu;
use crate::device_tree::Conduit;
use smccc::psci::{self, error::Error};
use smccc::{Hvc, Smc};
use spin::once::Once;

static CONDUIT: Once<Conduit> = Once::new();

/// Says how PSCI is called.
pub fn init(conduit: Conduit) {
    CONDUIT.call_once(|| conduit);
}

/// Starts the CPU with this affinity at a physical address, with `context` in x0.
pub fn cpu_on(affinity: u64, entry: u64, context: u64) -> Result<(), Error> {
    match CONDUIT.get() {
        Some(Conduit::Hvc) => psci::cpu_on::<Hvc>(affinity, entry, context),
        Some(Conduit::Smc) => psci::cpu_on::<Smc>(affinity, entry, context),
        None => Err(Error::NotSupported),
    }
}

/// Ends the machine.
pub fn power_off() -> ! {
    let result = match CONDUIT.get() {
        Some(Conduit::Hvc) => psci::system_off::<Hvc>(),
        Some(Conduit::Smc) => psci::system_off::<Smc>(),
        None => Err(Error::NotSupported),
    };
    refused("power off", result)
}

/// Starts the machine anew.
pub fn reset() -> ! {
    let result = match CONDUIT.get() {
        Some(Conduit::Hvc) => psci::system_reset::<Hvc>(),
        Some(Conduit::Smc) => psci::system_reset::<Smc>(),
        None => Err(Error::NotSupported),
    };
    refused("reset", result)
}

fn refused(what: &str, result: Result<(), Error>) -> ! {
    say!("the machine doesn't {what}: {result:?}");
    cpu::park()
}
