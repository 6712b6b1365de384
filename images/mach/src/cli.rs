//! What the program can be asked: commands, options, and their help.
//!
//! Only words and numbers; what they come to on this host is decided in `run::plan`.

mod net;

use crate::run::chaos::Chaos;
use crate::run::disk::DiskErrors;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub(crate) use net::{NetOptions, SealChoice};
use std::path::PathBuf;

/// pvmach: a Mach VM personality that runs as a hypervisor guest
#[derive(Debug, Parser)]
#[command(name = "./mach", bin_name = "./mach", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build, boot in QEMU, page, verify
    ///
    /// Boots the tasks of a manifest (images/manifests/NAME.toml, or a path), relays the guest's console, and ends with a
    /// table of what was paged and a verdict. Exit status 0 only if every byte was verified and the guest shut down by itself.
    Run(RunOptions),
    /// The checks, the host tests, then the tests inside QEMU; ends with one line `N passed, M failed`
    Test(TestOptions),
    /// Measure the guest's operations or the host's service beside others, or soak the service
    Bench(BenchOptions),
    /// Build what is booted, and print where it is and how to boot it by hand
    Image(ImageOptions),
    /// Formatting, clippy, arrows between crates, unsafe code, and the other house rules
    Check,
    /// Build the kernel, the EL0 programs and netpager-host, and print where they are; boot nothing
    Build(BuildOptions),
}

#[derive(Debug, Args)]
pub(crate) struct BuildOptions {
    /// Only this, and print only its path
    #[arg(value_enum)]
    pub(crate) part: Option<BuildPart>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BuildPart {
    /// netpager-host
    Host,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) guest: GuestOptions,

    #[command(flatten)]
    pub(crate) net: NetOptions,

    /// Write the figures to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Give up after S seconds
    #[arg(long, value_name = "S", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,

    /// Keep the run's folder (disk, ramdisk, logs) and say where it is
    #[arg(long)]
    pub(crate) keep: bool,

    /// Kill (-9) a part of the host's side in the middle: `kill-host@SECONDS`, or `kill-host@TEXT` when the guest's progress
    /// contains TEXT; or `kill-member@…`
    ///
    /// `kill-host` kills netpager-host and starts it again after a while; its stores become files. May be given more than once.
    ///
    /// `kill-member` starts two more netpager-hosts, of which the guest's one makes a mirror; one of the two is killed for good.
    #[arg(long, value_name = "WHAT")]
    pub(crate) chaos: Vec<Chaos>,

    /// Let the first disk fail: `read@N` or `write@N`, every read or write after the first N
    #[arg(long, value_name = "WHAT")]
    pub(crate) disk_errors: Option<DiskErrors>,

    /// More arguments for QEMU, after `--`
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    pub(crate) qemu: Vec<String>,
}

