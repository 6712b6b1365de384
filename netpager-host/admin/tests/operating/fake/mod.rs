//! A service that exists in numbers only: exports, members and traffic, the same in every run. The tests look at it, and
//! `examples/demo.rs` shows the status page with it.

#![allow(dead_code, reason = "the example uses a part of it")]

mod paint;
mod traffic;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use admin::map::AllocationMap;
use admin::observed::{
    ExportState, FaultKind, JobKind, JobState, ListenerState, MemberHealth, MemberState, Memory, NewExport, Progression, ServiceState,
};
use admin::{Fault, Observed, Operated};

pub(crate) use traffic::Traffic;

/// A hostile name: whoever puts it into a page as HTML runs it.
pub(crate) const HOSTILE: &str = "<img src=x onerror=window.hacked=1>\"'&";

#[derive(Default)]
pub(crate) struct Books {
    exports: Vec<ExportState>,
    jobs: Vec<JobState>,
    disconnected: Vec<u64>,
    clients: HashSet<u64>,
    not_ready: Option<String>,
}

/// The service.
#[derive(Default)]
pub(crate) struct Fake(Mutex<Books>);

impl Fake {
    /// A service without exports.
    pub(crate) fn empty() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A service with one export of each kind.
    pub(crate) fn furnished() -> Arc<Self> {
        let fake = Self::default();
        fake.lock().exports = exports();
        Arc::new(fake)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set_not_ready(&self, reason: Option<&str>) {
        self.lock().not_ready = reason.map(str::to_owned);
    }

    /// Clients that may be disconnected.
    pub(crate) fn set_clients(&self, clients: impl IntoIterator<Item = u64>) {
        self.lock().clients = clients.into_iter().collect();
    }

    /// Who was disconnected since the last call.
    pub(crate) fn take_disconnected(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().disconnected)
    }

    /// Time goes by: pages move between states, work goes on.
    pub(crate) fn advance(&self, second: u64) {
        let mut books = self.lock();
        for export in &mut books.exports {
            let wave = 0.5 + 0.4 * (second as f64 / 17.0 + export.size as f64).sin();
            let stored = (export.quota.unwrap_or(export.size / 4) as f64 * (0.4 + 0.3 * wave)) as u64 & !4095;
            export.memory = spread(&export.store, stored, wave);
            for member in export.members.iter_mut().filter(|member| member.health == MemberHealth::Resyncing) {
                member.behind_bytes = member.behind_bytes.saturating_sub(member.behind_at_start_bytes / 90);
            }
        }
        for job in books.jobs.iter_mut().filter(|job| job.state == Progression::Running) {
            job.done_bytes = (job.done_bytes + job.total_bytes / 8).min(job.total_bytes);
            if job.done_bytes == job.total_bytes {
                job.state = if job.fault_count == 0 { Progression::Done } else { Progression::Faulty };
            }
        }
    }
}

/// Where an export's bytes are, by the kind of its store.
fn spread(store: &str, stored: u64, wave: f64) -> Memory {
    let part = |share: f64| (stored as f64 * share) as u64;
    let overhead = stored / 256;
    match store.split(':').next().unwrap_or_default() {
        "compressed" => {
            let original = part(0.6 * wave + 0.2);
            Memory {
                resident: stored - original,
                compressed: original / 3,
                compressed_original: original,
                zero: part(0.1),
                overhead,
                ..Memory::default()
            }
        }
        "file" => Memory { file: stored, reserved: part(0.1), overhead: overhead / 8, ..Memory::default() },
        "mirror" | "nbd" => Memory { remote: stored, overhead: overhead / 8, ..Memory::default() },
        _ => Memory { resident: stored, zero: part(0.2), overhead, ..Memory::default() },
    }
}

fn member(name: &str, health: MemberHealth, behind: u64, trouble: Option<&str>) -> MemberState {
    let latency_us = (health != MemberHealth::Unreachable).then_some(140);
    let trouble = trouble.map(str::to_owned);
    MemberState { name: name.into(), health, behind_bytes: behind, behind_at_start_bytes: behind, latency_us, trouble }
}

