//! Inputs that make sense: honest sessions, made with the other half.

use alloc::vec;
use alloc::vec::Vec;

use super::replies::REQUESTS;
use crate::client::Wishes;
use crate::flags::CommandFlags;
use crate::framing::Framing;
use crate::request::{Command, Request};
use crate::server::{Extent, Reply, Sink};
use crate::superblock::{SUPERBLOCK_BYTES, Superblock};
use crate::wire::{info, option, option_reply};
use crate::{ContextSet, NbdError, context};

/// A server's half of a handshake, and what its client wishes.
pub(super) struct Script {
    pub(super) wishes: Wishes,
    pub(super) bytes: Vec<u8>,
}

fn number(number: usize) -> [u8; 4] {
    (number as u32).to_be_bytes()
}

fn string(text: &str) -> Vec<u8> {
    [&number(text.len())[..], text.as_bytes()].concat()
}

fn option_bytes(option: u32, data: &[u8]) -> Vec<u8> {
    [b"IHAVEOPT", &option.to_be_bytes()[..], &number(data.len()), data].concat()
}

fn reply_bytes(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let magic = crate::wire::MAGIC_OPTION_REPLY.to_be_bytes();
    [&magic[..], &option.to_be_bytes(), &kind.to_be_bytes(), &number(data.len()), data].concat()
}

fn queries(option: u32, export: &str, queries: &[&str]) -> Vec<u8> {
    let strings: Vec<u8> = queries.iter().flat_map(|query| string(query)).collect();
    option_bytes(option, &[string(export), number(queries.len()).to_vec(), strings].concat())
}

fn go(option: u32, export: &str) -> Vec<u8> {
    option_bytes(option, &[string(export), vec![0, 3, 0, 1, 0, 2, 0, 3]].concat())
}

/// Choices in front of what is sent.
fn chosen(choice: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    [vec![choice, 7], parts.concat()].concat()
}

pub(super) fn server_handshake() -> Vec<Vec<u8>> {
    let flags = vec![0, 0, 0, 3];
    let bare = |option| option_bytes(option, b"");
    let (starttls, structured, extended) = (bare(option::STARTTLS), bare(option::STRUCTURED_REPLY), bare(option::EXTENDED_HEADERS));
    let set = queries(option::SET_META_CONTEXT, "a", &[context::ALLOCATION, context::STATE]);
    let list = queries(option::LIST_META_CONTEXT, "", &["x-netpager:", "base:"]);
    let name = option_bytes(option::EXPORT_NAME, b"a");
    vec![
        chosen(0, &[flags.clone(), structured.clone(), set.clone(), list, go(option::INFO, "b"), go(option::GO, "a")]),
        chosen(0, &[flags.clone(), extended.clone(), structured.clone(), set.clone(), go(option::GO, "a")]),
        chosen(0, &[flags.clone(), bare(option::LIST), go(option::GO, "p"), go(option::GO, "t"), bare(option::ABORT)]),
        chosen(0, &[vec![0; 4], name.clone()]),
        chosen(0, &[flags.clone(), extended.clone(), set.clone(), go(option::GO, "b")]),
        chosen(1, &[flags.clone(), structured, set.clone(), starttls.clone(), name.clone()]),
        chosen(0x82, &[flags.clone(), go(option::GO, "a"), starttls.clone()]),
        // Secured, and cut where STARTTLS ends.
        chosen(0x82, &[flags, starttls, extended, set, go(option::GO, "a")]),
    ]
}

pub(super) fn client_handshake() -> Vec<Vec<u8>> {
    let framings = [(0u8, Framing::Simple), (4, Framing::Structured), (8, Framing::Extended)];
    let mut inputs: Vec<Vec<u8>> = framings.iter().map(|(choice, framing)| chosen(choice | 0x40, &[session(*framing).bytes])).collect();
    let greeting = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    let no = |option| reply_bytes(option, option_reply::ERR_UNSUP, b"no");
    let export_name = [&(1u64 << 20).to_be_bytes()[..], &[0, 1], &[0; 124]].concat();
    let listed =
        reply_bytes(option::LIST_META_CONTEXT, option_reply::META_CONTEXT, &[&[0; 4], context::CAPABILITY_FENCE.as_bytes()].concat());
    inputs.push(chosen(4, &[b"NBDMAGICIHAVEOPT\0\x01".to_vec(), no(option::STRUCTURED_REPLY), no(option::GO), export_name]));
    inputs.push(chosen(8 + 1, &[greeting.clone(), no(option::STARTTLS), no(option::EXTENDED_HEADERS)]));
    inputs.push(chosen(8 + 2, &[greeting.clone(), reply_bytes(option::STARTTLS, option_reply::ACK, b"")]));
    let extended = reply_bytes(option::EXTENDED_HEADERS, option_reply::ACK, b"");
    inputs.push(chosen(0x88, &[greeting, extended, listed, reply_bytes(option::LIST_META_CONTEXT, option_reply::ACK, b"")]));
    inputs
}

