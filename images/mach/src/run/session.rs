//! One run from its beginning to its end: host side up, guest booted, lines collected, disturbances done, all of it undone.
//!
//! `./mach run`, the tests inside QEMU and the benchmarks are all sessions; they differ in what they make of the outcome.

use super::chaos::{AWAY, Agenda, Chaos, Victim};
use super::console::Line;
use super::guest::{self, End, Watcher};
use super::host_side::{HostSide, Wanted};
use super::net::Net;
use super::plan::Plan;
use super::report::Report;
use super::screen::Screen;
use super::servers::Servers;
use super::{disk, qemu};
use crate::image::BootImage;
use crate::image::manifest::Manifest;
use crate::image::variables::{NET_OPTIONS, Variables};
use anyhow::{Result, bail};
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
    pub(crate) net: &'a Net,
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
    /// How many members of its mirror were killed.
    pub(crate) members_lost: usize,
}

impl Session<'_> {
    pub(crate) fn run(&self, products: &Products, screen: &mut Screen) -> Result<Outcome> {
        let mut variables = self.plan.variables();
        let host_side = self.host_side(products, &variables)?;
        let (link, servers, data) = match host_side {
            Some(HostSide { link, servers, address, data, description }) => {
                link.addresses.set(&mut variables, address);
                variables.set_list(NET_OPTIONS, self.net.words());
                screen.note(&format!("link: {}; {description}", link.name));
                (Some(link), servers, data)
            }
            None => (None, None, Vec::new()),
        };
        let Products { kernel, programs, .. } = products;
        let boot = BootImage::assemble(kernel, programs, self.manifest, self.plan, &variables, &data, self.folder)?;
        let disks = disk::create_all(self.plan, self.manifest, &variables, self.folder)?;
        let mut arguments = qemu::arguments(self.plan, &boot, &disks, link.as_ref());
        let errors = self.folder.join("guest-errors.log");
        arguments.extend(["-d".into(), "guest_errors,unimp".into(), "-D".into(), errors.clone().into()]);
        arguments.extend(self.extra.iter().map(OsString::from));
        let mut watch = Watch::new(screen, servers, self.chaos);
        let end = guest::run(&products.qemu, &arguments, self.timeout, &mut watch)?;
        watch.finish(end, &self.manifest.phases(), &errors)
    }

    /// The link and the servers, if the manifest has exports.
    fn host_side(&self, products: &Products, variables: &Variables) -> Result<Option<HostSide>> {
        if self.manifest.exports.is_empty() {
            return Ok(None);
        }
        let Self { net, manifest, plan, chaos, folder, .. } = *self;
        let wanted = Wanted { net, manifest, plan, chaos, program: products.server.as_deref(), folder };
        wanted.up(variables).map(Some)
    }
}

/// More than this many lines of console are not kept.
const MOST_LINES: usize = 20_000;

/// Collects lines and disturbs the host's side.
struct Watch<'a> {
    screen: &'a mut Screen,
    report: Report,
    console: Vec<String>,
    servers: Option<Servers>,
    agenda: Agenda,
    /// Since when netpager-host is away.
    away_since: Option<Duration>,
    /// A disturbance that a line called for.
    called_for: Option<Victim>,
    restarts: usize,
    members_lost: usize,
    elapsed: Duration,
}

impl Watcher for Watch<'_> {
    fn line(&mut self, line: &Line, raw: &str, elapsed: Duration) {
        self.report.take(line);
        self.screen.line(line, elapsed);
        if let Line::Progress(text) = line {
            self.called_for = self.called_for.or_else(|| self.agenda.due_on(text));
        }
        if self.console.len() == MOST_LINES {
            self.console.drain(..MOST_LINES / 2);
        }
        self.console.push(raw.to_owned());
        self.elapsed = elapsed;
    }

    fn tick(&mut self, elapsed: Duration) -> Result<()> {
        self.elapsed = elapsed;
        let Some(servers) = &mut self.servers else { return Ok(()) };
        if let Some(since) = self.away_since {
            if elapsed >= since + AWAY {
                servers.restart()?;
                self.away_since = None;
                self.restarts += 1;
                self.screen.note("chaos: netpager-host is back");
            }
            return Ok(());
        }
        match self.agenda.due_at(elapsed).or_else(|| self.called_for.take()) {
            Some(Victim::Host) => {
                servers.kill(Victim::Host);
                self.away_since = Some(elapsed);
                self.screen.note("chaos: netpager-host killed");
            }
            Some(Victim::Member) => {
                servers.kill(Victim::Member);
                self.members_lost += 1;
                self.screen.note("chaos: a member of the mirror killed");
            }
            None => {
                if let Some(logged) = servers.died() {
                    bail!("netpager-host ended by itself: {}", logged.trim());
                }
            }
        }
        Ok(())
    }
}

