//! Both halves of the handshake.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;

use super::{choice, pieces};
use crate::client::{Client, Event, RequestTable, Session, TlsWish, Wishes};
use crate::export::{BlockSizes, ExportInfo};
use crate::flags::TransmissionFlags;
use crate::framing::Framing;
use crate::server::{Export, ExportRefusal, Exports, Found, Handshake, Negotiated, Outcome, Purpose, RefusalKind, TlsMode};
use crate::wire::{MAGIC_OPTION_REPLY, OptionReplyHeader};
use crate::{ContextSet, context};
use zerocopy::FromBytes;

const INFO: ExportInfo = ExportInfo { size: 1 << 40, flags: TransmissionFlags::all(), block: BlockSizes::ASSUMED };
const CONTEXTS: &[&str] = &[context::ALLOCATION, context::STATE, "x:"];

/// Exports of every kind; entering one takes two attempts.
#[derive(Default)]
struct Various {
    entered: Cell<bool>,
}

impl Exports for Various {
    fn find(&self, name: &str, purpose: Purpose) -> Found<'_> {
        if purpose == Purpose::Enter && !self.entered.replace(true) {
            return Found::Wait;
        }
        let export = |id| {
            Found::Export(Export {
                id,
                name: "memory",
                description: "an export",
                info: INFO,
                contexts: if id == 0 { CONTEXTS } else { &[] },
                capabilities: &[context::CAPABILITY_FENCE],
                needs_block_sizes: id == 1,
            })
        };
        match name {
            "" | "a" => export(0),
            "b" => export(1),
            "t" => Found::Refused(ExportRefusal::new(RefusalKind::TlsRequired, format_args!("TLS for {name}"))),
            "p" => Found::Refused(ExportRefusal::new(RefusalKind::Policy, format_args!("never"))),
            _ => Found::Refused(ExportRefusal::unknown()),
        }
    }

    fn list(&self, each: &mut dyn FnMut(&str)) {
        ["a", "b", ""].into_iter().for_each(each);
    }
}

/// What became of a handshake: all that was sent, how it ended, and after how much input.
#[derive(Debug, PartialEq, Eq)]
struct Served {
    out: Vec<u8>,
    end: Result<Option<Negotiated>, String>,
    used: usize,
}

fn serve<'d>(tls: TlsMode, is_secured: bool, pieces: impl Iterator<Item = &'d [u8]>) -> Served {
    let (exports, mut out) = (Various::default(), Vec::new());
    let mut handshake = Handshake::new(&mut out, tls);
    let mut used = 0;
    for mut piece in pieces {
        // Whatever comes after STARTTLS, unless TLS is said to run.
        loop {
            let (count, outcome) = match handshake.receive(piece, &exports, &mut out) {
                Ok(progress) => progress,
                Err(error) => return Served { out, end: Err(error.to_string()), used: 0 },
            };
            piece = &piece[count..];
            used += count;
            match outcome {
                None => break assert!(piece.is_empty(), "input is left over without an outcome"),
                Some(Outcome::Wait) => exports.entered.set(true),
                Some(Outcome::StartTls) => {
                    assert!(tls != TlsMode::None && piece.is_empty());
                    if is_secured {
                        handshake.secured();
                    }
                    break;
                }
                Some(Outcome::Aborted) => return Served { out, end: Ok(None), used },
                Some(Outcome::Transmission(negotiated)) => return Served { out, end: Ok(Some(negotiated)), used },
            }
        }
    }
    Served { out, end: Ok(None), used }
}

/// What an honest client would see of the options: well-formed replies, and then nothing, or the end of EXPORT_NAME.
fn check_replies(mut out: &[u8]) {
    assert_eq!(out[..8], *b"NBDMAGIC");
    out = &out[18..];
    while let Ok((header, rest)) = OptionReplyHeader::read_from_prefix(out) {
        if header.magic.get() != MAGIC_OPTION_REPLY {
            break;
        }
        out = &rest[header.length.get() as usize..];
    }
    assert!([0, 10, 134].contains(&out.len()), "{} bytes that are no reply", out.len());
}

