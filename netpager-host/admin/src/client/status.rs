//! `status`: the service on one page.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::table::Table;
use super::words::{bytes, count, latency, name, time};
use super::{ClientArgs, ClientError};
use crate::observed::{JobState, MemberHealth, Memory, Progression};
use crate::sampler::{ExportSample, Sample, milliseconds};

/// What goes before a page that takes the place of the last one.
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";

/// Show what a running service does: its exports, clients and long work.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    service: ClientArgs,

    /// Show it again every second, until interrupted.
    #[arg(long, short)]
    watch: bool,

    /// Print JSON: the last sample as the API has it, one to a line.
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    /// Does it.
    ///
    /// # Errors
    /// The service is not there, or says no.
    pub fn run(&self) -> Result<(), ClientError> {
        let client = self.service.client()?;
        let mut out = io::stdout().lock();
        let redraw = self.watch && !self.json && out.is_terminal();
        loop {
            let sample: Sample = client.get("/status", &[])?;
            let text = match self.json {
                true => serde_json::to_string(&sample).map_err(io::Error::other)? + "\n",
                false => page(&sample, milliseconds(SystemTime::now())),
            };
            let written = write!(out, "{}{text}", if redraw { HOME_AND_CLEAR } else { "" }).and_then(|()| out.flush());
            match written {
                // Whoever read this has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
            if !self.watch {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

fn page(sample: &Sample, now_ms: u64) -> String {
    let service = &sample.service;
    let mut page = format!("netpager-host {}, up {}", name(&service.version), time(now_ms.saturating_sub(service.started_ms) / 1000));
    match &service.not_ready {
        None => page.push_str(", ready\n"),
        Some(reason) => page.push_str(&format!(", NOT READY: {}\n", name(reason))),
    }
    for listener in &service.listeners {
        page.push_str(&format!("  {}  ({})\n", name(&listener.uri), name(&listener.protection)));
    }
    page.push_str(&format!(
        "  processor {:.0} %   memory {}{}   clients {}   files {} of {}\n",
        sample.cpu_percent,
        bytes(sample.process.resident_bytes as f64),
        service.ram_limit.map(|limit| format!(" (exports may use {})", bytes(limit as f64))).unwrap_or_default(),
        sample.clients_total,
        sample.process.open_files,
        sample.process.open_files_max,
    ));
    page.push_str(&exports(sample));
    page.push_str(&members(sample));
    page.push_str(&clients(sample));
    page.push_str(&jobs(&sample.jobs));
    page
}

fn exports(sample: &Sample) -> String {
    if sample.exports.is_empty() {
        return "\nNo exports. `netpager-host export create NAME SIZE` makes one.\n".into();
    }
    let heading = ["EXPORT", "STORE", "SIZE", "STORED", "RAM", "CLIENTS", "READ/s", "WRITE/s", "IOPS", "p50", "p99"];
    let mut table = Table::new(&heading, 2);
    for ExportSample { state, rates, connections } in &sample.exports {
        table.row(vec![
            name(&state.name),
            name(&state.store),
            bytes(state.size as f64),
            stored(&state.memory, state.quota),
            bytes(state.memory.ram() as f64),
            connections.to_string(),
            bytes(rates.read_bytes),
            bytes(rates.write_bytes),
            count(rates.read_ops + rates.write_ops + rates.other_ops),
            latency(rates.p50_us),
            latency(rates.p99_us),
        ]);
    }
    format!("\n{}{}", table.lines(), more(sample.exports_total, sample.exports.len()))
}

fn stored(memory: &Memory, quota: Option<u64>) -> String {
    let stored = memory.stored();
    match quota {
        Some(quota) if quota > 0 => format!("{} ({} %)", bytes(stored as f64), u128::from(stored) * 100 / u128::from(quota)),
        _ => bytes(stored as f64),
    }
}

fn more(total: usize, shown: usize) -> String {
    if total > shown { format!("  … and {} more\n", total - shown) } else { String::new() }
}

fn members(sample: &Sample) -> String {
    let mut table = Table::new(&["EXPORT", "DEPENDS ON", "HEALTH", "BEHIND", "LATENCY"], 3);
    let all = sample.exports.iter().flat_map(|export| export.state.members.iter().map(move |member| (export, member)));
    let mut any = false;
    for (export, member) in all {
        any = true;
        let health = match (&member.trouble, member.health) {
            (Some(trouble), health) if health != MemberHealth::Healthy => format!("{}: {}", health.name(), name(trouble)),
            (_, health) => health.name().into(),
        };
        table.row(vec![
            name(&export.state.name),
            name(&member.name),
            health,
            bytes(member.behind_bytes as f64),
            latency(member.latency_us.map(|time| time as f64)),
        ]);
    }
    if any { format!("\n{}", table.lines()) } else { String::new() }
}

fn clients(sample: &Sample) -> String {
    if sample.clients.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["CLIENT", "FROM", "EXPORT", "HOW", "IN FLIGHT", "READ/s", "WRITE/s", "p99"], 4);
    for client in &sample.clients {
        table.row(vec![
            format!("{}{}", client.id, client.identity.as_deref().map(|identity| format!(" {}", name(identity))).unwrap_or_default()),
            name(&client.peer),
            name(&client.export),
            name(&client.transport),
            client.rates.in_flight.to_string(),
            bytes(client.rates.read_bytes),
            bytes(client.rates.write_bytes),
            latency(client.rates.p99_us),
        ]);
    }
    format!("\n{}{}", table.lines(), more(sample.clients_total, sample.clients.len()))
}

fn jobs(jobs: &[JobState]) -> String {
    let line = |job: &JobState| {
        let percent = u128::from(job.done_bytes) * 100 / u128::from(job.total_bytes.max(1));
        let kind = serde_json::to_string(&job.kind).unwrap_or_default();
        format!("  {} of {}: {percent} %, {} faults\n", kind.trim_matches('"'), name(&job.export), job.fault_count)
    };
    let running: String = jobs.iter().filter(|job| job.state == Progression::Running).map(line).collect();
    if running.is_empty() { running } else { format!("\n{running}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{ExportState, MemberState, ServiceState};

    #[test]
    fn a_page_tells_what_matters_and_hides_what_attacks() {
        let member = MemberState {
            name: "nbd://b".into(),
            health: MemberHealth::Stale,
            behind_bytes: 1 << 20,
            behind_at_start_bytes: 0,
            latency_us: None,
            trouble: Some("it is\x07 away".into()),
        };
        let memory = Memory { resident: 512 << 20, ..Memory::default() };
        let state = ExportState {
            name: "a\x1b[2J".into(),
            size: 1 << 30,
            quota: Some(1 << 30),
            memory,
            members: vec![member],
            ..ExportState::default()
        };
        let service = ServiceState { version: "1.2".into(), not_ready: Some("starting".into()), ..ServiceState::default() };
        let exports = vec![ExportSample { state, ..ExportSample::default() }];
        let page = page(&Sample { service, exports, exports_total: 3, ..Sample::default() }, 61_000);
        for part in ["netpager-host 1.2, up 1 min 1 s, NOT READY: starting", "512 MiB (50 %)", "stale: it is\\u{7} away", "… and 2 more"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains('\x1b') && !page.contains('\x07'));
    }

    #[test]
    fn an_empty_service_says_what_to_do() {
        assert!(page(&Sample::default(), 0).contains("export create"));
    }
}
