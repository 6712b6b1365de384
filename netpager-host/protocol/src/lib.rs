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
//! | [`wire`], [`limits`] | bytes and bounds |
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
//! After a disconnect, [`client::RequestTable::pop`] hands back what was in flight: its outcome is unknown. Make a new
//! [`client::Client`], keep the table (old cookies stay invalid), and read the [`superblock`] before anything else.
//!
//! # What is not here
//!
//! TLS, extended (64-bit) headers, and metadata contexts other than `base:allocation`; the client negotiates no
//! metadata context and so sends no BLOCK_STATUS.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod client;
mod error;
mod export;
mod flags;
mod gather;
pub mod limits;
mod request;
pub mod server;
pub mod superblock;
mod text;
pub mod wire;

pub use error::NbdError;
pub use export::{BadExport, BlockSizes, ExportInfo};
pub use flags::{AllocationFlags, CommandFlags, HandshakeFlags, TransmissionFlags};
pub use request::{Command, Refusal, Request};
pub use text::Text;
