//! Rules as the configuration file has them.
//!
//! The service's configuration includes these tables. Everything is checked when they become an [`crate::Acl`]; here is only
//! what serde can check: known keys, known words, types.

use serde::{Deserialize, Serialize};

use crate::amount::{Bytes, Span};

/// What may be done with an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Nothing; it does not even exist.
    None,
    /// Reading.
    ReadOnly,
    /// Reading and writing, beside others.
    ReadWrite,
    /// Reading and writing, with everybody else shut out: a new connection closes the identity's older ones first.
    Exclusive,
}

impl Access {
    /// Whether writes are allowed.
    pub fn may_write(self) -> bool {
        self >= Self::ReadWrite
    }

    /// The word used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
            Self::Exclusive => "exclusive",
        }
    }
}

/// One text, or several: `"a"` or `["a", "b"]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Strings {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Strings {
    /// All of them.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// One `[[acl]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RuleConfig {
    /// Whom it means: `dns:GLOB`, `uri:GLOB`, `cn:GLOB`, `certificate`, `uid:NUMBER` or `uid:*`, `gid:NUMBER`, `loopback`,
    /// `anyone`.
    pub identity: Strings,
    /// Which exports it means: globs; `{name}` is the name of the identity.
    pub export: Strings,
    /// What it allows.
    pub access: Access,
    /// Whether exports may come into being because they are asked for.
    #[serde(default)]
    pub may_create: bool,
    /// The most bytes that all exports created by one identity may have together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Bytes>,
    /// The most bytes that one identity may reserve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_bytes: Option<Bytes>,
    /// The most connections that one identity may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// The `[class.NAME]` that says how fast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// One `[class.NAME]` table: how fast each identity that a rule gives this class may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClassConfig {
    /// Requests a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u64>,
    /// Bytes a second, read and written together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bytes>,
    /// How long an idle identity may then go at full speed, measured in what it saved; one second if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Span>,
}
