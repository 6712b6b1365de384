//! What the same operations cost elsewhere: guest instructions, measured once, as facts.
//!
//! Source: our measurements of 2026-11 with QEMU 7.2, `-icount shift=0`, one CPU; two runs agree within 16 instructions.
//! GNU Mach is the branch wip-aarch64 (gcc -O2): "as is" has only the patches without which it does not boot or loses
//! copy-on-write, "kind" has its byte-wise memset and memcpy replaced by word-wise ones and its assertions off. Linux is
//! Debian's 6.1 cloud kernel on a cortex-a72; "tuned" has mitigations and auditing off.

/// One operation. A peer that has no such operation, or was not measured, has no figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// The name in the guest's `@bench` line.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) mach_as_is: Option<u64>,
    pub(crate) mach_kind: Option<u64>,
    pub(crate) linux: Option<u64>,
    pub(crate) linux_tuned: Option<u64>,
}

const fn operation(name: &'static str, description: &'static str, mach: [Option<u64>; 2], linux: [Option<u64>; 2]) -> Operation {
    let ([mach_as_is, mach_kind], [linux, linux_tuned]) = (mach, linux);
    Operation { name, description, mach_as_is, mach_kind, linux, linux_tuned }
}

const NONE: [Option<u64>; 2] = [None, None];

const fn both(first: u64, second: u64) -> [Option<u64>; 2] {
    [Some(first), Some(second)]
}

/// In the order in which they are printed.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation("null-trap", "trap that returns at once (Linux: getppid)", both(122, 122), both(509, 327)),
    operation("mach-task-self", "mach_task_self", both(431, 369), NONE),
    operation("kernel-rpc", "kernel RPC: mach_port_type", both(1_186, 1_095), NONE),
    operation("kernel-rpc-vm-statistics", "kernel RPC: vm_statistics", both(1_104, 1_016), NONE),
    operation("kernel-rpc-task-info", "kernel RPC: task_info", both(1_901, 1_798), NONE),
    operation("thread-rpc", "round trip, empty, two threads of a task (Linux: futex)", both(1_966, 1_770), both(11_453, 10_451)),
    operation("user-rpc", "round trip, empty, two tasks (Linux: pipe)", both(1_479, 1_313), both(15_242, 14_340)),
    operation("thread-rpc-1k", "round trip, 1 KiB each way, one task", both(5_618, 5_422), NONE),
    operation("user-rpc-1k", "round trip, 1 KiB each way, two tasks", both(5_131, 4_965), NONE),
    operation("zero-fill-fault", "zero-fill write fault, per page", both(14_256, 2_152), both(3_321, 3_273)),
    operation("unmap", "unmapping, per page", both(101, 101), NONE),
    operation("cow-fault", "copy-on-write fault, per page", both(22_789, 2_844), both(4_467, 4_133)),
    operation("cow-fault-source", "… on the source, second copy and later", both(160_249, 134_119), NONE),
    operation("lazy-copy-16m", "lazy copy of 16 MiB, whole call", both(2_176, 1_968), NONE),
    operation(
        "allocate-trap",
        "vm_allocate + vm_deallocate of a page by trap (Linux: mmap + munmap)",
        both(1_588, 1_427),
        both(20_011, 18_915),
    ),
    operation("allocate-rpc", "vm_allocate + vm_deallocate of a page by RPC", both(3_123, 2_792), NONE),
    operation("pager-fault-copied", "external pager fault, page copied (Linux: userfaultfd)", both(28_093, 7_356), both(15_576, 14_840)),
    operation("pager-fault", "external pager fault, page moved", both(23_303, 10_057), NONE),
    operation("pager-fault-32", "external pager fault, per page in runs of 32", NONE, NONE),
    operation("map-object", "map a pager's object + init/ready + first fault", both(37_152, 14_048), NONE),
    operation("task-create", "task_create, empty", both(16_832, 3_328), [Some(218_294), None]),
    operation(
        "task-create-64m",
        "task_create inheriting 64 MiB touched (Linux: fork + exit + wait)",
        both(633_840, 632_880),
        [Some(6_517_570), None],
    ),
    operation("task-terminate-64m", "task_terminate of the latter", both(138_320, 138_128), NONE),
    operation("ool-32k", "32 KiB out of line to another task, unread", both(4_367, 3_891), NONE),
    operation("ool-32k-read", "32 KiB out of line to another task, every page read", both(13_796, 13_005), NONE),
    operation("ool-1m", "1 MiB out of line to another task, unread", both(10_082, 9_402), NONE),
    operation("ool-1m-read", "1 MiB out of line to another task, every page read", both(311_306, 300_608), NONE),
    operation("exception", "exception to a handler and back (Linux: SIGSEGV)", NONE, both(6_317, 6_037)),
];

/// The facts about the operation that the guest calls `name`.
pub(crate) fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_words() {
        for (index, operation) in OPERATIONS.iter().enumerate() {
            assert!(!operation.name.contains(' '));
            assert!(OPERATIONS[..index].iter().all(|other| other.name != operation.name), "{}", operation.name);
        }
    }

    #[test]
    fn a_figure_of_nothing_is_left_out_not_zero() {
        for operation in OPERATIONS {
            let figures = [operation.mach_as_is, operation.mach_kind, operation.linux, operation.linux_tuned];
            assert!(!figures.contains(&Some(0)), "{}", operation.name);
        }
    }
}
