//! One run from its beginning to its end: host side up, guest booted, lines collected, disturbances done, all of it undone.
//!
//! `./mach run`, the tests inside QEMU and the benchmarks are all sessions; they differ in what they make of the outcome.

use super::chaos::{AWAY, Agenda, Chaos};
use super::console::Line;
use super::guest::{self, End, Watcher};
use super::plan::Plan;
use super::report::Report;
use super::screen::Screen;
use super::server::{self, Server};
use super::{disk, link, qemu};
use crate::image::BootImage;
use crate::image::manifest::Manifest;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What has been built, and the emulator.
#[derive(Clone, Debug)]
pub(crate) struct Products {
    pub(crate) qemu: OsString,
    pub(crate) kernel: PathBuf,
    pub(crate) programs: PathBuf,
    /// Only when the manifest has exports.
    pub(crate) server: Option<PathBuf>,
}

/// What to run.
pub(crate) struct Session<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) plan: &'a Plan,
    pub(crate) chaos: &'a [Chaos],
    pub(crate) timeout: Duration,
    /// More arguments for QEMU.
    pub(crate) extra: &'a [String],
    /// For the disk, the ramdisk, sockets and logs.
    pub(crate) folder: &'a Path,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) report: Report,
    /// The console, raw, its end at least.
    pub(crate) console: Vec<String>,
    pub(crate) elapsed: Duration,
    /// Why the run is not good; empty if it is.
    pub(crate) failures: Vec<String>,
    /// What QEMU found wrong with the guest's use of devices.
    pub(crate) guest_errors: Vec<String>,
    /// How many times netpager-host was killed and came back.
    pub(crate) restarts: usize,
}

impl Session<'_> {
    pub(crate) fn run(&self, products: &Products, screen: &mut Screen) -> Result<Outcome> {
        let mut variables = self.plan.variables();
        let (link, server) = match self.host_side(products, &variables)? {
            Some((link, server)) => (Some(link), Some(server)),
            None => (None, None),
        };
        if let (Some(link), Some(server)) = (&link, &server) {
            link.addresses.set(&mut variables, server.port());
            screen.note(&format!("link: {}; netpager-host on port {}", link.name, server.port()));
        }
        let Products { kernel, programs, .. } = products;
        let boot = BootImage::assemble(kernel, programs, self.manifest, self.plan, &variables, self.folder)?;
        let disks = disk::create_all(self.plan, self.manifest, &variables, self.folder)?;
        let mut arguments = qemu::arguments(self.plan, &boot, &disks, link.as_ref());
        let errors = self.folder.join("guest-errors.log");
        arguments.extend(["-d".into(), "guest_errors,unimp".into(), "-D".into(), errors.clone().into()]);
        arguments.extend(self.extra.iter().map(OsString::from));
        let mut watch = Watch::new(screen, server, self.chaos);
        let end = guest::run(&products.qemu, &arguments, self.timeout, &mut watch)?;
        watch.finish(end, &self.manifest.phases(), &errors)
    }

    /// The link and netpager-host, if the manifest has exports.
    fn host_side(&self, products: &Products, variables: &crate::image::variables::Variables) -> Result<Option<(link::Link, Server)>> {
        if self.manifest.exports.is_empty() {
            if !self.chaos.is_empty() {
                bail!("--chaos: this manifest does not use netpager-host");
            }
            return Ok(None);
        }
        let program = products.server.as_ref().context("netpager-host has not been built")?;
        let link = link::up(self.plan.link, self.plan.tap_name.as_deref(), self.folder)?;
        let exports = server::exports(self.manifest, variables, !self.chaos.is_empty(), self.folder)?;
        let server = Server::start(program, exports, link.listen, self.folder)?;
        Ok(Some((link, server)))
    }
}

/// More than this many lines of console are not kept.
const MOST_LINES: usize = 20_000;

/// Collects lines and disturbs the host's side.
struct Watch<'a> {
    screen: &'a mut Screen,
    report: Report,
    console: Vec<String>,
    server: Option<Server>,
    agenda: Agenda,
    /// Since when netpager-host is away.
    away_since: Option<Duration>,
    /// A disturbance that a line called for.
    called_for: bool,
    restarts: usize,
    elapsed: Duration,
}

