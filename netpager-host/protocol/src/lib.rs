//! NBD, the network block device protocol (fixed newstyle): both halves, as state machines without I/O.
//!
//! A guest's pager and the host's service speak this protocol to each other, and either can speak it to any other NBD
//! implementation. Nothing here opens a socket, keeps time or allocates: bytes go in, events and bytes come out, and how
//! the bytes were cut into pieces on the way makes no difference. What the peer sends is never trusted: every number is
//! checked against [`limits`] or against the request it answers, and whatever breaks the protocol is a typed error.
//!
//! | module | what it is |
//! |---|---|
//! | [`client`] | the half a pager drives: handshake, requests, a streaming parser of replies |
//! | [`server`] | the half the service drives: handshake, a streaming parser of requests, replies |
//! | [`Request`] | one request, and the one function that says whether an export takes it |
//! | [`superblock`] | the page by which a pager notices that a server lost its memory |
//! | [`context`] | metadata contexts: their names, and sets of them |
//! | [`uri`] | addresses as people write them |
//! | [`wire`], [`limits`] | bytes and bounds |
//! | `fuzz` (a feature) | every decoder as a function of arbitrary bytes |
//!
//! # A client's session
//!
//! Three rules are all there is. Send what [`client::Client::transmit`] holds. Give what arrives to
//! [`client::Client::receive`] until it returns no event. Close the connection on any error.
//!
//! ```
//! use nbd::client::{Client, ClientError, Event, RequestTable};
//! use nbd::{CommandFlags, Request};
//!
//! /// What the pager wants to know again when a request is answered; here, where a page goes.
//! struct Fault { frame: usize }
//!
//! // At most 64 requests in flight. `send` and `place` stand for the socket and for memory.
//! fn received(
//!     client: &mut Client,
//!     table: &mut RequestTable<Fault, 64>,
//!     mut input: &[u8],
//!     mut send: impl FnMut(&[u8]),
//!     mut place: impl FnMut(usize, &[u8]),
//! ) -> Result<(), ClientError> {
//!     loop {
//!         let (used, event) = client.receive(input, table)?;
//!         input = &input[used..];
//!         match event {
//!             None => break,
//!             // Ask for a page. `check` first, so that no cookie is spent on a request the export does not take.
//!             Some(Event::Ready(_)) => {
//!                 let request = Request::read(8192, 4096);
//!                 if let (Ok(()), Ok(cookie)) = (client.check(&request), table.insert(request, Fault { frame: 5 })) {
//!                     send(&client.encode(cookie, &request).expect("it was just checked"));
//!                 }
//!             }
//!             // Data comes in pieces as large as the input held them, never buffered.
//!             Some(Event::Data { cookie, offset, bytes }) => {
//!                 let (pending, fault) = table.get_mut(cookie).expect("an event's cookie is outstanding");
//!                 place(fault.frame * 4096 + (offset - pending.request().offset) as usize, bytes);
//!             }
//!             // Zeroes that were not sent.
//!             Some(Event::Hole { .. }) => {}
//!             Some(Event::Chunk { .. }) => {}
//!             // Only if the wishes say so: TLS is to be started, and the answers to BLOCK_STATUS.
//!             Some(Event::StartTls | Event::Extent { .. }) => {}
//!             // All bytes were delivered exactly once, or the error says why not.
//!             Some(Event::Done { cookie, result }) => {
//!                 let (_request, _fault) = table.remove(cookie).expect("an event's cookie is outstanding");
//!                 let _ = result;
//!             }
//!         }
//!     }
//!     let waiting = client.transmit().len();
//!     send(client.transmit());
//!     client.transmitted(waiting);
//!     Ok(())
//! }
//! # let mut client = Client::new("memory").unwrap();
//! # received(&mut client, &mut RequestTable::new(), b"NBDMAGICIHAVEOPT\0\x03", |_| (), |_, _| ()).unwrap();
//! # assert_eq!(client.session(), None);
//! // A page that must be durable when it is acknowledged: send the header, then the 4096 bytes.
//! let durable = Request::write(4096, 4096).with(CommandFlags::FUA);
//! assert_eq!(durable.payload_length(), 4096);
//! ```
//!
//! What else a client may ask for (TLS, metadata contexts, what the server can do) is in [`client::Wishes`].
//!
//! After a disconnect, [`client::RequestTable::pop`] hands back what was in flight: its outcome is unknown. Make a new
//! [`client::Client`], keep the table (old cookies stay invalid), and read the [`superblock`] before anything else.
//!
//! # A server's session
//!
//! Put the greeting with [`server::Handshake::new`], and give it what arrives until an [`server::Outcome`] says that requests follow.
//! Then [`server::Requests`] takes the input apart, and every request comes with the [`server::Reply`] that answers it. Where TLS is
//! offered, the handshake takes no input between the acknowledgement of STARTTLS and [`server::Handshake::secured`], and plaintext
//! that was sent ahead is an error: what an attacker wrote before TLS ran never becomes part of the session (CVE-2021-3716).
//!
//! # Conventions between a pager and its host
//!
//! NBD has no notion of a server that lost its memory, of an older connection whose write lands late, or of space set aside. These
//! conventions say it with what any NBD server tolerates; with another server, a pager merely knows less.
//!
//! | what | how |
//! |---|---|
//! | memory that was lost | the [`superblock`] at offset 0, written durably at attach and read again after every connect |
//! | space set aside | WRITE_ZEROES with [`CommandFlags::NO_HOLE`]: writes to the range cannot fail with ENOSPC |
//! | freed memory | WRITE_ZEROES: reads as zeroes afterwards. TRIM leaves the content undefined, and is for what will be written before it is read |
//! | how a range is kept | BLOCK_STATUS in the context [`context::STATE`]: [`StateFlags`] |
//! | late writes of an older connection | a server that lists [`context::CAPABILITY_FENCE`] ends the older connections to an exclusive export before it acknowledges GO |
//! | what a server can do beyond NBD | names `x-netpager:cap-…` in LIST_META_CONTEXT, which every other server ignores |
//! | an export made on demand | GO with a name such as `np1/TENANT/OBJECT[@SIZE]`, if the server's configuration has a pattern for it |
//! | why an export is refused | the text of the error reply, for the user at the other end |
//!
//! # What is not here
//!
//! TLS itself (the caller has it), RESIZE (no server implements it), and more than [`ContextSet::CAPACITY`] metadata contexts of one
//! export.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![allow(clippy::result_large_err, reason = "refusals carry their words, and there is no heap to box them in")]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod client;
pub mod context;
mod encoded;
mod error;
mod export;
mod flags;
mod framing;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gather;
pub mod limits;
mod request;
pub mod server;
pub mod superblock;
mod text;
#[cfg(feature = "alloc")]
pub mod uri;
pub mod wire;

pub use context::ContextSet;
pub use encoded::EncodedRequest;
pub use error::NbdError;
pub use export::{BadExport, BlockSizes, ExportInfo};
pub use flags::{AllocationFlags, CommandFlags, HandshakeFlags, StateFlags, TransmissionFlags};
pub use framing::Framing;
pub use request::{Command, Refusal, Request};
pub use text::Text;
