//! Words of the VM interface: protections, inheritance, pages, and the shape of an address space.

bitflags::bitflags! {
    /// vm_prot_t.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Protection: u32 {
        const READ = 1;
        const WRITE = 2;
        const EXECUTE = 4;
    }
}

impl Protection {
    /// VM_PROT_NONE.
    pub const NONE: Self = Self::empty();
    /// VM_PROT_DEFAULT.
    pub const DEFAULT: Self = Self::READ.union(Self::WRITE);
    /// VM_PROT_ALL.
    pub const ALL: Self = Self::DEFAULT.union(Self::EXECUTE);
    /// In lock_request and data_supply: leave as it is.
    pub const NO_CHANGE: u32 = 8;
}

/// vm_inherit_t.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Inherit {
    Share = 0,
    #[default]
    Copy = 1,
    None = 2,
}

impl Inherit {
    /// Checks a value from outside.
    pub const fn from_wire(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Share),
            1 => Some(Self::Copy),
            2 => Some(Self::None),
            _ => None,
        }
    }
}

/// memory_object_copy_strategy_t.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStrategy {
    None = 0,
    Call = 1,
    Delay = 2,
    Temporary = 3,
}

impl CopyStrategy {
    /// Checks a value from outside.
    pub const fn from_wire(value: u32) -> Option<Self> {
        match value {
            0 => Some(Self::None),
            1 => Some(Self::Call),
            2 => Some(Self::Delay),
            3 => Some(Self::Temporary),
            _ => None,
        }
    }
}

/// memory_object_return_t of lock_request.
pub const RETURN_NONE: u32 = 0;
/// Return dirty and precious pages.
pub const RETURN_DIRTY: u32 = 1;
/// Return all resident pages.
pub const RETURN_ALL: u32 = 2;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;
/// log2 of it.
pub const PAGE_SHIFT: u32 = 12;
/// User addresses end here.
pub const USER_END: u64 = 0x0000_8000_0000_0000;
/// The lowest user address that is handed out; the first page catches null pointers.
pub const USER_START: u64 = PAGE_SIZE;
