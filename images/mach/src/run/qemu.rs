//! QEMU's command line for a plan, an image, disks and a link.
//!
//! Pure, so that the choice of every word can be tested and `./mach image` can print the same line that `./mach run` uses.

use super::disk::DiskFile;
use super::link::Link;
use super::plan::{Accel, Plan};
use crate::cli::Bus;
use crate::image::BootImage;
use std::ffi::OsString;
use std::path::Path;

/// The emulator: `MACH_QEMU`, else the one on PATH.
pub(crate) fn program() -> OsString {
    std::env::var_os("MACH_QEMU").unwrap_or_else(|| "qemu-system-aarch64".into())
}

/// All arguments.
pub(crate) fn arguments(plan: &Plan, boot: &BootImage, disks: &[DiskFile], link: Option<&Link>) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.machine(plan);
    arguments.pair("-kernel", &boot.kernel);
    if let Some(initrd) = &boot.initrd {
        arguments.pair("-initrd", initrd);
    }
    arguments.pair("-append", &boot.cmdline);
    for (index, disk) in disks.iter().enumerate() {
        arguments.disk(plan.bus, index, disk);
    }
    if let Some(link) = link {
        arguments.network(plan.bus, link);
    }
    arguments.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }

    fn machine(&mut self, plan: &Plan) {
        let el2 = if plan.el2 { ",virtualization=on" } else { "" };
        self.pair("-M", format!("virt,gic-version={}{el2}", plan.gic));
        self.pair("-cpu", plan.cpu.as_str());
        self.pair("-smp", plan.cpus.to_string());
        self.pair("-m", format!("{}M", plan.memory_mib));
        match plan.accel {
            Accel::Kvm => self.pair("-accel", "kvm"),
            Accel::Hvf => self.pair("-accel", "hvf"),
            Accel::Tcg => self.pair("-accel", "tcg,thread=multi"),
            Accel::TcgCounted => {
                self.pair("-accel", "tcg,thread=single");
                self.pair("-icount", "shift=0");
            }
        }
        self.0.push("-nodefaults".into());
        self.pair("-display", "none");
        self.pair("-serial", "stdio");
        self.0.push("-no-reboot".into());
        if plan.bus == Bus::Mmio {
            // Without it the devices are of the legacy kind, which the drivers do not speak.
            self.pair("-global", "virtio-mmio.force-legacy=false");
        }
    }

    fn disk(&mut self, bus: Bus, index: usize, disk: &DiskFile) {
        let id = format!("disk{index}");
        let image = escape(&disk.image);
        // A swap disk need not survive the host: its cache may be the host's, flushes still work.
        let drive = match &disk.failures {
            None => format!("if=none,id={id},format=raw,file={image},cache=writeback,discard=unmap"),
            // Errors go to the guest; the default would stop the machine at some of them.
            Some(rules) => format!(
                "if=none,id={id},driver=raw,file.driver=blkdebug,file.config={},file.image.driver=file,\
                 file.image.filename={image},cache=writeback,rerror=report,werror=report",
                escape(rules)
            ),
        };
        self.pair("-drive", drive);
        self.pair("-device", device(bus, "blk", &format!("drive={id},serial={}", disk.serial)));
    }

    fn network(&mut self, bus: Bus, link: &Link) {
        self.pair("-netdev", link.netdev.as_str());
        let mtu = link.mtu.map(|mtu| format!(",host_mtu={mtu}")).unwrap_or_default();
        self.pair("-device", device(bus, "net", &format!("netdev=net{mtu}")));
    }
}

/// A modern virtio device; `romfile=` because there is no firmware that would run its boot ROM.
fn device(bus: Bus, kind: &str, properties: &str) -> String {
    match bus {
        Bus::Pci => format!("virtio-{kind}-pci,{properties},disable-legacy=on,romfile="),
        Bus::Mmio => format!("virtio-{kind}-device,{properties}"),
    }
}

/// A path inside an option: commas are written twice.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The program and its arguments as a line that a shell takes.
pub(crate) fn shell_line(program: &OsString, arguments: &[OsString]) -> String {
    let words: Vec<String> = [program].into_iter().chain(arguments).map(|word| quote(&word.to_string_lossy())).collect();
    words.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::super::link;
    use super::super::plan::{Host, tests::plan};
    use super::*;

    const HOST: Host = Host { arm64: true, macos: false, kvm: true };

    fn line(options: &str, failures: Option<&str>) -> String {
        let boot = BootImage { kernel: "Image".into(), initrd: Some("r.tar".into()), cmdline: "trace x".into() };
        let disk = DiskFile { serial: "swap".into(), image: "a,b.img".into(), failures: failures.map(Into::into) };
        let arguments = arguments(&plan(HOST, options).unwrap(), &boot, &[disk], Some(&link::user()));
        shell_line(&"qemu".into(), &arguments)
    }

    #[test]
    fn the_usual_machine() {
        let line = line("--accel tcg", None);
        for words in [
            "-M virt,gic-version=3 -cpu neoverse-n1 -smp 2 -m 64M -accel tcg,thread=multi",
            "-nodefaults -display none -serial stdio -no-reboot",
            "-kernel Image -initrd r.tar -append 'trace x'",
            "-drive if=none,id=disk0,format=raw,file=a,,b.img,cache=writeback,discard=unmap",
            "-device virtio-blk-pci,drive=disk0,serial=swap,disable-legacy=on,romfile=",
            "-device virtio-net-pci,netdev=net,disable-legacy=on,romfile=",
        ] {
            assert!(line.contains(words), "no `{words}` in {line}");
        }
    }

    #[test]
    fn the_options_that_change_the_machine() {
        let counted = line("--icount --el2 --gic 2 --cpu cortex-a72 --cpus 1", None);
        assert!(counted.contains("-M virt,gic-version=2,virtualization=on -cpu cortex-a72 -smp 1"), "{counted}");
        assert!(counted.contains("-accel tcg,thread=single -icount shift=0"), "{counted}");
        let mmio = line("--bus mmio", None);
        assert!(mmio.contains("-accel kvm") && mmio.contains("virtio-mmio.force-legacy=false"), "{mmio}");
        assert!(mmio.contains("virtio-blk-device,drive=disk0") && !mmio.contains("-pci"), "{mmio}");
        let failing = line("", Some("rules"));
        assert!(failing.contains("file.driver=blkdebug,file.config=rules") && failing.contains("werror=report"));
    }

    #[test]
    fn a_word_for_the_shell_survives_it() {
        assert_eq!(quote("a=b,c"), "a=b,c");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's"), "'it'\\''s'");
    }
}
