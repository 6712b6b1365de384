//! The rules together: who may do what.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::identity::Identity;

use super::config::{Access, ClassConfig, RuleConfig};
use super::grant::{Denial, Grant};
use super::pattern::IdentityPattern;
use super::rule::Rule;

/// Rules that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AclError {
    /// One of them.
    #[error("acl rule {number}: {problem}")]
    Rule {
        /// Which, counted from 1 in the order of the file.
        number: usize,
        /// What is wrong.
        problem: String,
    },
}

/// Access rules in order. Immutable: a reload makes another.
#[derive(Clone, Debug)]
pub struct Acl {
    rules: Vec<Rule>,
    /// The rules are not the operator's but the one that holds without any.
    is_default: bool,
    anyone_served: bool,
}

impl Acl {
    /// Checks the rules. Without any, all whom a certificate or the kernel vouches for and all on this machine may read,
    /// write and create everything.
    ///
    /// `anyone_served` is the operator's word that clients whom nobody vouches for may come; without it they get nothing,
    /// whatever the rules say.
    ///
    /// # Errors
    /// Names the rule.
    pub fn new(rules: &[RuleConfig], classes: &BTreeMap<String, ClassConfig>, anyone_served: bool) -> Result<Self, AclError> {
        if rules.is_empty() {
            return Ok(Self { rules: vec![Rule::default_for(anyone_served)], is_default: true, anyone_served });
        }
        let compile = |(index, rule)| Rule::new(rule, classes).map_err(|problem| AclError::Rule { number: index + 1, problem });
        let rules = rules.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { rules, is_default: false, anyone_served })
    }

    /// What `identity` may do with the export called `export`, whether it exists or not. A client that asked for the empty
    /// name means an export that has another: ask about that one.
    ///
    /// # Errors
    /// It may not even know whether it exists.
    pub fn decide(&self, identity: &Identity, export: &str) -> Result<Grant, Denial> {
        let denied = |why: String| Err(Denial { export: export.into(), why: format!("{identity}: {why}") });
        if identity.is_anyone() && !self.anyone_served {
            return denied("clients without a certificate are not served from other machines".into());
        }
        let Some((index, rule)) = self.rules.iter().enumerate().find(|(_, rule)| rule.matches(identity, export)) else {
            return denied(format!("none of the {} acl rules matches", self.rules.len()));
        };
        let why = self.why(index);
        if rule.access == Access::None {
            return denied(why);
        }
        Ok(Grant { access: rule.access, may_create: rule.may_create, limits: rule.limits, identity: identity.label(), why })
    }

    /// Whether an export may be listed to `identity`.
    pub fn may_see(&self, identity: &Identity, export: &str) -> bool {
        self.decide(identity, export).is_ok()
    }

    /// What an operator should look at again: rules that can never decide.
    pub fn warnings(&self) -> Vec<String> {
        let useless = |(index, rule): (usize, &Rule)| {
            let only_anyone = rule.means(&IdentityPattern::Anyone) && !self.anyone_served && !self.is_default;
            only_anyone.then(|| format!("{}: `anyone` still excludes clients from other machines without a certificate", self.why(index)))
        };
        self.rules.iter().enumerate().filter_map(useless).collect()
    }

    fn why(&self, index: usize) -> String {
        match self.is_default {
            true => format!("the rule that holds when there is no [[acl]] ({})", self.rules[index].describe()),
            false => format!("acl rule {} ({})", index + 1, self.rules[index].describe()),
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
