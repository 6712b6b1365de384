//! Return codes: kern_return_t, mach_msg_return_t, MIG's and the device interface's, all one 32-bit space.
//!
//! Source: the Mach manual and GNU Mach's public headers (kern_return.h, message.h, device_types.h).

/// A return code. Zero is success.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub i32);

macro_rules! codes {
    ($($name:ident = $value:expr;)*) => {
        impl Code {
            $(#[doc = concat!("`", stringify!($name), "`")] pub const $name: Self = Self($value as i32);)*
            /// The name in the headers, if it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                $(if self.0 == Self::$name.0 { return Some(stringify!($name)); })*
                None
            }
        }
    };
}

codes! {
    SUCCESS = 0;
    INVALID_ADDRESS = 1;
    PROTECTION_FAILURE = 2;
    NO_SPACE = 3;
    INVALID_ARGUMENT = 4;
    FAILURE = 5;
    RESOURCE_SHORTAGE = 6;
    NOT_RECEIVER = 7;
    NO_ACCESS = 8;
    MEMORY_FAILURE = 9;
    MEMORY_ERROR = 10;
    NOT_IN_SET = 12;
    NAME_EXISTS = 13;
    ABORTED = 14;
    INVALID_NAME = 15;
    INVALID_TASK = 16;
    INVALID_RIGHT = 17;
    INVALID_VALUE = 18;
    UREFS_OVERFLOW = 19;
    INVALID_CAPABILITY = 20;
    RIGHT_EXISTS = 21;
    INVALID_HOST = 22;
    MEMORY_PRESENT = 23;
    WRITE_PROTECTION_FAILURE = 24;
    TERMINATED = 26;
    TIMEDOUT = 27;
    INTERRUPTED = 28;
    MIG_TYPE_ERROR = -300;
    MIG_REPLY_MISMATCH = -301;
    MIG_REMOTE_ERROR = -302;
    MIG_BAD_ID = -303;
    MIG_BAD_ARGUMENTS = -304;
    MIG_NO_REPLY = -305;
    MIG_ARRAY_TOO_LARGE = -307;
    MIG_SERVER_DIED = -308;
    SEND_INVALID_DATA = 0x1000_0002u32;
    SEND_INVALID_DEST = 0x1000_0003u32;
    SEND_TIMED_OUT = 0x1000_0004u32;
    SEND_INTERRUPTED = 0x1000_0007u32;
    SEND_MSG_TOO_SMALL = 0x1000_0008u32;
    SEND_INVALID_REPLY = 0x1000_0009u32;
    SEND_INVALID_RIGHT = 0x1000_000au32;
    SEND_INVALID_MEMORY = 0x1000_000cu32;
    SEND_NO_BUFFER = 0x1000_000du32;
    SEND_INVALID_TYPE = 0x1000_000fu32;
    SEND_INVALID_HEADER = 0x1000_0010u32;
    RCV_INVALID_NAME = 0x1000_4002u32;
    RCV_TIMED_OUT = 0x1000_4003u32;
    RCV_TOO_LARGE = 0x1000_4004u32;
    RCV_INTERRUPTED = 0x1000_4005u32;
    RCV_PORT_CHANGED = 0x1000_4006u32;
    RCV_INVALID_DATA = 0x1000_4008u32;
    RCV_PORT_DIED = 0x1000_4009u32;
    RCV_IN_SET = 0x1000_400au32;
    RCV_HEADER_ERROR = 0x1000_400bu32;
    RCV_BODY_ERROR = 0x1000_400cu32;
    D_IO_ERROR = 2500;
    D_WOULD_BLOCK = 2501;
    D_NO_SUCH_DEVICE = 2502;
    D_ALREADY_OPEN = 2503;
    D_DEVICE_DOWN = 2504;
    D_INVALID_OPERATION = 2505;
    D_INVALID_RECNUM = 2506;
    D_INVALID_SIZE = 2507;
    D_NO_MEMORY = 2508;
    D_READ_ONLY = 2509;
}

/// Bits that RCV_BODY_ERROR and SEND errors may carry.
pub const MSG_IPC_SPACE: i32 = 0x2000;
/// No room in the address space.
pub const MSG_VM_SPACE: i32 = 0x1000;
/// The kernel had no memory for IPC.
pub const MSG_IPC_KERNEL: i32 = 0x0800;
/// The kernel had no memory for VM.
pub const MSG_VM_KERNEL: i32 = 0x0400;

impl Code {
    /// `Ok` if it is success.
    pub const fn ok(self) -> Result<(), Self> {
        if self.0 == 0 { Ok(()) } else { Err(self) }
    }

    /// The code of a result.
    #[must_use]
    pub fn of<T>(result: &Result<T, Self>) -> Self {
        result.as_ref().map_or_else(|code| *code, |_| Self::SUCCESS)
    }
}

impl core::fmt::Debug for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}"),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self, f)
    }
}
