//! Why the service did not do what it was asked.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Whose fault it is, which decides the HTTP status and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// What was asked makes no sense.
    Invalid,
    /// Whoever asked has not said who they are.
    Unauthorized,
    /// It is not to be had from there, or not at all.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It is in use, or there is one already.
    Conflict,
    /// There is no space for it.
    NoSpace,
    /// The service or its store failed.
    Failed,
}

impl FaultKind {
    /// The HTTP status that says so.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NoSpace => 507,
            Self::Failed => 500,
        }
    }
}

/// An answer that is a no, with a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Fault {
    /// Whose fault.
    pub kind: FaultKind,
    /// Why, and what to do about it.
    pub message: String,
}

impl Fault {
    /// A fault with its sentence.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// There is no such export.
    #[must_use]
    pub fn no_export(name: &str) -> Self {
        Self::new(FaultKind::NotFound, format!("there is no export `{name}`"))
    }

    /// There is no such client.
    #[must_use]
    pub fn no_client(id: u64) -> Self {
        Self::new(FaultKind::NotFound, format!("client {id} is not connected (any more)"))
    }
}