impl Watcher for Watch<'_> {
    fn line(&mut self, line: &Line, raw: &str, elapsed: Duration) {
        self.report.take(line);
        self.screen.line(line, elapsed);
        if let Line::Progress(text) = line {
            self.called_for |= self.agenda.due_on(text);
        }
        if self.console.len() == MOST_LINES {
            self.console.drain(..MOST_LINES / 2);
        }
        self.console.push(raw.to_owned());
        self.elapsed = elapsed;
    }

    fn tick(&mut self, elapsed: Duration) -> Result<()> {
        self.elapsed = elapsed;
        let Some(server) = &mut self.server else { return Ok(()) };
        match self.away_since {
            Some(since) if elapsed >= since + AWAY => {
                server.restart()?;
                self.away_since = None;
                self.restarts += 1;
                self.screen.note("chaos: netpager-host is back");
            }
            Some(_) => {}
            None if self.agenda.due_at(elapsed) || std::mem::take(&mut self.called_for) => {
                server.kill();
                self.away_since = Some(elapsed);
                self.screen.note("chaos: netpager-host killed");
            }
            None if server.died() => bail!("netpager-host ended by itself: {}", server.logged().trim()),
            None => {}
        }
        Ok(())
    }
}

impl<'a> Watch<'a> {
    fn new(screen: &'a mut Screen, server: Option<Server>, chaos: &[Chaos]) -> Self {
        Self {
            screen,
            report: Report::default(),
            console: Vec::new(),
            server,
            agenda: Agenda::new(chaos),
            away_since: None,
            called_for: false,
            restarts: 0,
            elapsed: Duration::ZERO,
        }
    }

