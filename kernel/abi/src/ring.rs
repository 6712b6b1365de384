//! The packet ring that `device_map` of a network device gives: packets without a message or a copy each (ARCHITECTURE.md, decision 4).
//!
//! The mapping is one control page, then the receive slots' buffers, then the send slots' buffers, a page each. Two single-producer
//! single-consumer rings are counted by free-running 32-bit indices; slot = index mod slots. The pager writes only the words marked
//! so; the kernel keeps a shadow of all that it relies on, and what a pager writes can harm nobody but its own packets.
//!
//! Receive: the kernel fills slots [consumed, produced) and says so in `RX_PRODUCED`; the pager takes them and advances
//! `RX_CONSUMED`, which gives the slots back. Send: the pager fills slots and advances `TX_PRODUCED`; the kernel advances `TX_CONSUMED`
//! when the device has sent them. The length of a slot's packet is in its word of `RX_LENGTH` or `TX_LENGTH`; the packet starts
//! `PACKET_OFFSET` into the slot's page.
//!
//! Sleeping: the pager writes 1 to `RX_WANTED`, then (after a full fence) looks at `RX_PRODUCED` once more, then waits for a message on the port of
//! device_ring_notify. The kernel sends one when it advances either `RX_PRODUCED` or `TX_CONSUMED` and the word is 1, and writes 0; with 2 in the word only
//! `RX_PRODUCED` counts, since whoever has room to send need not hear that there is more. After filling send slots the pager sends device_ring_kick; likewise after giving receive slots back if `RX_STARVED` is 1.

/// Byte offsets in the control page, each a 32-bit word.
pub const MAGIC: usize = 0;
/// Receive slots (kernel writes).
pub const RX_SLOTS: usize = 4;
/// Send slots (kernel writes).
pub const TX_SLOTS: usize = 8;
/// Largest packet, Ethernet header included (kernel writes).
pub const PACKET_MAX: usize = 12;
/// Where a packet starts in its slot's page (kernel writes).
pub const PACKET_OFFSET: usize = 16;
/// The hardware address, 6 bytes (kernel writes).
pub const MAC: usize = 24;
/// Kernel writes.
pub const RX_PRODUCED: usize = 64;
/// Pager writes.
pub const RX_CONSUMED: usize = 128;
/// Pager writes [`WANTS_ALL`] or [`WANTS_RECEIVED`], kernel writes 0.
pub const RX_WANTED: usize = 192;
/// Kernel writes: 1 while the device has no receive slot left.
pub const RX_STARVED: usize = 256;
/// Pager writes.
pub const TX_PRODUCED: usize = 320;
/// Kernel writes.
pub const TX_CONSUMED: usize = 384;
/// A word for each receive slot (kernel writes).
pub const RX_LENGTH: usize = 1024;
/// A word for each send slot (pager writes).
pub const TX_LENGTH: usize = 2560;
/// The most slots of either ring.
pub const SLOTS_MAX: u32 = 256;
/// What `MAGIC` holds.
pub const MAGIC_VALUE: u32 = 0x7069_6e67;
/// `RX_WANTED`: news of packets that came and of packets that were sent.
pub const WANTS_ALL: u32 = 1;
/// `RX_WANTED`: news of packets that came.
pub const WANTS_RECEIVED: u32 = 2;
/// id of the message that says the ring has news; it has no body.
pub const NEWS_ID: i32 = 5312;
