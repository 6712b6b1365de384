//! What the admin side asks of the service, and the words for the answers.
//!
//! [`Observed`] looks and [`Operated`] changes. Both may wait (a store may be slow to say how full it is), so they are never
//! called on an event loop. The words are serialized as the API's JSON as they stand, and read back by [`crate::client`]:
//! a field renamed here is a change of the API, which `page/openapi.json` describes and a test compares.

mod export;
mod fault;
mod jobs;
mod service;

pub use export::{Destiny, ExportState, Lifetime, MemberHealth, MemberState, Memory, NewExport};
pub use fault::{Fault, FaultKind};
pub use jobs::{JobKind, JobState, Progression};
pub use service::{ListenerState, ServiceState};

use crate::map::AllocationMap;

/// A service that can be looked at.
pub trait Observed: Send + Sync + 'static {
    /// The service as a whole.
    fn service(&self) -> ServiceState;

    /// All exports, in the order they should be shown in.
    fn exports(&self) -> Vec<ExportState>;

    /// What the pages of a range of an export are, in at most `cells` cells; [`AllocationMap::of_store`] does the work.
    /// A `length` of 0 means up to the end.
    ///
    /// # Errors
    /// No such export or range, or its store could not tell.
    fn map(&self, export: &str, offset: u64, length: u64, cells: usize) -> Result<AllocationMap, Fault>;

    /// Long work: running, and what ended lately.
    fn jobs(&self) -> Vec<JobState>;
}

/// A service that can be told to do things.
pub trait Operated: Observed {
    /// Makes an export.
    ///
    /// # Errors
    /// There is one of that name, there is no space for it, or what was asked makes no sense.
    fn create_export(&self, wanted: &NewExport) -> Result<ExportState, Fault>;

    /// Removes an export, with what is in it if it was made at run time.
    ///
    /// # Errors
    /// There is none, it stands in the configuration, or it has clients and `force` was not asked for.
    fn remove_export(&self, export: &str, force: bool) -> Result<(), Fault>;

    /// Closes a client's connection.
    ///
    /// # Errors
    /// There is no such connection (any more).
    fn disconnect(&self, client: u64) -> Result<(), Fault>;

    /// Begins to read and verify everything an export keeps. Returns at once: the job is in [`Observed::jobs`].
    ///
    /// # Errors
    /// There is no such export, or a check of it runs already.
    fn check_export(&self, export: &str) -> Result<JobState, Fault>;

    /// Ends a job before its time.
    ///
    /// # Errors
    /// There is no such job, or it cannot be stopped.
    fn cancel_job(&self, job: u64) -> Result<(), Fault>;
}
