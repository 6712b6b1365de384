//! Access rules: who may do what with which export.
//!
//! As in a firewall or PostgreSQL's `pg_hba.conf`, rules are in order and the first that matches both the identity and the
//! export's name decides; what no rule matches is refused. First-match was chosen over most-specific because "specific" has
//! no meaning between two patterns that overlap, while an operator can always point at the first line that fits.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | the tables of the configuration file |
//! | `pattern` | whom a rule means |
//! | `rule` | one rule, ready for use |
//! | `decide` | [`Acl`] |
//! | `grant` | [`Grant`] and its limits; [`Denial`] and [`Refusal`], errors in words |

mod config;
mod decide;
mod grant;
mod pattern;
mod rule;

pub use config::{Access, ClassConfig, RuleConfig, Strings};
pub use decide::{Acl, AclError};
pub use grant::{Denial, Grant, Limits, Refusal, no_such_export};
