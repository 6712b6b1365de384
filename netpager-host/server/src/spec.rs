//! What the values on the command line mean.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where an export's pages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreSpec {
    Ram,
    File(PathBuf),
}

/// One `--export`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportSpec {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) store: StoreSpec,
    pub(crate) quota: Option<u64>,
    pub(crate) read_only: bool,
    pub(crate) delay: Duration,
    pub(crate) error_per_mille: u16,
}

impl FromStr for ExportSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("expected NAME=SIZE")?;
        if name.len() > nbd::limits::STRING_MAX {
            return Err("the name is too long".into());
        }
        let mut options = rest.split(',');
        let mut spec = Self {
            name: name.into(),
            size: parse_size(options.next().unwrap_or_default())?,
            store: StoreSpec::Ram,
            quota: None,
            read_only: false,
            delay: Duration::ZERO,
            error_per_mille: 0,
        };
        options.try_for_each(|option| spec.apply(option))?;
        match (&spec.store, spec.quota) {
            (StoreSpec::File(_), Some(_)) => Err("quota= is for RAM exports; a file takes no more than its size".into()),
            _ => Ok(spec),
        }
    }
}

impl ExportSpec {
    fn apply(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=') {
            Some(("store", "ram")) => self.store = StoreSpec::Ram,
            Some(("store", store)) => match store.strip_prefix("file:") {
                Some(path) if !path.is_empty() => self.store = StoreSpec::File(path.into()),
                _ => return Err(format!("`{store}` is no store; expected ram or file:PATH")),
            },
            Some(("quota", quota)) => self.quota = Some(parse_size(quota)?),
            Some(("delay", delay)) => {
                self.delay = Duration::from_millis(delay.parse::<u32>().map_err(|_| "delay= takes milliseconds")?.into());
            }
            Some(("error", rate)) => {
                let rate = rate.parse().ok().filter(|&rate| rate <= 1000);
                self.error_per_mille = rate.ok_or("error= takes a number from 0 to 1000")?;
            }
            None if option == "ro" => self.read_only = true,
            _ => return Err(format!("`{option}` is no option; expected store=, quota=, ro, delay= or error=")),
        }
        Ok(())
    }
}

/// One `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListenSpec {
    Tcp(String),
    Unix(PathBuf),
}

impl FromStr for ListenSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err("expected unix:PATH".into()) } else { Ok(Self::Unix(path.into())) };
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(text.into())),
            _ => Err("expected HOST:PORT or unix:PATH".into()),
        }
    }
}

/// Reads a number of bytes with an optional suffix.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let explain = || format!("`{text}` is no size; expected a number of bytes, or one with K, M, G or T after it");
    let (digits, shift) = match text.char_indices().last() {
        Some((end, suffix)) if !suffix.is_ascii_digit() => {
            let power = "KMGT".find(suffix.to_ascii_uppercase()).ok_or_else(explain)?;
            (&text[..end], 10 * (power as u32 + 1))
        }
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| explain())?;
    let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes <= i64::MAX as u64);
    match bytes.ok_or_else(|| format!("`{text}` is too large"))? {
        0 => Err("a size must be greater than 0".into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("1"), Ok(1));
        assert_eq!(parse_size("256M"), Ok(256 << 20));
        assert_eq!(parse_size("4k"), Ok(4096));
        assert_eq!(parse_size("1T"), Ok(1 << 40));
        for bad in ["", "0", "M", "-1", "1.5G", "1GB", "1é", "9999999999T", "9223372036854775808"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_export_may_say_everything() {
        let spec: ExportSpec = "a=4K,store=file:/x/y=z,ro,delay=3,error=1000".parse().unwrap();
        assert_eq!((spec.name.as_str(), spec.size, spec.read_only, spec.error_per_mille), ("a", 4096, true, 1000));
        assert_eq!((spec.store, spec.delay), (StoreSpec::File("/x/y=z".into()), Duration::from_millis(3)));
        let spec: ExportSpec = "=1T,quota=1G".parse().unwrap();
        assert_eq!((spec.name.as_str(), spec.quota, spec.store), ("", Some(1 << 30), StoreSpec::Ram));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("memory", "NAME=SIZE"),
            ("memory=", "no size"),
            ("m=1M,store=disk", "`disk` is no store"),
            ("m=1M,store=file:", "no store"),
            ("m=1M,store=file:/x,quota=1M", "RAM"),
            ("m=1M,rw", "`rw` is no option"),
            ("m=1M,error=1001", "0 to 1000"),
            ("m=1M,delay=soon", "milliseconds"),
        ] {
            let error = text.parse::<ExportSpec>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        for bad in ["", "localhost", ":1", "unix:", "127.0.0.1:70000"] {
            assert!(bad.parse::<ListenSpec>().is_err(), "{bad}");
        }
    }
}