    fn finish(self, end: End, expected: &[String], errors: &Path) -> Result<Outcome> {
        self.screen.clear();
        if let Some(server) = self.server {
            server.stop();
        }
        let mut failures = self.report.failures(&end, expected);
        let never = self.agenda.left();
        if never > 0 || self.away_since.is_some() {
            failures.push("the guest ended before the disturbances asked for (--chaos) were over".to_owned());
        }
        let guest_errors = std::fs::read_to_string(errors).unwrap_or_default().lines().map(str::to_owned).collect();
        let (report, console, elapsed, restarts) = (self.report, self.console, self.elapsed, self.restarts);
        Ok(Outcome { end, report, console, elapsed, failures, guest_errors, restarts })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{script, tiny_kernel};
    use super::super::plan::tests::options;
    use super::*;

    const SWAP: &str = "summary='s'\n[[disk]]\nname='swap'\nsize='1M'\n[[run]]\nprogram='bench'\nphase='swap'\n";
    const NET: &str = "summary='s'\n[[host]]\nexport='m'\nsize='1M'\n[[run]]\nprogram='bench'\nargs=['${server}']\n";
    const PHASE: &str = r#"@phase {"pager":"swap","verified_pages":4,"corrupt_pages":0}"#;

    /// A folder with a kernel, programs, and whatever a test adds.
    struct Setting {
        folder: tempfile::TempDir,
        products: Products,
    }

    impl Setting {
        fn new(qemu: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            for program in ["bootstrap", "bench"] {
                std::fs::write(path.join(program), "\x7fELF").unwrap();
            }
            let server_body = format!("echo $$ >> '{}/starts'\necho listening on 127.0.0.1:4711\nexec sleep 60\n", path.display());
            let server = Some(script(path, "server", &server_body));
            let qemu = script(path, "qemu", qemu).into();
            let products = Products { qemu, kernel: path.join("kernel"), programs: path.to_owned(), server };
            Self { folder, products }
        }

        /// The real emulator, where there is one, and a guest that says these words.
        fn with_real_qemu(words: &str) -> Option<Self> {
            let qemu = super::qemu::program();
            if std::process::Command::new(&qemu).arg("--version").output().is_err() {
                eprintln!("skipped: no {}", qemu.display());
                return None;
            }
            let mut setting = Self::new("");
            setting.products.qemu = qemu;
            std::fs::write(&setting.products.kernel, tiny_kernel(words)).unwrap();
            Some(setting)
        }

        fn run(&self, manifest: &str, line: &str, chaos: &[&str], extra: &[String]) -> Result<Outcome> {
            let manifest = Manifest::parse(manifest).unwrap();
            let plan = Plan::new(&options(line), &manifest).unwrap();
            let chaos: Vec<Chaos> = chaos.iter().map(|text| text.parse().unwrap()).collect();
            let timeout = Duration::from_secs(60);
            let folder = self.folder.path();
            let session = Session { manifest: &manifest, plan: &plan, chaos: &chaos, timeout, extra, folder };
            session.run(&self.products, &mut Screen::silent())
        }

        fn starts(&self) -> usize {
            let starts = std::fs::read_to_string(self.folder.path().join("starts")).unwrap_or_default();
            starts.lines().count()
        }
    }

    #[test]
    fn a_run_without_a_host_side_verifies() {
        let setting = Setting::new(&format!("echo '{PHASE}'\necho '@verdict ok'\n"));
        let outcome = setting.run(SWAP, "", &[], &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert_eq!(outcome.console.len(), 2);
        assert_eq!(setting.starts(), 0, "nobody asked for netpager-host");
    }

    #[test]
    fn the_guest_is_told_where_the_server_listens() {
        let setting = Setting::new("echo '@verdict ok'\n");
        let outcome = setting.run(NET, "--link user", &[], &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        let ramdisk = std::fs::read(setting.folder.path().join("ramdisk.tar")).unwrap();
        assert!(String::from_utf8_lossy(&ramdisk).contains("run bench bench 10.0.2.2:4711\n"));
        assert_eq!(setting.starts(), 1);
    }

    #[test]
    fn chaos_kills_the_server_once_and_brings_it_back() {
        let setting = Setting::new("echo '@progress random 1 %'\nsleep 1\necho '@verdict ok'\n");
        let outcome = setting.run(NET, "--link user", &["kill-host@random"], &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert_eq!((outcome.restarts, setting.starts()), (1, 2));
    }

    #[test]
    fn chaos_that_never_came_is_a_failure() {
        let setting = Setting::new("echo '@verdict ok'\n");
        let outcome = setting.run(NET, "--link user", &["kill-host@random"], &[]).unwrap();
        assert_eq!(outcome.failures.len(), 1);
        assert!(setting.run(SWAP, "", &["kill-host@1"], &[]).is_err(), "no netpager-host to kill");
    }

    #[test]
    fn a_server_that_dies_by_itself_ends_the_run() {
        let mut setting = Setting::new("sleep 20\n");
        let body = "echo listening on 127.0.0.1:4711\necho out of memory >&2\n";
        setting.products.server = Some(script(setting.folder.path(), "server", body));
        let error = format!("{:#}", setting.run(NET, "--link user", &[], &[]).unwrap_err());
        assert!(error.contains("ended by itself: out of memory"), "{error}");
    }

    #[test]
    fn what_qemu_logs_about_the_guest_is_kept() {
        let body = "while [ $# -gt 0 ]; do [ \"$1\" = -D ] && echo 'bad offset' > \"$2\"; shift; done\necho '@verdict ok'\n";
        let outcome = Setting::new(body).run("summary='s'\n[[run]]\nprogram='bench'\n", "", &[], &[]).unwrap();
        assert_eq!(outcome.guest_errors, ["bad offset"]);
    }

    /// The real emulator takes every line that we can make, and a guest that powers off ends well.
    #[test]
    fn qemu_boots_every_kind_of_machine() {
        let Some(setting) = Setting::with_real_qemu("hello\r\n@verdict ok\n") else { return };
        let both = "summary='s'\n[[disk]]\nname='a'\nsize='1M'\n[[disk]]\nname='b'\nsize='2M'\n\
            [[host]]\nexport='m'\nsize='1M'\n[[run]]\nprogram='bench'\n";
        for line in [
            "--accel tcg --link user",
            "--accel tcg --link user --bus mmio --gic 2 --cpu cortex-a72 --cpus 1",
            "--accel tcg --link user --el2 --cpu max --cpus 4 --memory 32",
            "--icount --cpus 1 --link user",
        ] {
            let outcome = setting.run(both, line, &[], &[]).unwrap();
            assert_eq!(outcome.failures, Vec::<String>::new(), "{line}: {:?}", outcome.console);
            assert_eq!(outcome.console, ["hello", "@verdict ok"], "{line}");
        }
        let refused = setting.run(both, "--accel tcg --link user", &[], &["-M".into(), "nonsense".into()]).unwrap();
        assert!(matches!(refused.end, End::Failed(_)), "{:?}", refused.end);
        assert!(refused.console.iter().any(|line| line.starts_with("[qemu] ") && line.contains("nonsense")));
    }

    #[test]
    fn qemu_takes_a_disk_that_fails() {
        let Some(setting) = Setting::with_real_qemu("@verdict ok\n") else { return };
        let manifest = Manifest::parse("summary='s'\n[[disk]]\nname='a'\nsize='1M'\n[[run]]\nprogram='bench'\n").unwrap();
        let mut plan = Plan::new(&options("--accel tcg"), &manifest).unwrap();
        plan.disk_errors = Some("read@20".parse().unwrap());
        let timeout = Duration::from_secs(60);
        let folder = setting.folder.path();
        let session = Session { manifest: &manifest, plan: &plan, chaos: &[], timeout, extra: &[], folder };
        let outcome = session.run(&setting.products, &mut Screen::silent()).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new(), "{:?}", outcome.console);
    }
}