/// A handshake that ends with this framing, and with two contexts if there can be any.
pub(super) fn session(framing: Framing) -> Script {
    let wishes = Wishes { framing, contexts: &[context::ALLOCATION, context::STATE], ..Wishes::DEFAULT };
    let granted = |id: usize, name: &str| {
        reply_bytes(option::SET_META_CONTEXT, option_reply::META_CONTEXT, &[&number(id)[..], name.as_bytes()].concat())
    };
    let ack = |option| reply_bytes(option, option_reply::ACK, b"");
    let contexts = [granted(1, context::ALLOCATION), granted(2, context::STATE), ack(option::SET_META_CONTEXT)].concat();
    let told = match framing {
        Framing::Simple => Vec::new(),
        Framing::Structured => [ack(option::STRUCTURED_REPLY), contexts].concat(),
        Framing::Extended => [ack(option::EXTENDED_HEADERS), contexts].concat(),
    };
    let inform = |kind: u16, body: &[u8]| reply_bytes(option::GO, option_reply::INFO, &[&kind.to_be_bytes(), body].concat());
    let sizes = [number(1), number(4096), number(1 << 20)].concat();
    let export = [&(1u64 << 20).to_be_bytes()[..], &0xfffdu16.to_be_bytes()].concat();
    let infos = [inform(info::EXPORT, &export), inform(info::BLOCK_SIZE, &sizes), ack(option::GO)].concat();
    Script { wishes, bytes: [b"NBDMAGICIHAVEOPT\0\x03".to_vec(), told, infos].concat() }
}

pub(super) fn server_requests() -> Vec<Vec<u8>> {
    let requests = [
        Request::read(0, 512).with(CommandFlags::DF),
        Request::write(512, 512).with(CommandFlags::FUA),
        Request::trim(0, 1 << 20),
        Request::write_zeroes(4096, 4096).with(CommandFlags::NO_HOLE | CommandFlags::FAST_ZERO),
        Request::cache(0, 512),
        Request::flush(),
        Request::block_status(0, 4096).with(CommandFlags::REQ_ONE),
        Request::write(1 << 30, 8),
        Request::read(512, 0),
    ];
    let mut inputs = Vec::new();
    for (choice, framing) in [(0x80, Framing::Structured), (0, Framing::Simple), (0x80, Framing::Extended), (0xf0, Framing::Extended)] {
        let mut bytes = Vec::new();
        for (cookie, request) in requests.iter().enumerate() {
            bytes.extend_from_slice(&request.encode(framing, cookie as u64));
            bytes.extend(vec![0x25; request.payload_length() as usize]);
        }
        if framing == Framing::Extended {
            bytes.extend_from_slice(&Request::block_status(0, 4096).encode_filtered(9, [1, 4].into_iter()));
            bytes.extend_from_slice(&Request::block_status(0, 4096).encode_filtered(9, [1, 1].into_iter()));
        }
        bytes.extend_from_slice(&crate::EncodedRequest::disconnect(framing));
        // The choice of the framing is what is left when it is divided by three.
        let choice = (choice..).find(|choice| choice % 3 == framing as u8).unwrap_or(choice);
        inputs.push(chosen(choice, &[bytes]));
    }
    inputs
}

pub(super) fn client_replies() -> Vec<Vec<u8>> {
    let framings = [Framing::Simple, Framing::Structured, Framing::Extended];
    framings.iter().flat_map(|&framing| [answers(framing, false), answers(framing, true)]).collect()
}

/// Answers to all requests, or errors.
fn answers(framing: Framing, fails: bool) -> Vec<u8> {
    let mut out = vec![framing as u8, 7];
    for (cookie, request) in REQUESTS.iter().enumerate() {
        let reply = Reply::new(framing, cookie as u64, request.offset);
        let length = request.length as u32;
        match request.command {
            _ if fails => reply.error(&mut out, NbdError::NoSpace, "the export is full"),
            Command::Read if framing == Framing::Simple => {
                reply.done(&mut out);
                out.put(&vec![7; length as usize]);
            }
            Command::Read if request.flags.contains(CommandFlags::DF) || length == 1 => {
                reply.data(&mut out, request.offset, length, true);
                out.put(&vec![7; length as usize]);
            }
            Command::Read => {
                reply.hole(&mut out, request.offset + 16, length - 16, false);
                reply.data(&mut out, request.offset, 16, false);
                out.put(&[7; 16]);
                reply.none(&mut out);
            }
            Command::BlockStatus if framing == Framing::Simple => reply.error(&mut out, NbdError::Invalid, ""),
            Command::BlockStatus => {
                let extents = [Extent { length: request.length / 2, flags: 3 }, Extent { length: request.length / 2, flags: 0 }];
                let is_one = request.flags.contains(CommandFlags::REQ_ONE);
                let asked = if request.contexts.is_empty() { ContextSet::one(0).with(1) } else { request.contexts };
                for index in asked.iter() {
                    reply.block_status(&mut out, index, &extents[..if is_one { 1 } else { 2 }], index == 1);
                }
            }
            _ => reply.done(&mut out),
        }
    }
    out
}

pub(super) fn uri() -> Vec<Vec<u8>> {
    [
        "nbd://localhost:10809/export%20name",
        "nbds://user@[fe80::1%25eth0]:1/np1/tenant/heap@1G?tls-certificates=/etc/pki&tls-hostname=a&tls-verify-peer=1&tls-type=x509",
        "nbds+unix:///x?socket=%00/abstract&tls-psk-file=keys&tls-username=bob",
        "nbd+unix://?socket=/run/nbd.sock",
        "nbd+vsock://2:10809/x",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

pub(super) fn superblock() -> Vec<Vec<u8>> {
    let mut page = [0; SUPERBLOCK_BYTES];
    let mut inputs = vec![page.to_vec()];
    for (epoch, shift) in [(0, 12), (3, 20), (u64::MAX, 63)] {
        Superblock { boot_id: [epoch as u8; 16], epoch, extent_bytes: 1 << shift }.encode(&mut page);
        inputs.push(page.to_vec());
    }
    inputs
}
