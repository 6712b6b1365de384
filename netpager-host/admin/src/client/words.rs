//! Numbers and names as a person reads them in a terminal.

/// Bytes in powers of 1024, in four or five characters and a unit.
pub(super) fn bytes(count: f64) -> String {
    scaled(count, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// A count in powers of 1000.
pub(super) fn count(count: f64) -> String {
    scaled(count, 1000.0, &["", "k", "M", "G"]).trim_end().to_owned()
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What would be rounded to a whole step is the next unit's.
    while number >= step - 0.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = if unit == 0 || number >= 99.95 { 0 } else { 1 };
    format!("{number:.digits$} {}", units[unit])
}

/// A latency, from microseconds.
pub(super) fn latency(microseconds: Option<f64>) -> String {
    match microseconds {
        None => "–".into(),
        Some(time) if time < 9.95 => format!("{time:.1} µs"),
        Some(time) if time < 999.5 => format!("{time:.0} µs"),
        Some(time) if time < 9_995.0 => format!("{:.2} ms", time / 1e3),
        Some(time) if time < 999_500.0 => format!("{:.0} ms", time / 1e3),
        Some(time) => format!("{:.1} s", time / 1e6),
    }
}

/// A time, from seconds.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// A name without anything that would move the cursor, ring the bell or pretend to be another name.
pub(super) fn name(text: &str) -> String {
    match text {
        "" => "(empty name)".into(),
        text => text.chars().flat_map(shown).collect(),
    }
}

fn shown(character: char) -> Vec<char> {
    // Bidirectional and zero-width characters are no control characters, but just as deceptive.
    let deceptive = matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    match character.is_control() || deceptive {
        true => character.escape_default().collect(),
        false => vec![character],
    }
}

/// Reads a number of bytes: `4096`, `256M`, `4GiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let explain = || format!("`{text}` is no size; expected a number of bytes, or one with K, M, G or T (or KiB …) after it");
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 1,
        "m" | "mib" => 2,
        "g" | "gib" => 3,
        "t" | "tib" => 4,
        _ => return Err(explain()),
    };
    let number: u64 = digits.parse().map_err(|_| explain())?;
    let size = number.checked_mul(1 << (10 * power)).filter(|&size| i64::try_from(size).is_ok());
    match size.ok_or_else(|| format!("`{text}` is too large"))? {
        0 => Err("a size must be greater than 0".into()),
        size => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let told: Vec<String> = [0.0, 1023.0, 1024.0, 1536.0, 1_048_575.0, 3e12].into_iter().map(bytes).collect();
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "2.7 TiB"]);
        assert_eq!([count(7.0), count(90_600.0), count(1.5e6)], ["7", "90.6 k", "1.5 M"]);
        let times = [None, Some(4.25), Some(334.0), Some(1500.0), Some(45_000.0), Some(2e6)].map(latency);
        assert_eq!(times, ["–", "4.2 µs", "334 µs", "1.50 ms", "45 ms", "2.0 s"]);
        assert_eq!([time(5), time(65), time(3660), time(90_000)], ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn a_name_cannot_take_over_the_terminal() {
        assert_eq!(name("np1/a é"), "np1/a é");
        assert_eq!(name("\x1b[2Jx\n\u{202e}"), "\\u{1b}[2Jx\\n\\u{202e}");
        assert_eq!(name(""), "(empty name)");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!([parse_size("1"), parse_size("4GiB"), parse_size("4g")], [Ok(1), Ok(4 << 30), Ok(4 << 30)]);
        for bad in ["", "0", "G", "1.5G", "4GB", "-1", "99999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
