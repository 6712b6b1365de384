//! Who may do what, and which exports may be made: what a reload replaces while clients go on.

use security::{Acl, Glob};

use crate::config::{Config, Limits, Mistake, PatternSpec};

/// A pattern, and the names it is for.
pub(crate) struct Pattern {
    pub(crate) names: Glob,
    pub(crate) spec: PatternSpec,
}

/// The rules in force.
pub(crate) struct Policy {
    pub(crate) acl: Acl,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) limits: Limits,
}

impl Policy {
    pub(crate) fn new(config: &Config) -> Result<Self, Mistake> {
        let acl = Acl::new(&config.rules, &config.classes, config.insecure_any_address);
        let acl = acl.map_err(|error| Mistake::new(format!("the rules: {error}")))?;
        let pattern = |spec: &PatternSpec| match spec.names.parse() {
            Ok(names) => Ok(Pattern { names, spec: spec.clone() }),
            Err(error) => Err(Mistake::new(format!("[[pattern]] match = {:?}: {error}", spec.names))),
        };
        let patterns = config.patterns.iter().map(pattern).collect::<Result<_, _>>()?;
        Ok(Self { acl, patterns, limits: config.limits })
    }

    /// The pattern for a name: the first that fits.
    pub(crate) fn pattern(&self, name: &str) -> Option<&Pattern> {
        self.patterns.iter().find(|pattern| pattern.names.matches(name))
    }
}
