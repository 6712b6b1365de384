//! What is booted: the kernel, the ramdisk with the boot manifest and the programs, and the kernel's command line.
//!
//! Built from a manifest and the variables of one run; `run` boots it, `./mach image` prints it for booting by hand.

pub(crate) mod boot;
pub(crate) mod flat;
pub(crate) mod manifest;
pub(crate) mod ramdisk;
pub(crate) mod variables;

use crate::build::Builder;
use crate::cli::{ImageOptions, Printed};
use crate::run::{disk, link, plan::Plan, qemu, server};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use manifest::Manifest;
use ramdisk::DataFile;
use std::path::{Path, PathBuf};
use variables::Variables;

/// The three things a boot loader wants.
#[derive(Clone, Debug)]
pub(crate) struct BootImage {
    pub(crate) kernel: PathBuf,
    /// None when something else brings the programs (a guest-loader).
    pub(crate) initrd: Option<PathBuf>,
    pub(crate) cmdline: String,
}

impl BootImage {
    /// Writes the ramdisk into `folder`.
    pub(crate) fn assemble(
        kernel: &Path,
        programs: &Path,
        manifest: &Manifest,
        plan: &Plan,
        variables: &Variables,
        data: &[DataFile],
        folder: &Path,
    ) -> Result<Self> {
        let text = boot::text(manifest, variables)?;
        let archive = ramdisk::pack(&text, programs, &manifest.programs(), data)?;
        let initrd = folder.join("ramdisk.tar");
        std::fs::write(&initrd, archive).with_context(|| format!("cannot write {}", initrd.display()))?;
        Ok(Self { kernel: kernel.to_owned(), initrd: Some(initrd), cmdline: cmdline(manifest, plan, variables)? })
    }
}

/// The manifest's words, and `trace` when the steps of pages' lives are wanted.
fn cmdline(manifest: &Manifest, plan: &Plan, variables: &Variables) -> Result<String> {
    let mut words = variables.expand(manifest.guest.cmdline.trim())?;
    if plan.trace {
        words.push_str(" trace");
    }
    Ok(words.trim().to_owned())
}

/// `./mach image`: builds everything, with an empty disk and the port of a netpager-host that is started by hand.
pub(crate) fn command(workspace: &Workspace, options: &ImageOptions) -> Result<bool> {
    let manifest = Manifest::load(&workspace.root, &options.guest.manifest)?;
    let plan = Plan::new(&options.guest, &manifest)?;
    let builder = Builder::new(workspace)?;
    let kernel = builder.kernel()?;
    let programs = builder.programs()?;
    let folder = workspace.scratch("image")?;
    let link = link::user();
    let mut variables = plan.variables();
    link.addresses.set(&mut variables, link.addresses.host(HAND_STARTED_PORT));
    let boot = BootImage::assemble(&kernel.image, &programs, &manifest, &plan, &variables, &[], &folder)?;
    match options.print {
        Some(Printed::Kernel) => println!("{}", boot.kernel.display()),
        Some(Printed::Elf) => println!("{}", kernel.elf.display()),
        Some(Printed::Initrd) => println!("{}", display(boot.initrd.as_deref())),
        Some(Printed::Cmdline) => println!("{}", boot.cmdline),
        None => print_all(&plan, &manifest, &variables, &boot, &kernel.elf, &folder)?,
    }
    Ok(true)
}

/// NBD's registered port.
const HAND_STARTED_PORT: u16 = 10809;

fn print_all(plan: &Plan, manifest: &Manifest, variables: &Variables, boot: &BootImage, elf: &Path, folder: &Path) -> Result<()> {
    println!("kernel   {}", boot.kernel.display());
    println!("elf      {}", elf.display());
    println!("initrd   {}", display(boot.initrd.as_deref()));
    println!("cmdline  {}", boot.cmdline);
    let disks = disk::create_all(plan, manifest, variables, folder)?;
    let link = (!manifest.exports.is_empty()).then(link::user);
    if link.is_some() {
        println!("\nFirst the host's side:\n");
        let exports = server::Exports::AsWritten(folder).words(manifest, variables)?;
        let words: Vec<String> = exports.iter().map(|export| format!(" --export {export}")).collect();
        println!("  cargo run --release -p netpager-host -- serve --listen 127.0.0.1:{HAND_STARTED_PORT}{}", words.concat());
    }
    println!("\nBoot it by hand:\n");
    let arguments = qemu::arguments(plan, boot, &disks, link.as_ref());
    println!("  {}", qemu::shell_line(&qemu::program(), &arguments));
    Ok(())
}

fn display(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}
