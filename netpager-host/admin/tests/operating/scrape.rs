//! What Prometheus is told, read as Prometheus reads it: every line is well formed and belongs to its family, histograms add up,
//! counters only grow.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::fake::{Fake, HOSTILE, Traffic};
use crate::service::Service;
use admin::{Observed, Registry, prometheus};

type Labels = BTreeMap<String, String>;

/// A scrape that was understood.
#[derive(Default)]
struct Scrape {
    kinds: BTreeMap<String, String>,
    values: BTreeMap<(String, Labels), f64>,
}

/// The family a line's name belongs to.
fn family<'a>(kinds: &BTreeMap<String, String>, name: &'a str) -> &'a str {
    let whole = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    whole.filter(|whole| kinds.get(*whole).is_some_and(|kind| kind == "histogram")).unwrap_or(name)
}

/// Reads `{name="value",…}` and returns what follows.
fn labels(text: &str) -> (Labels, &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return (Labels::new(), text) };
    let mut labels = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_'), "{name}");
        let (mut value, mut characters) = (String::new(), after.char_indices());
        let end = loop {
            match characters.next().expect("a closing quote") {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match characters.next().expect("an escape").1 {
                    'n' => '\n',
                    character @ ('\\' | '"') => character,
                    other => panic!("\\{other}"),
                }),
                (_, character) => value.push(character),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
        rest = &after[end..];
        match rest.split_at(1) {
            (",", more) => rest = more,
            ("}", more) => return (labels, more),
            (other, _) => panic!("{other} after a label"),
        }
    }
}

fn read(text: &str) -> Scrape {
    let mut scrape = Scrape::default();
    let (mut current, mut helped, mut closed) = (String::new(), String::new(), HashSet::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a sentence").0.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, helped, "TYPE follows its HELP");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(closed.insert(name.to_owned()), "{name} comes twice");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            scrape.kinds.insert(name.to_owned(), kind.to_owned());
            current = name.to_owned();
        } else {
            let end = line.find(['{', ' ']).unwrap();
            let (name, (labels, value)) = (&line[..end], labels(&line[end..]));
            assert_eq!(family(&scrape.kinds, name), current, "{line} stands in the wrong family");
            let value: f64 = value.strip_prefix(' ').expect("a space").parse().expect("a number");
            assert!(scrape.values.insert((name.to_owned(), labels), value).is_none(), "{line} comes twice");
        }
    }
    scrape
}

/// Buckets grow, the last is infinite and is the count.
fn check_histograms(scrape: &Scrape) -> usize {
    let mut series: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, labels), &value) in &scrape.values {
        if let Some(bound) = labels.get("le") {
            let mut rest = labels.clone();
            rest.remove("le");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            series.entry((name.trim_end_matches("_bucket").into(), rest)).or_default().push((bound, value));
        }
    }
    for ((name, labels), buckets) in &mut series {
        buckets.sort_by(|one, two| one.0.total_cmp(&two.0));
        assert!(buckets.is_sorted_by(|one, two| one.1 <= two.1), "{name} {labels:?}");
        let last = buckets.last().unwrap();
        assert!(last.0.is_infinite());
        assert_eq!(scrape.values[&(format!("{name}_count"), labels.clone())], last.1);
        let sum = scrape.values[&(format!("{name}_sum"), labels.clone())];
        assert!(sum > 0.0 && sum < 10.0 * last.1, "{name} {labels:?}: {sum}");
    }
    series.len()
}

#[test]
fn a_scrape_is_well_formed_and_complete() {
    let registry = Arc::new(Registry::default());
    let fake = Fake::furnished();
    let mut traffic = Traffic::connect(&registry);
    (0..5).for_each(|_| traffic.turn());
    let first = read(&prometheus::scrape(&registry, &*fake));
    assert!(check_histograms(&first) >= 4 * 2);
    for name in [
        "netpager_export_memory_bytes",
        "netpager_member_up",
        "netpager_requests_total",
        "process_cpu_seconds_total",
        "netpager_build_info",
    ] {
        assert!(first.kinds.contains_key(name), "{name}");
    }
    assert!(first.values.keys().any(|(_, labels)| labels.get("export").is_some_and(|name| name == HOSTILE)));
    let requests = |scrape: &Scrape| {
        scrape.values.iter().filter(|((name, _), _)| name == "netpager_requests_total").map(|(_, value)| value).sum::<f64>()
    };
    let counted = registry.series().values().map(|series| series.totals.requests()).sum::<u64>();
    assert_eq!(requests(&first), counted as f64);
    traffic.turn();
    drop(traffic);
    let second = read(&prometheus::scrape(&registry, &*fake));
    for ((name, labels), value) in &first.values {
        let kind = &first.kinds[family(&first.kinds, name)];
        let after = second.values.get(&(name.clone(), labels.clone()));
        assert!(kind == "gauge" || after.is_some_and(|after| after >= value), "{name} {labels:?}: {value}, then {after:?}");
    }
    let open = second.values.iter().filter(|((name, _), _)| name == "netpager_connections").map(|(_, value)| value).sum::<f64>();
    assert_eq!(open, 0.0);
}

#[test]
fn hostile_names_stay_in_their_labels() {
    let fake = Fake::empty();
    let wanted = admin::observed::NewExport { name: "a\"} 1\nevil_total{x=\"\\".into(), size: 1, ..Default::default() };
    admin::Operated::create_export(&*fake, &wanted).unwrap();
    let scrape = read(&prometheus::scrape(&Registry::default(), &*fake));
    assert!(scrape.values.keys().all(|(name, _)| name != "evil_total"));
    assert!(scrape.values.keys().any(|(_, labels)| labels.get("export") == Some(&wanted.name)));
    assert_eq!(fake.exports().len(), 1);
}

#[test]
fn the_path_has_the_right_type() {
    let service = Service::start(Fake::furnished(), None);
    let answer = service.get("/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    assert!(!read(&answer.body).values.is_empty());
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let registry = Arc::new(Registry::default());
    let mut traffic = Traffic::connect(&registry);
    traffic.turn();
    let scrape = read(&prometheus::scrape(&registry, &*Fake::furnished()));
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../grafana/netpager-host.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let questions: Vec<&str> =
        panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()).map(|target| target["expr"].as_str().unwrap()).collect();
    let words =
        questions.iter().flat_map(|question| question.split(|character: char| !character.is_ascii_alphanumeric() && character != '_'));
    let metrics: HashSet<&str> = words.filter(|word| word.starts_with("netpager_") || word.starts_with("process_")).collect();
    assert!(metrics.len() >= 8, "{metrics:?}");
    for metric in metrics {
        assert!(scrape.kinds.contains_key(family(&scrape.kinds, metric)), "{metric}");
    }
}
