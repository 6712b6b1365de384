//! `export`: exports are listed, made, removed and looked at while the service runs.

use std::io::{self, Write as _};

use clap::Subcommand;

use super::table::Table;
use super::words::{bytes, count, latency, name, parse_size};
use super::{ClientArgs, ClientError};
use crate::observed::{Destiny, ExportState, Lifetime, NewExport};
use crate::sampler::ExportSample;

/// What to do with exports of a running service.
#[derive(Debug, Subcommand)]
pub enum ExportAction {
    /// List all exports.
    List {
        /// Where the service is.
        #[command(flatten)]
        service: ClientArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make an export. It is there when the service restarts, unless --last-close or --idle says otherwise.
    Create {
        /// Where the service is.
        #[command(flatten)]
        service: ClientArgs,
        /// Its name.
        name: String,
        /// Its size: 4096, 256M, 4GiB.
        #[arg(value_parser = parse_size)]
        size: u64,
        /// What to keep it in, as after `store=` in `serve --export` [default: what the service prefers].
        #[arg(long)]
        store: Option<String>,
        /// The most it may keep.
        #[arg(long, value_parser = parse_size)]
        quota: Option<u64>,
        /// Refuse writes.
        #[arg(long)]
        read_only: bool,
        /// Remove it when its last client leaves.
        #[arg(long, conflicts_with = "idle")]
        last_close: bool,
        /// Remove it when it had no client for so many seconds.
        #[arg(long, value_name = "SECONDS")]
        idle: Option<u64>,
    },
    /// Remove an export and what is in it.
    Rm {
        /// Where the service is.
        #[command(flatten)]
        service: ClientArgs,
        /// Its name.
        name: String,
        /// Even if it has clients, who are disconnected.
        #[arg(long)]
        force: bool,
    },
    /// Show one export.
    Stat {
        /// Where the service is.
        #[command(flatten)]
        service: ClientArgs,
        /// Its name.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl ExportAction {
    /// Does it.
    ///
    /// # Errors
    /// The service is not there, or says no.
    pub fn run(&self) -> Result<(), ClientError> {
        let text = match self {
            Self::List { service, json } => {
                let exports: Vec<ExportState> = service.client()?.get("/exports", &[])?;
                if *json { to_json(&exports)? } else { list(&exports) }
            }
            Self::Create { service, .. } => {
                let made: ExportState = service.client()?.post("/exports", &[], &self.wanted())?;
                format!("export `{}` was created: {} in {}\n", name(&made.name), bytes(made.size as f64), name(&made.store))
            }
            Self::Rm { service, name: export, force } => {
                let force = if *force { "true" } else { "false" };
                service.client()?.delete("/export", &[("name", export), ("force", force)])?;
                format!("export `{}` was removed\n", name(export))
            }
            Self::Stat { service, name, json } => {
                let export: ExportSample = service.client()?.get("/export", &[("name", name)])?;
                if *json { to_json(&export)? } else { stat(&export) }
            }
        };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn wanted(&self) -> NewExport {
        let Self::Create { name, size, store, quota, read_only, last_close, idle, .. } = self else { return NewExport::default() };
        let until = match (last_close, idle) {
            (true, _) => Destiny::LastClose,
            (false, Some(_)) => Destiny::Idle,
            (false, None) => Destiny::Keep,
        };
        NewExport {
            name: name.clone(),
            size: *size,
            store: store.clone(),
            quota: *quota,
            read_only: *read_only,
            lifetime: Lifetime { until, idle_seconds: *idle },
        }
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<String, io::Error> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(io::Error::other)
}

fn list(exports: &[ExportState]) -> String {
    let mut table = Table::new(&["EXPORT", "STORE", "SIZE", "STORED", "RAM", "QUOTA"], 2);
    for export in exports {
        table.row(vec![
            name(&export.name),
            name(&export.store),
            bytes(export.size as f64),
            bytes(export.memory.stored() as f64),
            bytes(export.memory.ram() as f64),
            export.quota.map_or_else(|| "–".into(), |quota| bytes(quota as f64)),
        ]);
    }
    if exports.is_empty() { "No exports.\n".into() } else { table.lines() }
}

fn stat(export: &ExportSample) -> String {
    let ExportSample { state, rates, connections } = export;
    let memory = &state.memory;
    let amount = |count: u64| bytes(count as f64);
    let until = match (state.lifetime.until, state.lifetime.idle_seconds) {
        (Destiny::Fixed, _) => "fixed in the configuration".into(),
        (Destiny::Keep, _) => "until removed".into(),
        (Destiny::LastClose, _) => "until its last client leaves".into(),
        (Destiny::Idle, seconds) => format!("until idle for {} s", seconds.unwrap_or_default()),
    };
    let rows = [
        ("export", name(&state.name)),
        ("description", name(&state.description)),
        ("store", name(&state.store)),
        ("size", amount(state.size)),
        ("quota", state.quota.map_or_else(|| "none".into(), amount)),
        ("stays", until),
        (
            "access",
            format!("{}{}", if state.read_only { "read only" } else { "read and write" }, if state.exclusive { ", exclusive" } else { "" }),
        ),
        ("in RAM", amount(memory.resident)),
        ("compressed", format!("{} of {}", amount(memory.compressed), amount(memory.compressed_original))),
        ("in files", amount(memory.file)),
        ("on the network", amount(memory.remote)),
        ("reserved", amount(memory.reserved)),
        ("overhead", amount(memory.overhead)),
        ("clients", connections.to_string()),
        ("reads", format!("{}/s, {}/s", count(rates.read_ops), bytes(rates.read_bytes))),
        ("writes", format!("{}/s, {}/s", count(rates.write_ops), bytes(rates.write_bytes))),
        ("latency", format!("p50 {}, p99 {}, p99.9 {}", latency(rates.p50_us), latency(rates.p99_us), latency(rates.p999_us))),
    ];
    rows.iter().map(|(label, value)| format!("{label:<15} {value}\n")).collect()
}