impl<'a> Watch<'a> {
    fn new(screen: &'a mut Screen, servers: Option<Servers>, chaos: &[Chaos]) -> Self {
        Self {
            screen,
            report: Report::default(),
            console: Vec::new(),
            servers,
            agenda: Agenda::new(chaos),
            away_since: None,
            called_for: None,
            restarts: 0,
            members_lost: 0,
            elapsed: Duration::ZERO,
        }
    }

    fn finish(self, end: End, expected: &[String], errors: &Path) -> Result<Outcome> {
        self.screen.clear();
        if let Some(servers) = self.servers {
            servers.stop();
        }
        let mut failures = self.report.failures(&end, expected);
        let never = self.agenda.left();
        if never > 0 || self.away_since.is_some() {
            failures.push("the guest ended before the disturbances asked for (--chaos) were over".to_owned());
        }
        let guest_errors = std::fs::read_to_string(errors).unwrap_or_default().lines().map(str::to_owned).collect();
        let Self { report, console, elapsed, restarts, members_lost, .. } = self;
        Ok(Outcome { end, report, console, elapsed, failures, guest_errors, restarts, members_lost })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fakes::{script, tiny_kernel};
    use super::super::plan::tests::options;
    use super::*;
    use crate::cli::RunOptions;

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
            let server_body = format!(
                "[ $1 = serve ] || exit 0\necho $$ >> '{}/starts'\necho listening on 127.0.0.1:4711\nexec sleep 60\n",
                path.display()
            );
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

        fn run(&self, manifest: &str, line: &str, extra: &[String]) -> Result<Outcome> {
            let manifest = Manifest::parse(manifest).unwrap();
            let RunOptions { guest, net, chaos, .. } = options(line);
            let plan = Plan::new(&guest, &manifest).unwrap();
            let net = Net::new(&net, &manifest, &chaos)?;
            let timeout = Duration::from_secs(60);
            let folder = self.folder.path();
            let session = Session { manifest: &manifest, plan: &plan, net: &net, chaos: &chaos, timeout, extra, folder };
            session.run(&self.products, &mut Screen::silent())
        }

        fn ramdisk(&self) -> String {
            let ramdisk = std::fs::read(self.folder.path().join("ramdisk.tar")).unwrap();
            String::from_utf8_lossy(&ramdisk).into_owned()
        }

        fn starts(&self) -> usize {
            let starts = std::fs::read_to_string(self.folder.path().join("starts")).unwrap_or_default();
            starts.lines().count()
        }
    }

