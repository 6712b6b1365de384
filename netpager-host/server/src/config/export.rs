//! An export as it was asked for, on the command line (`NAME=SIZE,OPTION,…`) or in the file (`[[export]]`).

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::store::{StoreSpec, split};
use super::units::{Size, Span};

/// What may follow the size on the command line.
const OPTIONS: &str = "store=, quota=, ro, exclusive, log, description=, delay= or error=";

/// One `--export`, or one `[[export]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ExportSpec {
    pub(crate) name: String,
    pub(crate) size: Size,
    #[serde(default = "ram")]
    pub(crate) store: StoreSpec,
    /// The most memory it may cost.
    pub(crate) quota: Option<Size>,
    #[serde(default)]
    pub(crate) read_only: bool,
    /// One connection at a time; a new one of the same client ends the one before it.
    #[serde(default)]
    pub(crate) exclusive: bool,
    pub(crate) description: Option<String>,
    /// Log every call.
    #[serde(default)]
    pub(crate) log: bool,
    /// How long every call takes at least.
    pub(crate) delay: Option<Span>,
    /// How many of a thousand calls fail.
    #[serde(default)]
    pub(crate) error: u16,
}

pub(super) fn ram() -> StoreSpec {
    StoreSpec::Ram
}

impl ExportSpec {
    pub(crate) fn new(name: impl Into<String>, size: Size, store: StoreSpec) -> Self {
        let (name, delay) = (name.into(), None);
        Self { name, size, store, quota: None, read_only: false, exclusive: false, description: None, log: false, delay, error: 0 }
    }

    /// Whether what it says makes sense together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.name.len() > nbd::limits::STRING_MAX {
            return Err("the name is too long".into());
        }
        if self.name.chars().any(char::is_control) {
            return Err("the name has control characters".into());
        }
        if self.quota.is_some() && !self.store.takes_quota() {
            return Err("quota is for stores in RAM and clusters; a file takes no more than its size".into());
        }
        if self.error > 1000 {
            return Err("error takes a number from 0 to 1000".into());
        }
        Ok(())
    }

    fn apply(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=') {
            Some(("store", store)) => self.store = store.parse()?,
            Some(("quota", quota)) => self.quota = Some(quota.parse()?),
            Some(("description", text)) => self.description = Some(text.into()),
            Some(("delay", delay)) => self.delay = parse_delay(delay)?,
            Some(("error", rate)) => self.error = rate.parse().map_err(|_| "error takes a number from 0 to 1000")?,
            None if option == "ro" => self.read_only = true,
            None if option == "exclusive" => self.exclusive = true,
            None if option == "log" => self.log = true,
            _ => return Err(format!("`{option}` is no option; expected {OPTIONS}")),
        }
        Ok(())
    }
}

/// A time, or a plain number of milliseconds; zero is none.
fn parse_delay(text: &str) -> Result<Option<Span>, String> {
    match text.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(milliseconds) => Ok(Some(Span(Duration::from_millis(milliseconds.into())))),
        Err(_) => text.parse().map(Some).map_err(|_| "delay= takes milliseconds, or a time such as 2s".into()),
    }
}

impl FromStr for ExportSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("expected NAME=SIZE")?;
        let mut options = split(rest, ',').into_iter();
        let mut spec = Self::new(name, options.next().unwrap_or_default().parse()?, StoreSpec::Ram);
        options.try_for_each(|option| spec.apply(option))?;
        spec.check().map(|()| spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_may_say_everything() {
        let spec: ExportSpec = "a=4K,store=file:/x/y=z,ro,exclusive,log,delay=3,error=1000".parse().unwrap();
        assert_eq!((spec.name.as_str(), spec.size, spec.error), ("a", Size(4096), 1000));
        assert!(spec.read_only && spec.exclusive && spec.log);
        assert_eq!((spec.store, spec.delay), (StoreSpec::File("/x/y=z".into()), Some(Span(Duration::from_millis(3)))));
        let spec: ExportSpec = "=1T,quota=1G".parse().unwrap();
        assert_eq!((spec.name.as_str(), spec.quota, spec.store), ("", Some(Size(1 << 30)), StoreSpec::Ram));
        let spec: ExportSpec = "m=1M,store=mirror:(file:/a,b;ram),ro".parse().unwrap();
        assert!(spec.read_only && spec.store.to_string() == "mirror:(file:/a,b;ram)");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("memory", "NAME=SIZE"),
            ("memory=", "no size"),
            ("m=1M,store=disk", "`disk` is no store"),
            ("m=1M,store=file:", "lacks a path"),
            ("m=1M,store=file:/x,quota=1M", "RAM"),
            ("m=1M,rw", "`rw` is no option"),
            ("m=1M,error=1001", "0 to 1000"),
            ("m=1M,delay=soon", "milliseconds"),
            ("a\nb=1M", "control characters"),
        ] {
            let error = text.parse::<ExportSpec>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
