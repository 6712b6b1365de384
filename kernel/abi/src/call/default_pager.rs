//! default_pager.defs: what clients ask of a pager that makes memory objects.

use crate::item::Words;
use crate::message::Port;
use crate::table::subsystem;

subsystem! { 2275;
    default_pager_object_create = 2275 (size: u64) -> (object: Port);
    /// total space, free space, page size: in bytes, two words each.
    default_pager_info = 2276 () -> (info: Words);
}
