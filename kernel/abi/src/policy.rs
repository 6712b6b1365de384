//! What a pager can do, and what happens when it doesn't: the flags of `memory_object_set_policy`.

/// The pager answers return requests (`pvmach.rs`) instead of taking data_return's pages.
pub const RETURN_REQUESTS: u32 = 1;
/// The pager wants `memory_object_discard`.
pub const DISCARDS: u32 = 2;

/// After the deadline: go on waiting (only counted).
pub const ON_DEADLINE_WAIT: u32 = 0;
/// After the deadline: the faulting thread gets EXC_BAD_ACCESS with KERN_TIMEDOUT.
pub const ON_DEADLINE_ERROR: u32 = 1;
/// After the deadline: the object is cut off from its pager; dirty pages go to the default pager.
pub const ON_DEADLINE_ADOPT: u32 = 2;

/// The most pages that one request or return carries.
pub const RUN_PAGES_MAX: u32 = 256;