/// The guest: what is booted, on what machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct GuestOptions {
    /// A name in images/manifests, or a path to a .toml file
    #[arg(default_value = "demo")]
    pub(crate) manifest: String,

    /// The guest's RAM [default: the manifest's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(crate) memory: Option<u32>,

    /// The guest's CPUs [default: the manifest's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cpus: Option<u32>,

    /// The memory the program uses [default: four times the guest's RAM]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) working_set: Option<u32>,

    /// How the guest's instructions are executed; auto takes KVM or HVF on ARM hosts
    #[arg(long, default_value = "auto")]
    pub(crate) accel: AccelChoice,

    /// QEMU's CPU model [default: host under KVM and HVF, else neoverse-n1]
    #[arg(long, value_name = "MODEL")]
    pub(crate) cpu: Option<String>,

    /// The version of the interrupt controller
    #[arg(long, default_value = "auto")]
    pub(crate) gic: GicChoice,

    /// How virtio devices are attached
    #[arg(long, default_value = "pci")]
    pub(crate) bus: Bus,

    /// Enter the kernel at EL2
    #[arg(long)]
    pub(crate) el2: bool,

    /// The link between the guest and netpager-host; auto takes passt when it is installed, or the tap that is named
    #[arg(long, default_value = "auto")]
    pub(crate) link: LinkChoice,

    /// A tap interface that exists and has an IPv4 address on the host
    #[arg(long, value_name = "NAME")]
    pub(crate) tap_name: Option<String>,

    /// The size of every disk [default: the manifest's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) disk_size: Option<u32>,

    /// Print the steps of pages' lives, with times
    #[arg(long)]
    pub(crate) trace: bool,

    /// Count instructions: one guest instruction is one nanosecond, one CPU at a time
    #[arg(long)]
    pub(crate) icount: bool,

    /// What the pattern in memory and the order of accesses depend on
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccelChoice {
    Auto,
    Kvm,
    Hvf,
    Tcg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GicChoice {
    Auto,
    #[value(name = "2")]
    V2,
    #[value(name = "3")]
    V3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bus {
    Pci,
    Mmio,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinkChoice {
    /// The fastest that is there
    Auto,
    /// QEMU's user networking: works everywhere
    User,
    /// passt over a Unix socket
    Passt,
    /// A tap interface (--tap-name, or made for this run: needs CAP_NET_ADMIN)
    Tap,
}

#[derive(Debug, Args)]
pub(crate) struct TestOptions {
    /// Only tests whose name contains FILTER (`check`, `host`, `miri`, `guest`, …); all by default
    #[arg(default_value = "")]
    pub(crate) filter: String,

    /// Leave out Miri and the longer tests inside QEMU
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    #[command(subcommand)]
    pub(crate) what: Benchmark,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    /// Traps, RPCs, faults, tasks and out-of-line memory under `-icount shift=0` with one CPU: exact and repeatable
    Micro(MicroOptions),
    /// netpager-host beside nbdkit, qemu-nbd and nbd-server: the same client in turns, and a verdict on every goal
    Host(HostOptions),
    /// A day's requests to netpager-host in minutes, with faults, kills and restarts, against a model
    Soak(SoakOptions),
}

#[derive(Debug, Args)]
pub(crate) struct MicroOptions {
    /// Write the figures to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Give up after S seconds
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct HostOptions {
    /// Write the figures to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// How often each row is measured on each server; the figures are medians
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// How long one measurement takes
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,

    /// Exit with an error if a goal is missed
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SoakOptions {
    /// How many hours of a busy guest's requests (100 a second) to make
    #[arg(long, value_name = "H", default_value_t = 24.0)]
    pub(crate) hours_worth: f64,

    /// What the requests, faults and restarts depend on
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ImageOptions {
    #[command(flatten)]
    pub(crate) guest: GuestOptions,

    /// Print this one thing only
    #[arg(long, value_name = "WHAT")]
    pub(crate) print: Option<Printed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Printed {
    /// The path of the kernel (arm64 Image)
    Kernel,
    /// The path of the kernel's ELF file, for `-device guest-loader`'s companions and debuggers
    Elf,
    /// The path of the ramdisk (ustar)
    Initrd,
    /// The kernel's command line
    Cmdline,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "mach run --memory 0",
            "mach run --cpus 0",
            "mach run --gic 4",
            "mach run --chaos kill-host",
            "mach run --chaos kill-guest@1",
            "mach run --seal maybe",
            "mach image --tls",
            "mach run --disk-errors read@x",
            "mach run --timeout 0",
            "mach bench macro",
            "mach",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "`{line}` was taken");
        }
    }

    #[test]
    fn arguments_after_two_dashes_go_to_qemu() {
        let cli = Cli::try_parse_from(["mach", "run", "swap", "--", "-d", "int"]).unwrap();
        let Command::Run(options) = cli.command else { panic!("not run") };
        assert_eq!(options.guest.manifest, "swap");
        assert_eq!(options.qemu, ["-d", "int"]);
    }
}
