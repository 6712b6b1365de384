//! What a rule gives, how far it goes, and why not: errors in words.
//!
//! A [`Denial`] has two faces. The client is told what it would be told if the export did not exist; the log gets the reason.
//! A [`Refusal`] is for a client that may know of the export, and says which limit of which rule it met, so that its user can
//! do something about it.

use thiserror::Error;

use crate::amount::Bytes;
use crate::bucket::Rate;

use super::config::Access;

/// How much and how fast. What is `None` has no limit here. All of it is counted for one identity, over all its connections
/// and exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all exports it created.
    pub max_bytes: Option<u64>,
    /// Bytes it reserved.
    pub reserved_bytes: Option<u64>,
    /// Connections.
    pub max_connections: Option<u32>,
    /// Requests.
    pub requests: Option<Rate>,
    /// Bytes read and written.
    pub bytes: Option<Rate>,
}

/// What an identity may do with an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Never [`Access::None`].
    pub access: Access,
    /// Whether the export may be made if it does not exist.
    pub may_create: bool,
    /// How much and how fast.
    pub limits: Limits,
    /// Who was given it, as [`crate::Identity::label`] has it.
    pub identity: String,
    /// The rule that decided, in words: `acl rule 3 (dns:guest-* on np1/{name}/**: read-write)`.
    pub why: String,
}

/// Why an identity may not even know of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What was asked for.
    pub export: String,
    /// The reason, for the log only.
    pub why: String,
}

impl Denial {
    /// What the client is told.
    pub fn told(&self) -> String {
        no_such_export(&self.export)
    }
}

/// What a client is told of an export that it has no rights to, and of one that does not exist: the same.
pub fn no_such_export(name: &str) -> String {
    format!("there is no export `{}` for you here", name.escape_debug())
}

/// A limit that a request would pass.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It does not exist and may not be made.
    #[error("export `{export}` does not exist and {identity} may not create it; see {why}")]
    MayNotCreate {
        /// What was asked for.
        export: String,
        /// By whom.
        identity: String,
        /// The rule.
        why: String,
    },
    /// Its size would be too much.
    #[error("export `{export}` refused: {identity} may create at most {limit} ({used} used, {wanted} wanted); see {why}")]
    TooManyBytes {
        /// What was asked for.
        export: String,
        /// By whom.
        identity: String,
        /// The most.
        limit: Bytes,
        /// What there is.
        used: Bytes,
        /// What it would add.
        wanted: Bytes,
        /// The rule.
        why: String,
    },
    /// It would reserve too much.
    #[error("reservation refused: {identity} may reserve at most {limit} ({used} reserved, {wanted} wanted); see {why}")]
    TooMuchReserved {
        /// By whom.
        identity: String,
        /// The most.
        limit: Bytes,
        /// What there is.
        used: Bytes,
        /// What it would add.
        wanted: Bytes,
        /// The rule.
        why: String,
    },
    /// It would be one connection too many.
    #[error("connection refused: {identity} may have at most {limit} connections; see {why}")]
    TooManyConnections {
        /// By whom.
        identity: String,
        /// The most.
        limit: u32,
        /// The rule.
        why: String,
    },
}

impl Grant {
    /// Whether an export of `wanted` bytes may be made by an identity whose exports have `used` bytes.
    ///
    /// # Errors
    /// Why not.
    pub fn check_create(&self, export: &str, wanted: u64, used: u64) -> Result<(), Refusal> {
        let (identity, why, export) = (self.identity.clone(), self.why.clone(), export.escape_debug().to_string());
        if !self.may_create {
            return Err(Refusal::MayNotCreate { export, identity, why });
        }
        match over(self.limits.max_bytes, wanted, used) {
            None => Ok(()),
            Some((limit, wanted, used)) => Err(Refusal::TooManyBytes { export, identity, limit, used, wanted, why }),
        }
    }

    /// Whether `wanted` bytes more may be reserved by an identity that has `used` reserved.
    ///
    /// # Errors
    /// Why not.
    pub fn check_reserve(&self, wanted: u64, used: u64) -> Result<(), Refusal> {
        match over(self.limits.reserved_bytes, wanted, used) {
            None => Ok(()),
            Some((limit, wanted, used)) => {
                Err(Refusal::TooMuchReserved { identity: self.identity.clone(), limit, used, wanted, why: self.why.clone() })
            }
        }
    }

    /// Whether an identity with `open` connections may have one more.
    ///
    /// # Errors
    /// Why not.
    pub fn check_connections(&self, open: u32) -> Result<(), Refusal> {
        match self.limits.max_connections {
            Some(limit) if open >= limit => {
                Err(Refusal::TooManyConnections { identity: self.identity.clone(), limit, why: self.why.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The three numbers, if they are too much.
fn over(limit: Option<u64>, wanted: u64, used: u64) -> Option<(Bytes, Bytes, Bytes)> {
    let limit = limit?;
    let fits = used.checked_add(wanted).is_some_and(|sum| sum <= limit);
    (!fits).then_some((Bytes(limit), Bytes(wanted), Bytes(used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        let limits = Limits { max_bytes: Some(8 << 30), reserved_bytes: Some(1 << 20), max_connections: Some(2), ..Limits::default() };
        let (identity, why) = ("dns:guest-a".into(), "acl rule 3 (…)".into());
        Grant { access: Access::ReadWrite, may_create: true, limits, identity, why }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let grant = grant();
        assert_eq!(grant.check_create("x", 8 << 30, 0), Ok(()));
        assert!(grant.check_create("x", 8 << 30, 1).is_err());
        assert!(grant.check_create("x", u64::MAX, 1).is_err(), "sums do not wrap");
        assert_eq!(grant.check_reserve(1, (1 << 20) - 1), Ok(()));
        assert!(grant.check_reserve(2, (1 << 20) - 1).is_err());
        assert_eq!(grant.check_connections(1), Ok(()));
        assert!(grant.check_connections(2).is_err());
        let free = Grant { limits: Limits::default(), ..grant };
        assert!(free.check_create("x", u64::MAX, u64::MAX).is_ok() && free.check_reserve(u64::MAX, 1).is_ok());
        assert!(free.check_connections(u32::MAX).is_ok());
    }

    #[test]
    fn refusals_say_who_what_and_where_to_look() {
        let text = grant().check_create("np1/a/heap", 2 << 30, 6_657_199_309).unwrap_err().to_string();
        assert_eq!(
            text,
            "export `np1/a/heap` refused: dns:guest-a may create at most 8 GiB (6.2 GiB used, 2 GiB wanted); see acl rule 3 (…)"
        );
        let text = Grant { may_create: false, ..grant() }.check_create("a\nb", 1, 0).unwrap_err().to_string();
        assert_eq!(text, "export `a\\nb` does not exist and dns:guest-a may not create it; see acl rule 3 (…)");
    }
}
