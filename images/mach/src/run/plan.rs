//! What the options come to on this host: accelerator, CPU model, interrupt controller, sizes.
//!
//! Pure: the facts about the host are a parameter. `qemu` turns the plan into arguments.

use super::disk::DiskErrors;
use crate::cli::{AccelChoice, Bus, GicChoice, GuestOptions, LinkChoice};
use crate::image::manifest::Manifest;
use crate::image::variables::{NET_OPTIONS, Variables};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// As many as the kernel has stacks for (`MAX_CPUS` in kernel/aarch64/src/layout.rs).
const MOST_CPUS: u32 = 8;

/// A machine to boot, with nothing left to choose.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) accel: Accel,
    pub(crate) cpu: String,
    /// The value of `gic-version`.
    pub(crate) gic: &'static str,
    pub(crate) bus: Bus,
    pub(crate) el2: bool,
    pub(crate) link: LinkChoice,
    pub(crate) tap_name: Option<String>,
    pub(crate) working_set: u64,
    /// Replaces the sizes in the manifest.
    pub(crate) disk_size: Option<u64>,
    pub(crate) disk_errors: Option<DiskErrors>,
    pub(crate) trace: bool,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accel {
    Kvm,
    Hvf,
    /// Translated, one host thread for each CPU.
    Tcg,
    /// Translated, one CPU at a time, one instruction is one nanosecond.
    TcgCounted,
}

/// What matters about the machine we run on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub(crate) arm64: bool,
    pub(crate) macos: bool,
    /// May `/dev/kvm` be opened?
    pub(crate) kvm: bool,
}

impl Host {
    pub(crate) fn this() -> Self {
        let kvm = std::fs::OpenOptions::new().read(true).write(true).open(Path::new("/dev/kvm")).is_ok();
        Self { arm64: cfg!(target_arch = "aarch64"), macos: cfg!(target_os = "macos"), kvm }
    }
}

impl Plan {
    pub(crate) fn new(options: &GuestOptions, manifest: &Manifest) -> Result<Self> {
        Self::on(Host::this(), options, manifest)
    }

    pub(crate) fn on(host: Host, options: &GuestOptions, manifest: &Manifest) -> Result<Self> {
        let accel = accel(host, options.accel, options.icount)?;
        let memory_mib = options.memory.unwrap_or(manifest.guest.memory);
        let cpus = options.cpus.unwrap_or(manifest.guest.cpus);
        if cpus > MOST_CPUS {
            bail!("the kernel runs on at most {MOST_CPUS} CPUs, not {cpus}");
        }
        if options.el2 && accel == Accel::Hvf {
            bail!("--el2 needs TCG or KVM");
        }
        let working_set_mib = match options.working_set {
            Some(mib) => mib,
            None => memory_mib.checked_mul(4).context("four times the RAM is too much; say --working-set")?,
        };
        Ok(Self {
            memory_mib,
            cpus,
            accel,
            cpu: options.cpu.clone().unwrap_or_else(|| accel.default_cpu().to_owned()),
            gic: gic(accel, options.gic),
            bus: options.bus,
            el2: options.el2,
            link: options.link,
            tap_name: options.tap_name.clone(),
            working_set: u64::from(working_set_mib) << 20,
            disk_size: options.disk_size.map(|mib| u64::from(mib) << 20),
            disk_errors: None,
            trace: options.trace,
            seed: options.seed,
        })
    }

    /// The variables that do not depend on the network.
    pub(crate) fn variables(&self) -> Variables {
        let mut variables = Variables::default();
        variables.set("working_set", self.working_set);
        variables.set("working_set_x2", self.working_set * 2);
        variables.set("memory", u64::from(self.memory_mib) << 20);
        variables.set("cpus", self.cpus);
        variables.set("seed", self.seed);
        variables.set_list(NET_OPTIONS, Vec::new());
        variables
    }

    /// In words, for the first line that is printed.
    pub(crate) fn describe(&self) -> String {
        let el2 = if self.el2 { ", entered at EL2" } else { "" };
        let plural = if self.cpus == 1 { "" } else { "s" };
        let Self { memory_mib, cpus, cpu, gic, .. } = self;
        let (accel, bus) = (self.accel.name(), self.bus_name());
        format!("{memory_mib} MiB, {cpus} CPU{plural} ({cpu}), {accel}, GIC {gic}, virtio-{bus}{el2}")
    }

    fn bus_name(&self) -> &'static str {
        match self.bus {
            Bus::Pci => "pci",
            Bus::Mmio => "mmio",
        }
    }
}

