//! Exports: what they are, what they keep where, and how those they depend on do.

use serde::{Deserialize, Serialize};

/// When an export goes away by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destiny {
    /// It doesn't; it stands in the configuration.
    #[default]
    Fixed,
    /// It doesn't, not even when the service restarts.
    Keep,
    /// When its last client leaves.
    LastClose,
    /// When it had no client for [`Lifetime::idle_seconds`].
    Idle,
}

/// How long an export lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// When it goes away.
    pub until: Destiny,
    /// For [`Destiny::Idle`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
}

/// Where the bytes of an export are. What is in none of these reads as zeroes and costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Kept in RAM as they are.
    pub resident: u64,
    /// RAM taken by compressed pages.
    pub compressed: u64,
    /// What those pages are when they are not compressed.
    pub compressed_original: u64,
    /// Kept on a disk of this machine.
    pub file: u64,
    /// Kept by another machine, or several: each byte once.
    pub remote: u64,
    /// Promised but not written.
    pub reserved: u64,
    /// Known to be zeroes, though they were written.
    pub zero: u64,
    /// Tables, checksums, fragmentation.
    pub overhead: u64,
}

impl Memory {
    /// Bytes of the export that hold something.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.resident + self.compressed_original + self.file + self.remote
    }

    /// RAM of this machine that is used.
    #[must_use]
    pub fn ram(&self) -> u64 {
        self.resident + self.compressed + self.overhead
    }

    /// Adds another's bytes.
    pub fn add(&mut self, other: &Self) {
        self.resident += other.resident;
        self.compressed += other.compressed;
        self.compressed_original += other.compressed_original;
        self.file += other.file;
        self.remote += other.remote;
        self.reserved += other.reserved;
        self.zero += other.zero;
        self.overhead += other.overhead;
    }
}

/// How a member of a mirror or stripe, or an upstream, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberHealth {
    /// It serves.
    Healthy,
    /// It is being given what it missed, and serves no reads.
    Resyncing,
    /// It answers, but it lacks what was written meanwhile.
    Stale,
    /// It doesn't answer.
    Unreachable,
}

impl MemberHealth {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Resyncing => "resyncing",
            Self::Stale => "stale",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A store that an export depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberState {
    /// Its URI or path, without secrets.
    pub name: String,
    /// How it does.
    pub health: MemberHealth,
    /// Bytes it must still be given.
    #[serde(default)]
    pub behind_bytes: u64,
    /// Bytes it had to be given when that began: with `behind_bytes`, the progress.
    #[serde(default)]
    pub behind_at_start_bytes: u64,
    /// Its usual latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// What it said last, when it isn't healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// An export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportState {
    /// Its name, which may be empty and hold anything a client may send.
    pub name: String,
    /// In words.
    #[serde(default)]
    pub description: String,
    /// What it is kept in, as it would be configured: `ram`, `mirror:(…;…)`.
    pub store: String,
    /// Bytes it has addresses for.
    pub size: u64,
    /// The most bytes it may keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// It refuses writes.
    #[serde(default)]
    pub read_only: bool,
    /// A new client ends the connections of the one before.
    #[serde(default)]
    pub exclusive: bool,
    /// When it goes away.
    #[serde(default)]
    pub lifetime: Lifetime,
    /// Who made it, if it was made at run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Where its bytes are.
    #[serde(default)]
    pub memory: Memory,
    /// What it depends on.
    #[serde(default)]
    pub members: Vec<MemberState>,
}

/// An export to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewExport {
    /// Its name.
    pub name: String,
    /// Bytes it has addresses for.
    pub size: u64,
    /// What to keep it in, as it would be configured; what the service prefers if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The most bytes it may keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// Refuse writes.
    #[serde(default)]
    pub read_only: bool,
    /// When it goes away; [`Destiny::Fixed`] is not for these and means [`Destiny::Keep`].
    #[serde(default)]
    pub lifetime: Lifetime,
}

impl From<store::Usage> for Memory {
    fn from(usage: store::Usage) -> Self {
        Self {
            resident: usage.resident_bytes,
            compressed: usage.compressed_stored_bytes,
            compressed_original: usage.compressed_original_bytes,
            file: usage.file_bytes,
            remote: 0,
            reserved: usage.reserved_bytes,
            zero: usage.zero_bytes,
            overhead: usage.overhead_bytes,
        }
    }
}
