//! One rule, checked and ready for use.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bucket::Rate;
use crate::glob::Glob;
use crate::identity::Identity;

use super::config::{Access, ClassConfig, RuleConfig};
use super::grant::Limits;
use super::pattern::IdentityPattern;

/// Without a word about bursts.
const BURST: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Rule {
    identities: Vec<IdentityPattern>,
    exports: Vec<Glob>,
    pub(super) access: Access,
    pub(super) may_create: bool,
    pub(super) limits: Limits,
}

impl Rule {
    pub(super) fn new(config: &RuleConfig, classes: &BTreeMap<String, ClassConfig>) -> Result<Self, String> {
        let mut limits = Limits {
            max_bytes: config.max_bytes.map(|bytes| bytes.0),
            reserved_bytes: config.reserved_bytes.map(|bytes| bytes.0),
            max_connections: config.max_connections,
            requests: None,
            bytes: None,
        };
        if let Some(name) = &config.class {
            let class = classes.get(name).ok_or_else(|| format!("there is no [class.{name}]"))?;
            let burst = class.burst.map_or(BURST, |span| span.0);
            limits.requests = class.iops.map(|per_second| Rate { per_second, burst });
            limits.bytes = class.bandwidth.map(|bytes| Rate { per_second: bytes.0, burst });
            if [limits.requests, limits.bytes].iter().flatten().any(|rate| rate.per_second == 0) {
                return Err(format!("[class.{name}]: a rate of 0 would stop everything; use access = \"none\""));
            }
        }
        if config.access < Access::ReadWrite && (config.may_create || config.reserved_bytes.is_some()) {
            return Err("may-create and reserved-bytes make sense only where writing is allowed".into());
        }
        let rule = Self {
            identities: parse_all(config.identity.as_slice())?,
            exports: parse_all(config.export.as_slice())?,
            access: config.access,
            may_create: config.may_create,
            limits,
        };
        match (rule.identities.is_empty(), rule.exports.is_empty()) {
            (true, _) => Err("`identity` names nobody".into()),
            (_, true) => Err("`export` names no export".into()),
            _ => Ok(rule),
        }
    }

    /// The rule when there are none: all whom the kernel or a certificate vouches for, or who are on this machine.
    pub(super) fn default_for(anyone: bool) -> Self {
        let known = [IdentityPattern::Certificate, IdentityPattern::User(None), IdentityPattern::Loopback];
        Self {
            identities: if anyone { vec![IdentityPattern::Anyone] } else { known.into() },
            exports: parse_all(&["**".into()]).expect("a valid pattern"),
            access: Access::ReadWrite,
            may_create: true,
            limits: Limits::default(),
        }
    }

    pub(super) fn matches(&self, identity: &Identity, export: &str) -> bool {
        let called = self.identities.iter().flat_map(|pattern| pattern.matches(identity));
        called.into_iter().any(|called| self.exports.iter().any(|glob| glob.matches_for(export, called.as_deref())))
    }

    pub(super) fn means(&self, pattern: &IdentityPattern) -> bool {
        self.identities.contains(pattern)
    }

    /// The rule in a line.
    pub(super) fn describe(&self) -> String {
        let identities = self.identities.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let exports = self.exports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let create = if self.may_create { ", may create" } else { "" };
        format!("{identities} on {exports}: {}{create}", self.access.as_str())
    }
}

fn parse_all<T: std::str::FromStr<Err: ToString>>(texts: &[String]) -> Result<Vec<T>, String> {
    texts.iter().map(|text| text.parse().map_err(|error: T::Err| error.to_string())).collect()
}
