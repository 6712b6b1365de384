//! Words of the info calls: flavors, and the order of counters.

/// task_info: task_basic_info, 30 words.
pub const TASK_BASIC_INFO: i32 = 1;
/// Words of it.
pub const TASK_BASIC_INFO_COUNT: usize = 30;
/// thread_info: thread_basic_info, 32 words.
pub const THREAD_BASIC_INFO: i32 = 1;
/// Words of it.
pub const THREAD_BASIC_INFO_COUNT: usize = 32;
/// host_info: host_basic_info, 6 words.
pub const HOST_BASIC_INFO: i32 = 1;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A counter of `host_vm_counters`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum VmCounter { $($(#[$doc])* $name,)* }
        impl VmCounter {
            /// All, in the order of the reply.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
        }
    };
}

counters! {
    /// Frames that are free.
    Free,
    /// Frames in all.
    Total,
    /// Frames wired.
    Wired,
    Faults,
    ZeroFills,
    /// Copy-on-write faults that copied a page.
    CopyFaults,
    /// Requests sent to pagers.
    Requests,
    /// Pages asked for by them.
    PagesRequested,
    /// Pages that pagers supplied, moved or from a device.
    PagesSupplied,
    /// Bytes copied to supply them.
    BytesCopiedIn,
    /// Runs of dirty pages that went home.
    Returns,
    /// Pages in them.
    PagesReturned,
    /// Bytes copied to return them.
    BytesCopiedOut,
    /// Clean pages dropped.
    PagesDropped,
    /// Requests that met their deadline.
    Deadlines,
    /// Answers that no request waited for.
    Unasked,
}
