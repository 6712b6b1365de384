//! Builds the guest and the host service: one cargo call for each target.
//!
//! Which crates are guest crates is written here once; `check` lints the same lists. Link scripts and flags belong to the
//! crates themselves (their build scripts), so nothing is passed here but the target.

use crate::cli::{BuildOptions, BuildPart};
use crate::image::flat;
use crate::toolchain::{GuestToolchain, KERNEL_TARGET, USER_TARGET, host_cargo};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel's package and binary.
pub(crate) const KERNEL_PACKAGE: &str = "kernel";
/// The packages with EL0 binaries.
pub(crate) const USER_PACKAGES: &[&str] = &["bootstrap", "programs", "swap-pager", "net-pager", "example-pager"];
/// The host service's package and binary.
pub(crate) const SERVER_PACKAGE: &str = "netpager-host";
/// What loads and measures it, and its binary.
const BENCH: (&str, &str) = ("bench", "netpager-bench");

/// The built kernel, twice: as what a boot loader takes, and as what a debugger takes.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    pub(crate) elf: PathBuf,
}

/// Builds things of one workspace with one choice of toolchains.
pub(crate) struct Builder<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) guest: GuestToolchain,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(workspace: &'a Workspace) -> Result<Self> {
        Ok(Self { workspace, guest: GuestToolchain::pick()? })
    }

    /// The kernel's ELF file, and the arm64 Image made of it.
    pub(crate) fn kernel(&self) -> Result<Kernel> {
        let mut cargo = self.guest.cargo(self.workspace, "build", KERNEL_TARGET);
        cargo.args(["--release", "-p", KERNEL_PACKAGE]);
        finish(cargo, "the kernel")?;
        let elf = self.workspace.target.join(KERNEL_TARGET).join("release").join(KERNEL_PACKAGE);
        let image = self.workspace.scratch("boot")?.join("Image");
        let bytes = std::fs::read(&elf).with_context(|| format!("cannot read the kernel {}", elf.display()))?;
        let flat = flat::from_elf(&bytes).with_context(|| format!("the kernel {} cannot be booted", elf.display()))?;
        replace(&image, &flat).with_context(|| format!("cannot write {}", image.display()))?;
        Ok(Kernel { image, elf })
    }

    /// The folder with the EL0 programs.
    pub(crate) fn programs(&self) -> Result<PathBuf> {
        let mut cargo = self.guest.cargo(self.workspace, "build", USER_TARGET);
        cargo.arg("--release").args(USER_PACKAGES.iter().flat_map(|package| ["-p", package]));
        finish(cargo, "the EL0 programs")?;
        Ok(self.workspace.target.join(USER_TARGET).join("release"))
    }

    /// The host service's binary.
    pub(crate) fn server(&self) -> Result<PathBuf> {
        self.host(SERVER_PACKAGE, SERVER_PACKAGE)
    }

    /// The load generator's binary.
    pub(crate) fn bench(&self) -> Result<PathBuf> {
        let (package, binary) = BENCH;
        self.host(package, binary)
    }

    fn host(&self, package: &str, binary: &str) -> Result<PathBuf> {
        let mut cargo = host_cargo();
        cargo.current_dir(&self.workspace.root).args(["build", "--release", "-p", package]);
        finish(cargo, package)?;
        Ok(self.workspace.target.join("release").join(binary))
    }
}

/// Puts the whole file in place at once: another run may be booting the one that is there.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().context("no folder")?)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Runs cargo: silent when there is nothing to do and nobody watches, with its progress bar when somebody does.
fn finish(mut cargo: Command, what: &str) -> Result<()> {
    if !std::io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    let status = cargo.status().with_context(|| format!("cannot run {:?}", cargo.get_program()))?;
    if !status.success() {
        bail!("{what} cannot be built (cargo said {status})");
    }
    Ok(())
}

/// `./mach build`.
pub(crate) fn command(workspace: &Workspace, options: &BuildOptions) -> Result<bool> {
    let builder = Builder::new(workspace)?;
    if let Some(BuildPart::Host) = options.part {
        println!("{}", builder.server()?.display());
        return Ok(true);
    }
    let kernel = builder.kernel()?;
    println!("kernel    {}", kernel.image.display());
    println!("          {}", kernel.elf.display());
    println!("programs  {}", builder.programs()?.display());
    println!("server    {}", builder.server()?.display());
    Ok(true)
}