fn exports() -> Vec<ExportState> {
    let export = |name: &str, store: &str, size: u64, quota: Option<u64>| ExportState {
        name: name.into(),
        store: store.into(),
        size,
        quota,
        memory: spread(store, quota.unwrap_or(size / 4) / 2, 0.5),
        ..ExportState::default()
    };
    let mut mirror = export("np1/lab/shared", "mirror:(nbd://10.0.0.2/a;nbd://10.0.0.3/a;nbd://10.0.0.4/a)", 8 << 30, None);
    mirror.members = vec![
        member("nbd://10.0.0.2/a", MemberHealth::Healthy, 0, None),
        member("nbd://10.0.0.3/a", MemberHealth::Resyncing, 6 << 30, None),
        member("nbd://10.0.0.4/a", MemberHealth::Unreachable, 0, Some("connection refused")),
    ];
    let mut readonly = export("images/base", "file:/srv/images/base.img", 2 << 30, None);
    readonly.read_only = true;
    let mut first = export("np1/lab/guest-1", "ram", 16 << 30, Some(4 << 30));
    first.description = "swap of guest 1".into();
    vec![
        first,
        export("np1/lab/guest-2", "compressed", 64 << 30, Some(2 << 30)),
        export("disk", "file:/srv/pages/disk.img", 32 << 30, None),
        mirror,
        readonly,
        export(HOSTILE, "ram", 1 << 30, None),
    ]
}

impl Observed for Fake {
    fn service(&self) -> ServiceState {
        let listener = |uri: &str, protection: &str| ListenerState { uri: uri.into(), protection: protection.into() };
        ServiceState {
            version: "0.1.0".into(),
            started_ms: 1_700_000_000_000,
            listeners: vec![
                listener("nbd://127.0.0.1:10809/", "plain, loopback only"),
                listener("nbds://192.0.2.10:10810/", "TLS, client certificates"),
            ],
            ram_limit: Some(12 << 30),
            not_ready: self.lock().not_ready.clone(),
        }
    }

    fn exports(&self) -> Vec<ExportState> {
        self.lock().exports.clone()
    }

    fn map(&self, export: &str, offset: u64, length: u64, cells: usize) -> Result<AllocationMap, Fault> {
        let found = self.exports().into_iter().find(|state| state.name == export).ok_or_else(|| Fault::no_export(export))?;
        let failed = |error: store::StoreError| Fault::new(FaultKind::Failed, error.to_string());
        AllocationMap::of_store(&paint::Painted(found), offset, length, cells).map_err(failed)
    }

    fn jobs(&self) -> Vec<JobState> {
        self.lock().jobs.clone()
    }
}

impl Operated for Fake {
    fn create_export(&self, wanted: &NewExport) -> Result<ExportState, Fault> {
        let mut books = self.lock();
        if books.exports.iter().any(|export| export.name == wanted.name) {
            return Err(Fault::new(FaultKind::Conflict, format!("there is an export `{}` already", wanted.name)));
        }
        if wanted.size > 1 << 50 {
            return Err(Fault::new(FaultKind::NoSpace, "nobody has that much"));
        }
        let made = ExportState {
            name: wanted.name.clone(),
            store: wanted.store.clone().unwrap_or_else(|| "ram".into()),
            size: wanted.size,
            quota: wanted.quota,
            read_only: wanted.read_only,
            lifetime: wanted.lifetime,
            ..ExportState::default()
        };
        books.exports.push(made.clone());
        Ok(made)
    }

    fn remove_export(&self, export: &str, force: bool) -> Result<(), Fault> {
        let mut books = self.lock();
        let index = books.exports.iter().position(|state| state.name == export).ok_or_else(|| Fault::no_export(export))?;
        if export == "disk" && !force {
            return Err(Fault::new(FaultKind::Conflict, "export `disk` has 1 client; force disconnects it"));
        }
        books.exports.remove(index);
        Ok(())
    }

    fn disconnect(&self, client: u64) -> Result<(), Fault> {
        let mut books = self.lock();
        if !books.clients.remove(&client) {
            return Err(Fault::no_client(client));
        }
        books.disconnected.push(client);
        Ok(())
    }

    fn check_export(&self, export: &str) -> Result<JobState, Fault> {
        let mut books = self.lock();
        let state = books.exports.iter().find(|state| state.name == export).ok_or_else(|| Fault::no_export(export))?;
        let damaged = state.read_only;
        let job = JobState {
            id: books.jobs.len() as u64 + 1,
            kind: JobKind::Check,
            export: export.into(),
            state: Progression::Running,
            done_bytes: 0,
            total_bytes: state.size,
            faults: damaged.then(|| "page at 4096: checksum is wrong".to_owned()).into_iter().collect(),
            fault_count: u64::from(damaged),
            started_ms: 0,
        };
        books.jobs.push(job.clone());
        Ok(job)
    }

    fn cancel_job(&self, job: u64) -> Result<(), Fault> {
        let mut books = self.lock();
        let none = || Fault::new(FaultKind::NotFound, format!("there is no job {job}"));
        books.jobs.iter_mut().find(|found| found.id == job).ok_or_else(none)?.state = Progression::Cancelled;
        Ok(())
    }
}