impl Accel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Hvf => "HVF",
            Self::Tcg => "TCG",
            Self::TcgCounted => "TCG counting instructions",
        }
    }

    fn default_cpu(self) -> &'static str {
        match self {
            Self::Kvm | Self::Hvf => "host",
            Self::Tcg | Self::TcgCounted => "neoverse-n1",
        }
    }
}

fn accel(host: Host, choice: AccelChoice, counted: bool) -> Result<Accel> {
    if counted {
        return match choice {
            AccelChoice::Auto | AccelChoice::Tcg => Ok(Accel::TcgCounted),
            AccelChoice::Kvm | AccelChoice::Hvf => bail!("only TCG can count instructions (--icount)"),
        };
    }
    match choice {
        AccelChoice::Auto if host.arm64 && host.macos => Ok(Accel::Hvf),
        AccelChoice::Auto if host.arm64 && host.kvm => Ok(Accel::Kvm),
        AccelChoice::Auto | AccelChoice::Tcg => Ok(Accel::Tcg),
        AccelChoice::Kvm if !host.arm64 => bail!("KVM can run an AArch64 guest on an AArch64 host only"),
        AccelChoice::Kvm if !host.kvm => bail!("/dev/kvm cannot be opened"),
        AccelChoice::Kvm => Ok(Accel::Kvm),
        AccelChoice::Hvf if !(host.arm64 && host.macos) => bail!("HVF is there on Apple silicon only"),
        AccelChoice::Hvf => Ok(Accel::Hvf),
    }
}

/// Under KVM the controller is the host's own; HVF emulates the newest it can.
fn gic(accel: Accel, choice: GicChoice) -> &'static str {
    match (choice, accel) {
        (GicChoice::V2, _) => "2",
        (GicChoice::V3, _) => "3",
        (GicChoice::Auto, Accel::Kvm) => "host",
        (GicChoice::Auto, Accel::Hvf) => "max",
        (GicChoice::Auto, _) => "3",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::{Cli, Command, RunOptions};
    use clap::Parser;

    const INTEL: Host = Host { arm64: false, macos: false, kvm: true };
    const ARM: Host = Host { arm64: true, macos: false, kvm: true };
    const MAC: Host = Host { arm64: true, macos: true, kvm: false };

    pub(crate) fn options(line: &str) -> RunOptions {
        let words = ["mach", "run"].into_iter().chain(line.split_whitespace());
        let Command::Run(options) = Cli::try_parse_from(words).unwrap().command else { panic!("not run") };
        options
    }

    pub(crate) fn plan(host: Host, line: &str) -> Result<Plan> {
        let manifest = Manifest::parse("summary='s'\n[[run]]\nprogram='p'\n").unwrap();
        Plan::on(host, &options(line).guest, &manifest)
    }

    #[test]
    fn the_accelerator_is_the_fastest_that_can_run_the_guest() {
        assert_eq!(plan(INTEL, "").unwrap().accel, Accel::Tcg);
        assert_eq!(plan(ARM, "").unwrap().accel, Accel::Kvm);
        assert_eq!(plan(Host { kvm: false, ..ARM }, "").unwrap().accel, Accel::Tcg);
        assert_eq!(plan(MAC, "").unwrap().accel, Accel::Hvf);
        assert_eq!(plan(ARM, "--icount").unwrap().accel, Accel::TcgCounted);
    }

    #[test]
    fn what_the_host_cannot_do_is_an_error() {
        assert!(plan(INTEL, "--accel kvm").is_err());
        assert!(plan(Host { kvm: false, ..ARM }, "--accel kvm").is_err());
        assert!(plan(ARM, "--accel hvf").is_err());
        assert!(plan(ARM, "--accel kvm --icount").is_err());
        assert!(plan(INTEL, "--cpus 9").is_err());
        assert!(plan(MAC, "--el2").is_err());
    }

    #[test]
    fn cpu_and_interrupt_controller_follow_the_accelerator() {
        let chosen = |host, line| plan(host, line).map(|plan| (plan.cpu, plan.gic)).unwrap();
        assert_eq!(chosen(INTEL, ""), ("neoverse-n1".into(), "3"));
        assert_eq!(chosen(ARM, ""), ("host".into(), "host"));
        assert_eq!(chosen(MAC, ""), ("host".into(), "max"));
        assert_eq!(chosen(ARM, "--accel tcg --cpu max --gic 2"), ("max".into(), "2"));
    }

    #[test]
    fn the_working_set_is_four_times_the_ram_unless_said() {
        assert_eq!(plan(INTEL, "").unwrap().working_set, 256 << 20);
        assert_eq!(plan(INTEL, "--memory 32").unwrap().working_set, 128 << 20);
        assert_eq!(plan(INTEL, "--memory 32 --working-set 512").unwrap().working_set, 512 << 20);
    }
}
