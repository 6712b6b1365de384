//! The last minutes, so that a page that is opened doesn't begin empty.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::sample::{EXPORTS_SHOWN, Rates, Sample};
use crate::observed::Memory;

/// How many samples are kept: five minutes.
pub const SAMPLES_KEPT: usize = 300;

/// What is kept of a sample.
#[derive(Clone, Copy)]
struct Row {
    time_ms: u64,
    numbers: [f32; NAMES.len()],
}

/// Columns: their names in the API.
const NAMES: [&str; 13] = [
    "read_ops",
    "write_ops",
    "other_ops",
    "read_bytes",
    "write_bytes",
    "p50_us",
    "p99_us",
    "p999_us",
    "in_flight",
    "resident",
    "compressed",
    "file",
    "remote",
];

fn numbers(rates: &Rates, memory: &Memory) -> [f32; NAMES.len()] {
    let some = |number: Option<f64>| number.map_or(f32::NAN, |number| number as f32);
    [
        rates.read_ops as f32,
        rates.write_ops as f32,
        rates.other_ops as f32,
        rates.read_bytes as f32,
        rates.write_bytes as f32,
        some(rates.p50_us),
        some(rates.p99_us),
        some(rates.p999_us),
        rates.in_flight as f32,
        memory.resident as f32,
        memory.compressed as f32,
        memory.file as f32,
        memory.remote as f32,
    ]
}

/// The past of an export or of the whole service, in columns of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// When each sample ended, in milliseconds since 1970.
    pub times_ms: Vec<u64>,
    /// The numbers, by name; null where there is none.
    pub columns: HashMap<String, Vec<Option<f32>>>,
}

/// Rows of everything that is sampled.
#[derive(Default)]
pub(super) struct History {
    total: VecDeque<Row>,
    exports: HashMap<String, VecDeque<Row>>,
}

fn push(rows: &mut VecDeque<Row>, row: Row) {
    if rows.len() == SAMPLES_KEPT {
        rows.pop_front();
    }
    rows.push_back(row);
}

impl History {
    pub(super) fn add(&mut self, sample: &Sample) {
        let row = |rates, memory| Row { time_ms: sample.time_ms, numbers: numbers(rates, memory) };
        push(&mut self.total, row(&sample.total, &sample.memory));
        let names: HashSet<&str> = sample.exports.iter().map(|export| export.state.name.as_str()).collect();
        self.exports.retain(|name, _| names.contains(name.as_str()));
        for export in &sample.exports {
            if !self.exports.contains_key(&export.state.name) && self.exports.len() < EXPORTS_SHOWN {
                self.exports.insert(export.state.name.clone(), VecDeque::new());
            }
            if let Some(rows) = self.exports.get_mut(&export.state.name) {
                push(rows, row(&export.rates, &export.state.memory));
            }
        }
    }

    /// The past of an export, or of all together.
    pub(super) fn past(&self, export: Option<&str>) -> Option<Past> {
        let rows = match export {
            None => &self.total,
            Some(name) => self.exports.get(name)?,
        };
        let column = |index: usize| rows.iter().map(|row| Some(row.numbers[index]).filter(|number| number.is_finite())).collect();
        Some(Past {
            times_ms: rows.iter().map(|row| row.time_ms).collect(),
            columns: NAMES.iter().enumerate().map(|(index, &name)| (name.to_owned(), column(index))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::ExportState;
    use crate::sampler::ExportSample;

    fn sample(time_ms: u64, names: &[&str]) -> Sample {
        let export = |name: &&str| ExportSample { state: ExportState { name: (*name).into(), ..Default::default() }, ..Default::default() };
        Sample { time_ms, exports: names.iter().map(export).collect(), ..Sample::default() }
    }

    #[test]
    fn only_the_last_minutes_are_kept() {
        let mut history = History::default();
        (0..SAMPLES_KEPT as u64 + 5).for_each(|time| history.add(&sample(time, &["a"])));
        let past = history.past(Some("a")).unwrap();
        assert_eq!((past.times_ms.len(), past.times_ms[0]), (SAMPLES_KEPT, 5));
        assert!(past.columns.len() == NAMES.len() && past.columns.values().all(|column| column.len() == SAMPLES_KEPT));
        assert_eq!(past.columns["p99_us"][0], None, "nothing was asked, so nothing took any time");
    }

    #[test]
    fn an_export_that_is_gone_has_no_past() {
        let mut history = History::default();
        history.add(&sample(1, &["a", "b"]));
        history.add(&sample(2, &["b"]));
        assert!(history.past(Some("a")).is_none());
        assert_eq!(history.past(Some("b")).unwrap().times_ms, [1, 2]);
        assert_eq!(history.past(None).unwrap().times_ms, [1, 2]);
    }
}
