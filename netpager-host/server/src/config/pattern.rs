//! Exports made on demand: which names a client may ask into being, and what it then gets.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::export::{ExportSpec, ram};
use super::store::{StoreSpec, split};
use super::units::{Size, Span};

/// What may follow the size on the command line.
const OPTIONS: &str = "store=, quota=, max-size=, lifetime=, max-per-identity= or exclusive";

/// When an export made on demand is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// When its last client leaves.
    #[default]
    LastClose,
    /// When nobody has used it for this long.
    Idle(Span),
    /// Only when it is deleted.
    Keep,
}

/// One `--pattern`, or one `[[pattern]]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PatternSpec {
    /// Which names: `*` is any part without a slash, `**` anything.
    #[serde(rename = "match")]
    pub(crate) names: String,
    /// The size if the name does not end in `@SIZE`.
    pub(crate) size: Size,
    /// The largest that a name may ask for; [`Self::size`] if nothing is said.
    pub(crate) max_size: Option<Size>,
    /// The most memory one export may cost.
    pub(crate) quota: Option<Size>,
    #[serde(default = "ram")]
    pub(crate) store: StoreSpec,
    #[serde(default)]
    pub(crate) lifetime: Lifetime,
    /// How many of these one identity may have at a time.
    pub(crate) max_per_identity: Option<u32>,
    #[serde(default)]
    pub(crate) exclusive: bool,
}

impl PatternSpec {
    /// Whether what it says makes sense together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.store.is_shared() {
            return Err(format!("all exports of `{}` would share `{}`; put {{name}} into it", self.names, self.store));
        }
        if self.max_size.is_some_and(|max| max < self.size) {
            return Err(format!("the max-size of `{}` is less than its size", self.names));
        }
        if self.names.contains('@') {
            return Err(format!("`{}`: what follows @ in a name is its size", self.names));
        }
        ExportSpec { quota: self.quota, ..ExportSpec::new("", self.size, self.store.clone()) }.check()
    }

    /// What a client gets that asks for `base` with `size`, which it may have left out.
    pub(crate) fn export(&self, base: &str, size: Option<Size>) -> Result<ExportSpec, String> {
        let max = self.max_size.unwrap_or(self.size);
        let size = size.unwrap_or(self.size);
        if size > max {
            return Err(format!("{size} is more than the {max} an export of this kind may have"));
        }
        let spec = ExportSpec::new(base, size, self.store.named(base));
        Ok(ExportSpec { quota: self.quota, exclusive: self.exclusive, ..spec })
    }

    fn apply(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=') {
            Some(("store", store)) => self.store = store.parse()?,
            Some(("quota", quota)) => self.quota = Some(quota.parse()?),
            Some(("max-size", size)) => self.max_size = Some(size.parse()?),
            Some(("lifetime", lifetime)) => self.lifetime = lifetime.parse()?,
            Some(("max-per-identity", count)) => {
                self.max_per_identity = Some(count.parse().map_err(|_| "max-per-identity takes a number")?);
            }
            None if option == "exclusive" => self.exclusive = true,
            _ => return Err(format!("`{option}` is no option; expected {OPTIONS}")),
        }
        Ok(())
    }
}

/// Cuts `np1/guest/heap@4G` into the name of the export and its size.
pub(crate) fn sized_name(name: &str) -> Result<(&str, Option<Size>), String> {
    match name.rsplit_once('@') {
        Some((base, size)) => Ok((base, Some(size.parse()?))),
        None => Ok((name, None)),
    }
}

impl FromStr for PatternSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (names, rest) = text.split_once('=').ok_or("expected PATTERN=SIZE")?;
        let mut options = split(rest, ',').into_iter();
        let size = options.next().unwrap_or_default().parse()?;
        let (names, lifetime) = (names.into(), Lifetime::default());
        let (max_size, quota, max_per_identity) = (None, None, None);
        let mut spec = Self { names, size, max_size, quota, store: ram(), lifetime, max_per_identity, exclusive: false };
        options.try_for_each(|option| spec.apply(option))?;
        spec.check().map(|()| spec)
    }
}

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once([' ', ':']) {
            None if text == "last-close" => Ok(Self::LastClose),
            None if text == "keep" => Ok(Self::Keep),
            Some(("idle", time)) => time.trim().parse().map(Self::Idle),
            _ => Err(format!("`{text}` is no lifetime; expected last-close, keep or idle TIME")),
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastClose => to.write_str("last-close"),
            Self::Idle(time) => write!(to, "idle {time}"),
            Self::Keep => to.write_str("keep"),
        }
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_say_everything() {
        let text = "np1/*/*=1T,quota=2G,max-size=2T,store=file:/p/{name},lifetime=idle 10m,max-per-identity=3,exclusive";
        assert!(text.parse::<PatternSpec>().unwrap_err().contains("RAM"), "a file has no quota");
        let pattern: PatternSpec = text.replace("quota=2G,", "").parse().unwrap();
        assert_eq!((pattern.max_size, pattern.max_per_identity), (Some(Size(2 << 40)), Some(3)));
        assert_eq!(pattern.lifetime.to_string(), "idle 10m");
        let export = pattern.export("np1/a/b", Some(Size(4096))).unwrap();
        assert!(export.exclusive && export.size == Size(4096) && export.store.to_string() == "file:/p/np1%2fa%2fb");
        assert!(pattern.export("np1/a/b", Some(Size(3 << 40))).unwrap_err().contains("2TiB"));
    }

    #[test]
    fn names_carry_a_size() {
        assert_eq!(sized_name("np1/a/b@4G"), Ok(("np1/a/b", Some(Size(4 << 30)))));
        assert_eq!(sized_name("np1/a/b"), Ok(("np1/a/b", None)));
        assert!(sized_name("np1/a/b@much").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("np1/*", "PATTERN=SIZE"),
            ("np1/*=1G,store=file:/x", "{name}"),
            ("np1/*=1G,max-size=1M", "less than its size"),
            ("np1/*=1G,lifetime=long", "no lifetime"),
            ("np1/@*=1G", "follows @"),
        ] {
            let error = text.parse::<PatternSpec>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
