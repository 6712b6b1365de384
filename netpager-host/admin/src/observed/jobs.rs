//! Long work in the service.

use serde::{Deserialize, Serialize};

/// What sort of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Everything is read and verified.
    Check,
    /// A member is given what it missed.
    Resync,
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progression {
    /// It does.
    Running,
    /// It ended, and all is well.
    Done,
    /// It ended, and all is not well: see the faults.
    Faulty,
    /// It was ended before its time.
    Cancelled,
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// Its number, never given twice.
    pub id: u64,
    /// What sort.
    pub kind: JobKind,
    /// Of which export.
    pub export: String,
    /// Whether it goes on.
    pub state: Progression,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes to do in all.
    pub total_bytes: u64,
    /// What was found wrong; the first few, in words.
    #[serde(default)]
    pub faults: Vec<String>,
    /// How much was found wrong.
    #[serde(default)]
    pub fault_count: u64,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
}
