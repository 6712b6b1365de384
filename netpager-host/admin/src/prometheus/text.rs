//! Writing the text format: families with their help, lines with their labels, values.

use std::fmt::Write as _;

/// Text as it grows. Writing to a string cannot fail.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a family; its lines must follow at once.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}", help.replace('\\', "\\\\").replace('\n', "\\n"));
    }

    /// One number.
    pub(super) fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        self.labels(labels.iter().copied(), None);
        let _ = writeln!(self.0, " {value}");
    }

    /// A histogram: bounds and how many were not above them, how many in all, and their sum.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        buckets: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let infinity = (f64::INFINITY, count);
        for (bound, below) in buckets.chain([infinity]) {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels.iter().copied(), Some(&bound));
            let _ = writeln!(self.0, " {below}");
        }
        self.line(&format!("{name}_sum"), labels, sum);
        self.line(&format!("{name}_count"), labels, count as f64);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn labels<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>, bound: Option<&'a str>) {
        let mut separator = '{';
        for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(self.0, "{separator}{name}=\"");
            escape(&mut self.0, value);
            self.0.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
    }
}

/// A label may hold anything a client may call an export, but not end early.
fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            character => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.line("a", &[("b", "x\"} 1\n\\"), ("c", "é")], 0.5);
        text.line("d", &[], 1e9);
        assert_eq!(text.into_string(), "a{b=\"x\\\"} 1\\n\\\\\",c=\"é\"} 0.5\nd 1000000000\n");
    }

    #[test]
    fn a_histogram_ends_with_infinity() {
        let mut text = Text::default();
        text.histogram("h", &[], [(0.5, 1), (1.0, 3)].into_iter(), 4, 9.5);
        let lines = "h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 9.5\nh_count 4\n";
        assert_eq!(text.into_string(), lines);
    }
}
