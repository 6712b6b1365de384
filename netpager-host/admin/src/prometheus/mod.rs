//! What Prometheus scrapes: everything counted so far, in its text format (version 0.0.4).

mod text;

use std::collections::BTreeMap;

use crate::metrics::{Command, Outcome, Registry, Series, SeriesKey};
use crate::observed::{ExportState, MemberHealth, MemberState, Memory, Observed};
use crate::process::ProcessUse;
use text::Text;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Bounds of the latency histograms, as powers of two of nanoseconds: 2 µs to 17 s.
const BOUNDS: (u32, u32) = (11, 34);

/// Everything, as text.
#[must_use]
pub fn scrape(registry: &Registry, service: &dyn Observed) -> String {
    let mut text = Text::default();
    let exports = service.exports();
    about_service(&mut text, service);
    about_process(&mut text);
    about_exports(&mut text, &exports);
    about_members(&mut text, &exports);
    about_requests(&mut text, &registry.series());
    text.into_string()
}

fn about_service(text: &mut Text, service: &dyn Observed) {
    let state = service.service();
    text.family("netpager_build_info", "gauge", "Always 1; the version is a label.");
    text.line("netpager_build_info", &[("version", &state.version)], 1.0);
    text.family("netpager_ready", "gauge", "Whether new clients are taken.");
    text.line("netpager_ready", &[], f64::from(u8::from(state.not_ready.is_none())));
    if let Some(limit) = state.ram_limit {
        text.family("netpager_ram_limit_bytes", "gauge", "RAM all exports may use together.");
        text.line("netpager_ram_limit_bytes", &[], limit as f64);
    }
    text.family("process_start_time_seconds", "gauge", "When the service began, in seconds since 1970.");
    text.line("process_start_time_seconds", &[], state.started_ms as f64 / 1e3);
}

fn about_process(text: &mut Text) {
    let used = ProcessUse::now();
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        text.family(name, kind, help);
        text.line(name, &[], value);
    };
    one("process_cpu_seconds_total", "counter", "Processor time of the service.", used.cpu_seconds);
    one("process_resident_memory_bytes", "gauge", "RAM the service uses.", used.resident_bytes as f64);
    one("process_threads", "gauge", "Threads of the service.", used.threads as f64);
    one("process_open_fds", "gauge", "Open file descriptors.", used.open_files as f64);
    one("process_max_fds", "gauge", "File descriptors that may be open.", used.open_files_max as f64);
}

