//! The service as a whole.

use serde::{Deserialize, Serialize};

/// An address clients come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerState {
    /// What to paste into a client, without an export's name.
    pub uri: String,
    /// How it is protected, in a few words.
    pub protection: String,
}

/// The service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Its version.
    pub version: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Where clients come.
    pub listeners: Vec<ListenerState>,
    /// RAM all exports may use together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_limit: Option<u64>,
    /// Why it does not take new clients (now): it is starting, ending, or a store is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
}
