//! Amounts as people write them in a configuration: `8GiB`, `30s`.
//!
//! A number without a unit is bytes, or seconds. Powers are of 1024, with or without the `i` and the `B`, as on the service's
//! command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || format!("`{text}` is no size; expected a number of bytes, or one like 64KiB, 256M, 8GiB or 1T");
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| explain())?;
        let unit = unit.trim_start().to_ascii_uppercase();
        let power = match unit.as_str() {
            "" | "B" => 0,
            other => {
                let letter = other.strip_suffix("IB").or_else(|| other.strip_suffix('B')).unwrap_or(other);
                UNITS.iter().skip(1).position(|unit| *unit == letter).ok_or_else(explain)? as u32 + 1
            }
        };
        let bytes = number.checked_mul(1 << (10 * power)).filter(|&bytes| bytes <= i64::MAX as u64);
        bytes.map(Self).ok_or_else(|| format!("`{text}` is too large"))
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that leaves at least 1, with one decimal where it matters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = (1..UNITS.len()).rev().find(|power| self.0 >> (10 * power) > 0).unwrap_or(0);
        let (whole, rest) = (self.0 >> (10 * power), self.0 & ((1 << (10 * power)) - 1));
        let tenths = (u128::from(rest) * 10) >> (10 * power);
        match (power, tenths) {
            (0, _) => write!(f, "{whole} bytes"),
            (_, 0) => write!(f, "{whole} {}iB", UNITS[power]),
            _ => write!(f, "{whole}.{tenths} {}iB", UNITS[power]),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || format!("`{text}` is no time; expected seconds, or a number with ms, s, m, h or d after it");
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| explain())?;
        let seconds = match unit.trim_start() {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(explain()),
        };
        Duration::try_from_secs_f64(number * seconds).map(Self).map_err(|_| format!("`{text}` is too long"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A TOML value that is a number or a text that parses.
struct NumberOrText<T>(std::marker::PhantomData<T>, &'static str);

impl<T: FromStr<Err = String>> Visitor<'_> for NumberOrText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        value.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        value.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText(std::marker::PhantomData, "a size such as 8GiB"))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrText(std::marker::PhantomData, "a time such as 30s"))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_may_have_units() {
        for (text, bytes) in
            [("0", 0), ("1", 1), ("7B", 7), ("4k", 4096), ("64KiB", 65536), ("8 GiB", 8 << 30), ("1T", 1 << 40), ("2mb", 2 << 20)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "G", "-1", "1.5G", "1X", "1iB", "1é", "99999999999999999999", "9999999999T", "1 2"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_told_in_words() {
        for (bytes, text) in [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (6_657_199_309, "6.2 GiB"), (8 << 30, "8 GiB")] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn times_may_have_units() {
        for (text, milliseconds) in [("30", 30_000), ("1.5s", 1500), ("200ms", 200), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(milliseconds))), "{text}");
        }
        for bad in ["", "s", "-1", "1w", "inf", "nan", "1e9", "9999999999999999999999d", "1.2.3s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_may_hold_numbers_and_texts() {
        #[derive(Deserialize)]
        struct Both {
            size: Bytes,
            time: Span,
        }
        let both: Both = toml::from_str("size = 4096\ntime = 0.5").unwrap();
        assert_eq!((both.size, both.time), (Bytes(4096), Span(Duration::from_millis(500))));
        let both: Both = toml::from_str("size = \"4KiB\"\ntime = \"500ms\"").unwrap();
        assert_eq!((both.size, both.time), (Bytes(4096), Span(Duration::from_millis(500))));
        let error = toml::from_str::<Both>("size = -1\ntime = 1").err().unwrap().to_string();
        assert!(error.contains("`-1` is no size"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,12}") {
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<Span>();
        }
    }
}
