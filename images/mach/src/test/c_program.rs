//! A C program that only knows the published ABI, booted as a bootstrap module without any ramdisk of ours.
//!
//! It is compiled with Debian's cross compiler and handed over by QEMU's guest-loader, with the boot script line that GNU
//! Mach takes. Its source is `images/mach/c/abi.c`.

use super::tally::Tally;
use crate::image::BootImage;
use crate::image::manifest::Manifest;
use crate::run::console::Line;
use crate::run::guest::{self, Watcher};
use crate::run::plan::Plan;
use crate::run::report::Report;
use crate::run::session::Products;
use crate::run::{qemu, tail};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) const NAME: &str = "guest::c-program";

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const FLAGS: &[&str] = &[
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O2",
    "-ffreestanding",
    "-nostdlib",
    "-static",
    "-fno-pie",
    "-no-pie",
    "-fno-stack-protector",
    "-mgeneral-regs-only",
    "-Wl,-z,max-page-size=4096,-z,noexecstack,--build-id=none",
];
/// The boot script line: the first word is argv[0], the others are what the program finds in argv.
const BOOT_LINE: &str = "abi ${host-port} ${device-port} $(task-create) $(task-resume)";
/// Inside RAM, away from where QEMU puts the kernel and the device tree.
const MODULE_ADDRESS: u64 = 0x4600_0000;
const TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) fn run(workspace: &Workspace, products: &Products, tally: &mut Tally) {
    let start = Instant::now();
    let result = boot(workspace, products).unwrap_or_else(|error| Err(format!("{error:#}")));
    tally.one(NAME, Some(start.elapsed()), result);
}

fn boot(workspace: &Workspace, products: &Products) -> Result<Result<(), String>> {
    let folder = tempfile::Builder::new().prefix("test-").tempdir_in(workspace.scratch("")?)?;
    let program = compile(workspace, folder.path())?;
    // No manifest is booted; an empty one says what the machine is.
    let manifest = Manifest::parse("summary = 'a bootstrap module'\n[guest]\nmemory = 128\n[[run]]\nprogram = 'abi'\n")?;
    let options = super::guest::GuestTest::options_of("conform --accel tcg")?;
    let plan = Plan::new(&options.guest, &manifest)?;
    let boot = BootImage { kernel: products.kernel.clone(), initrd: None, cmdline: String::new() };
    let mut arguments = qemu::arguments(&plan, &boot, &[], None);
    let loader = format!("guest-loader,addr={MODULE_ADDRESS:#x},kernel={},bootargs={BOOT_LINE}", program.display());
    arguments.extend(["-device".into(), loader.into()]);
    let mut watch = Watch::default();
    let end = guest::run(&products.qemu, &arguments, TIMEOUT, &mut watch)?;
    let mut wrong = watch.report.failures(&end, &[]);
    if watch.report.tests.is_empty() {
        wrong.push("it reported no test".to_owned());
    }
    if wrong.is_empty() {
        return Ok(Ok(()));
    }
    Ok(Err(format!("  {}\n  the end of the console:\n{}", wrong.join("\n  "), tail(&watch.console))))
}

fn compile(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let program = folder.join("abi");
    let source = workspace.root.join("images/mach/c/abi.c");
    let mut compiler = Command::new(COMPILER);
    compiler.args(FLAGS).arg("-o").arg(&program).arg(source);
    let output = compiler.output().with_context(|| format!("no {COMPILER} (Debian package gcc-aarch64-linux-gnu)"))?;
    if !output.status.success() {
        bail!("{COMPILER}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(program)
}

#[derive(Default)]
struct Watch {
    report: Report,
    console: Vec<String>,
}

impl Watcher for Watch {
    fn line(&mut self, line: &Line, raw: &str, _: Duration) {
        self.report.take(line);
        self.console.push(raw.to_owned());
    }

    fn tick(&mut self, _: Duration) -> Result<()> {
        Ok(())
    }
}