/// Numbers of an export: name of the metric, what it is, how to find it.
type Gauge = (&'static str, &'static str, fn(&ExportState) -> Option<u64>);
const GAUGES: [Gauge; 4] = [
    ("netpager_export_size_bytes", "Bytes the export has addresses for.", |export| Some(export.size)),
    ("netpager_export_quota_bytes", "The most bytes the export may keep.", |export| export.quota),
    ("netpager_export_reserved_bytes", "Bytes promised to the export.", |export| Some(export.memory.reserved)),
    ("netpager_export_compressed_original_bytes", "What the compressed pages are when they are not.", |export| {
        Some(export.memory.compressed_original)
    }),
];
/// Where bytes are: label and how to find it.
type Place = (&'static str, fn(&Memory) -> u64);
const PLACES: [Place; 6] = [
    ("resident", |memory| memory.resident),
    ("compressed", |memory| memory.compressed),
    ("file", |memory| memory.file),
    ("remote", |memory| memory.remote),
    ("zero", |memory| memory.zero),
    ("overhead", |memory| memory.overhead),
];

fn about_exports(text: &mut Text, exports: &[ExportState]) {
    for (name, help, find) in GAUGES {
        text.family(name, "gauge", help);
        for export in exports {
            if let Some(value) = find(export) {
                text.line(name, &[("export", &export.name)], value as f64);
            }
        }
    }
    let name = "netpager_export_memory_bytes";
    text.family(name, "gauge", "Bytes kept, by where they are; zero pages cost nothing.");
    for export in exports {
        for (place, find) in PLACES {
            text.line(name, &[("export", &export.name), ("state", place)], find(&export.memory) as f64);
        }
    }
}

fn about_members(text: &mut Text, exports: &[ExportState]) {
    let all = || exports.iter().flat_map(|export| export.members.iter().map(move |member| (export, member)));
    let mut family = |name: &str, help: &str, find: &dyn Fn(&MemberState) -> Option<f64>| {
        text.family(name, "gauge", help);
        for (export, member) in all() {
            if let Some(value) = find(member) {
                text.line(name, &[("export", &export.name), ("member", &member.name)], value);
            }
        }
    };
    family("netpager_member_up", "Whether a store that an export depends on serves.", &|member| {
        Some(f64::from(u8::from(member.health == MemberHealth::Healthy)))
    });
    family("netpager_member_behind_bytes", "Bytes a member of a mirror must still be given.", &|member| Some(member.behind_bytes as f64));
    family("netpager_member_latency_seconds", "Usual latency of a member.", &|member| member.latency_us.map(|us| us as f64 / 1e6));
}

fn about_requests(text: &mut Text, series: &BTreeMap<SeriesKey, Series>) {
    let labels = |key: &SeriesKey| [("export", key.export.clone()), ("client", key.client.clone())];
    let mut simple = |name: &str, kind: &str, help: &str, find: &dyn Fn(&Series) -> f64| {
        text.family(name, kind, help);
        for (key, series) in series {
            let [export, client] = labels(key);
            text.line(name, &[(export.0, &export.1), (client.0, &client.1)], find(series));
        }
    };
    simple("netpager_connections", "gauge", "Open connections.", &|series| series.connections as f64);
    simple("netpager_requests_in_flight", "gauge", "Requests that are not answered.", &|series| series.in_flight as f64);
    text.family("netpager_requests_total", "counter", "Requests that were answered.");
    for (key, series) in series {
        for command in Command::ALL {
            for outcome in Outcome::ALL {
                let count = series.totals.count(command, outcome);
                if count > 0 {
                    let labels: [(&str, &str); 4] =
                        [("export", &key.export), ("client", &key.client), ("command", command.name()), ("result", outcome.name())];
                    text.line("netpager_requests_total", &labels, count as f64);
                }
            }
        }
    }
    text.family("netpager_request_bytes_total", "counter", "Bytes read, written, trimmed, zeroed, cached or asked about.");
    for_used(series, |key, series, command| {
        let labels: [(&str, &str); 3] = [("export", &key.export), ("client", &key.client), ("command", command.name())];
        text.line("netpager_request_bytes_total", &labels, series.totals.bytes(command) as f64);
    });
    about_latencies(text, series);
}

/// By export only: with the client it would be too many lines for what they tell.
fn about_latencies(text: &mut Text, series: &BTreeMap<SeriesKey, Series>) {
    let mut exports: BTreeMap<SeriesKey, Series> = BTreeMap::new();
    for (key, series) in series {
        let whole = SeriesKey { export: key.export.clone(), client: String::new() };
        exports.entry(whole).or_default().totals.merge(&series.totals);
    }
    let name = "netpager_request_duration_seconds";
    text.family(name, "histogram", "Time from a request's arrival to its reply.");
    for_used(&exports, |key, series, command| {
        let labels: [(&str, &str); 2] = [("export", &key.export), ("command", command.name())];
        let latencies = series.totals.latencies(&[command]);
        let buckets = latencies.cumulative(BOUNDS.0, BOUNDS.1).map(|(bound_ns, count)| (bound_ns as f64 / 1e9, count));
        text.histogram(name, &labels, buckets, latencies.count(), series.totals.latency_ns(command) as f64 / 1e9);
    });
}

fn for_used(series: &BTreeMap<SeriesKey, Series>, mut tell: impl FnMut(&SeriesKey, &Series, Command)) {
    for (key, series) in series {
        for command in Command::ALL.into_iter().filter(|&command| series.totals.requests_of(command) > 0) {
            tell(key, series, command);
        }
    }
}