    #[test]
    fn a_run_without_a_host_side_verifies() {
        let setting = Setting::new(&format!("echo '{PHASE}'\necho '@verdict ok'\n"));
        let outcome = setting.run(SWAP, "", &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert_eq!(outcome.console.len(), 2);
        assert_eq!(setting.starts(), 0, "nobody asked for netpager-host");
    }

    #[test]
    fn the_guest_is_told_where_the_server_listens() {
        let setting = Setting::new("echo '@verdict ok'\n");
        let outcome = setting.run(NET, "--link user", &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert!(setting.ramdisk().contains("run bench bench 10.0.2.2:4711\n"));
        assert_eq!(setting.starts(), 1);
    }

    #[test]
    fn chaos_kills_the_server_once_and_brings_it_back() {
        let setting = Setting::new("echo '@progress random 1 %'\nsleep 1\necho '@verdict ok'\n");
        let outcome = setting.run(NET, "--link user --chaos kill-host@random", &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert_eq!((outcome.restarts, setting.starts()), (1, 2));
    }

    #[test]
    fn chaos_kills_a_member_of_the_mirror_for_good() {
        let setting = Setting::new("echo '@progress random 1 %'\nsleep 1\necho '@verdict ok'\n");
        let outcome = setting.run(NET, "--link user --chaos kill-member@random", &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert_eq!((outcome.restarts, outcome.members_lost, setting.starts()), (0, 1, 3));
    }

    #[test]
    fn a_server_that_is_running_is_used_and_left_alone() {
        let setting = Setting::new("echo '@verdict ok'\n");
        let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = theirs.local_addr().unwrap();
        let outcome = setting.run(NET, &format!("--link user --server {address}"), &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        assert!(setting.ramdisk().contains(&format!("run bench bench 10.0.2.2:{}\n", address.port())));
        assert_eq!(setting.starts(), 0);
        drop(theirs);
        let error = format!("{:#}", setting.run(NET, &format!("--link user --server {address}"), &[]).unwrap_err());
        assert!(error.contains("nobody answers"), "{error}");
    }

    #[test]
    fn the_guest_finds_its_certificates_in_the_ramdisk() {
        let setting = Setting::new("echo '@verdict ok'\n");
        let manifest = format!("{NET}[[pager]]\nname='net'\nprogram='bench'\nargs=['${{net_options}}']\n");
        let bundle = setting.folder.path().join("pki/guest");
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("ca-cert.pem"), "trust me").unwrap();
        let outcome = setting.run(&manifest, "--link user --tls --seal full", &[]).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new());
        let ramdisk = setting.ramdisk();
        assert!(ramdisk.contains("pager net bench tls-certificates=tls seal=full\n"), "the pager is told");
        assert!(ramdisk.contains("tls/ca-cert.pem") && ramdisk.contains("trust me"));
    }

    #[test]
    fn chaos_that_never_came_is_a_failure() {
        let setting = Setting::new("echo '@verdict ok'\n");
        let outcome = setting.run(NET, "--link user --chaos kill-host@random", &[]).unwrap();
        assert_eq!(outcome.failures.len(), 1);
        assert!(setting.run(SWAP, "--chaos kill-host@1", &[]).is_err(), "no netpager-host to kill");
    }

    #[test]
    fn a_server_that_dies_by_itself_ends_the_run() {
        let mut setting = Setting::new("sleep 20\n");
        let body = "echo listening on 127.0.0.1:4711\necho out of memory >&2\n";
        setting.products.server = Some(script(setting.folder.path(), "server", body));
        let error = format!("{:#}", setting.run(NET, "--link user", &[]).unwrap_err());
        assert!(error.contains("ended by itself: out of memory"), "{error}");
    }

    #[test]
    fn what_qemu_logs_about_the_guest_is_kept() {
        let body = "while [ $# -gt 0 ]; do [ \"$1\" = -D ] && echo 'bad offset' > \"$2\"; shift; done\necho '@verdict ok'\n";
        let outcome = Setting::new(body).run("summary='s'\n[[run]]\nprogram='bench'\n", "", &[]).unwrap();
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
            let outcome = setting.run(both, line, &[]).unwrap();
            assert_eq!(outcome.failures, Vec::<String>::new(), "{line}: {:?}", outcome.console);
            assert_eq!(outcome.console, ["hello", "@verdict ok"], "{line}");
        }
        let refused = setting.run(both, "--accel tcg --link user", &["-M".into(), "nonsense".into()]).unwrap();
        assert!(matches!(refused.end, End::Failed(_)), "{:?}", refused.end);
        assert!(refused.console.iter().any(|line| line.starts_with("[qemu] ") && line.contains("nonsense")));
    }

    #[test]
    fn qemu_takes_a_disk_that_fails() {
        let Some(setting) = Setting::with_real_qemu("@verdict ok\n") else { return };
        let manifest = Manifest::parse("summary='s'\n[[disk]]\nname='a'\nsize='1M'\n[[run]]\nprogram='bench'\n").unwrap();
        let mut plan = Plan::new(&options("--accel tcg").guest, &manifest).unwrap();
        plan.disk_errors = Some("read@20".parse().unwrap());
        let timeout = Duration::from_secs(60);
        let folder = setting.folder.path();
        let session = Session { manifest: &manifest, plan: &plan, net: &Net::default(), chaos: &[], timeout, extra: &[], folder };
        let outcome = session.run(&setting.products, &mut Screen::silent()).unwrap();
        assert_eq!(outcome.failures, Vec::<String>::new(), "{:?}", outcome.console);
    }
}