/// The server's half, against a client. Also promises: replies are well-formed, and no export is entered without TLS where that is
/// required, nor with a framing or contexts that it was not asked for.
pub fn server_handshake(mut data: &[u8]) {
    let chosen = choice(&mut data);
    let seed = choice(&mut data);
    let tls = [TlsMode::None, TlsMode::Offered, TlsMode::Required][usize::from(chosen) % 3];
    let is_secured = chosen & 0x80 != 0;
    let whole = serve(tls, is_secured, core::iter::once(data));
    check_replies(&whole.out);
    let cut = serve(tls, is_secured, pieces(data, seed));
    check_replies(&cut.out);
    // Where TLS is started, the cut itself matters: in front of it, everything is an attacker's.
    if !is_secured {
        assert_eq!(whole, cut);
    }
    for served in [whole, cut] {
        if let Ok(Some(negotiated)) = served.end {
            assert!(negotiated.is_secure || tls != TlsMode::Required);
            assert!(negotiated.framing.has_chunks() || negotiated.contexts.is_empty());
            assert!(negotiated.contexts.iter().all(|index| negotiated.export == 0 && index < CONTEXTS.len()));
            let flags = negotiated.info.flags;
            assert_eq!(flags.contains(TransmissionFlags::SEND_DF), negotiated.framing.has_chunks());
        }
    }
}

/// What became of a client's handshake.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Ready(Session),
    StartTls,
    Failed(String),
}

fn hear<'d>(wishes: &Wishes, drains: bool, pieces: impl Iterator<Item = &'d [u8]>) -> (Heard, Client) {
    let name = "an export with a name of some length";
    let mut client = Client::with(name, wishes).expect("a short name and few contexts");
    let mut table = RequestTable::<(), 1>::new();
    for piece in pieces {
        match client.receive(piece, &mut table) {
            Err(error) => return (Heard::Failed(error.to_string()), client),
            Ok((_, Some(Event::Ready(session)))) => return (Heard::Ready(session), client),
            Ok((_, Some(Event::StartTls))) if drains => client.secured(),
            Ok((_, Some(Event::StartTls))) => return (Heard::StartTls, client),
            Ok((used, None)) => assert_eq!(used, piece.len()),
            Ok((_, event)) => panic!("{event:?} before anything was asked"),
        }
        if drains {
            client.transmitted(client.transmit().len());
        }
    }
    (Heard::Nothing, client)
}

/// The client's half, against a server. Also promises: the bytes it wants to send have room even if none are ever sent, and a session
/// is what was wished for, over TLS if that was required.
pub fn client_handshake(mut data: &[u8]) {
    let chosen = choice(&mut data);
    let seed = choice(&mut data);
    let wishes = Wishes {
        tls: [TlsWish::Never, TlsWish::Prefer, TlsWish::Require][usize::from(chosen) % 3],
        framing: [Framing::Simple, Framing::Structured, Framing::Extended][usize::from(chosen / 4) % 3],
        contexts: if chosen & 0x40 != 0 { &[context::ALLOCATION, context::STATE] } else { &[] },
        capabilities: if chosen & 0x80 != 0 { &[context::CAPABILITY_FENCE] } else { &[] },
    };
    let (whole, client) = hear(&wishes, false, core::iter::once(data));
    let (cut, other) = hear(&wishes, false, pieces(data, seed));
    assert_eq!(whole, cut);
    assert_eq!(client.transmit(), other.transmit());
    let (drained, _) = hear(&wishes, true, pieces(data, seed));
    for heard in [whole, drained] {
        if let Heard::Ready(session) = heard {
            assert!(session.is_secure || wishes.tls != TlsWish::Require);
            assert!(session.framing <= wishes.framing);
            assert!(session.framing.has_chunks() || session.contexts.is_empty());
            assert!(ContextSet::EMPTY.with(0).with(1).contains_all(session.contexts));
            assert!(session.export.accepted().is_ok());
        }
    }
}
