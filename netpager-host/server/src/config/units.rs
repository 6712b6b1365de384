//! Sizes and times as people write them: `4GiB`, `256M`, `30s`, `10m`. The same on the command line and in the file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A number of bytes, greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// An amount of time, greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || format!("`{text}` is no size; expected a number of bytes, or one with K, M, G, T or KiB, MiB, GiB, TiB after it");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| explain())?;
        let shift = match text[digits..].to_ascii_lowercase().as_str() {
            "" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => return Err(explain()),
        };
        // NBD's offsets fit a signed number.
        let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes <= i64::MAX as u64);
        match bytes.ok_or_else(|| format!("`{text}` is too large"))? {
            0 => Err("a size must be greater than 0".into()),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift)) {
            Some((shift, unit)) => write!(to, "{}{unit}", self.0 >> shift),
            None => write!(to, "{}", self.0),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let explain = || format!("`{text}` is no time; expected a number of seconds, or one with ms, s, m, h or d after it");
        let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
        let scale = match &text[end..] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(explain()),
        };
        let number: f64 = text[..end].parse().map_err(|_| explain())?;
        let time = Duration::try_from_secs_f64(number * scale).map_err(|_| format!("`{text}` is too long"))?;
        if time.is_zero() { Err("a time must be greater than 0".into()) } else { Ok(Self(time)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        match units.into_iter().find(|&(unit, _)| milliseconds >= unit && milliseconds.is_multiple_of(unit)) {
            Some((unit, name)) => write!(to, "{}{name}", milliseconds / unit),
            None => write!(to, "{milliseconds}ms"),
        }
    }
}

/// Takes text, or a plain number as if it were text.
struct Written(&'static str);

impl Visitor<'_> for Written {
    type Value = String;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Written("a size such as \"4GiB\""))?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Written("a time such as \"30s\""))?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        let size = |text: &str| text.parse::<Size>().map(|Size(bytes)| bytes);
        assert_eq!(size("1"), Ok(1));
        assert_eq!((size("256M"), size("256MiB")), (Ok(256 << 20), Ok(256 << 20)));
        assert_eq!((size("4k"), size("1T")), (Ok(4096), Ok(1 << 40)));
        for bad in ["", "0", "M", "-1", "1.5G", "1GB", "1é", "9999999999T", "9223372036854775808"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        let span = |text: &str| text.parse::<Span>().map(|Span(time)| time);
        assert_eq!((span("30s"), span("0.5")), (Ok(Duration::from_secs(30)), Ok(Duration::from_millis(500))));
        assert_eq!((span("10m"), span("250ms")), (Ok(Duration::from_secs(600)), Ok(Duration::from_millis(250))));
        for bad in ["", "0", "-1", "nan", "inf", "ten", "s", "1w", "1e99", "1..5"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        for bytes in [1, 4096, 1000, 5 << 30, 3 << 40, (1 << 40) + 1] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        for milliseconds in [1, 1000, 1500, 60_000, 3_600_000, 86_400_000] {
            let span = Span(Duration::from_millis(milliseconds));
            assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
