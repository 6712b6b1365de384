//! Options and replies, byte by byte, for tests that play one side themselves.

use nbd::client::{Client, ClientError, Event, RequestTable, Session, Wishes};
use nbd::server::{ServerError, TlsMode};
use nbd::wire::{option, option_reply};

use super::Server;

pub(crate) const GREETING: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";

pub(crate) fn option_bytes(option: u32, data: &[u8]) -> Vec<u8> {
    [b"IHAVEOPT", &option.to_be_bytes()[..], &(data.len() as u32).to_be_bytes(), data].concat()
}

pub(crate) fn reply_bytes(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let magic = 0x0003_e889_0455_65a9_u64.to_be_bytes();
    [&magic[..], &option.to_be_bytes(), &kind.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
}

/// The data of an option: a string with its length in front.
pub(crate) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

/// LIST_META_CONTEXT or SET_META_CONTEXT about an export.
pub(crate) fn queries_bytes(option: u32, export: &str, queries: &[&str]) -> Vec<u8> {
    let strings: Vec<u8> = queries.iter().flat_map(|query| string(query)).collect();
    option_bytes(option, &[string(export), (queries.len() as u32).to_be_bytes().to_vec(), strings].concat())
}

/// GO or INFO for an export, with these wishes for information.
pub(crate) fn go_bytes(option: u32, export: &str, infos: &[u16]) -> Vec<u8> {
    let infos: Vec<u8> = infos.iter().flat_map(|info| info.to_be_bytes()).collect();
    option_bytes(option, &[string(export), ((infos.len() / 2) as u16).to_be_bytes().to_vec(), infos].concat())
}

pub(crate) fn export_info(size: u64, flags: u16) -> Vec<u8> {
    [&size.to_be_bytes()[..], &flags.to_be_bytes()].concat()
}

pub(crate) fn go_info(kind: u16, body: &[u8]) -> Vec<u8> {
    reply_bytes(option::GO, option_reply::INFO, &[&kind.to_be_bytes()[..], body].concat())
}

/// Feeds a scripted server's bytes to a new client, as far as an event.
pub(crate) fn wishful_client_hears(wishes: &Wishes, script: &[Vec<u8>]) -> (Client, Result<Option<Session>, ClientError>) {
    let mut client = Client::with("x", wishes).unwrap();
    let mut table = RequestTable::<(), 1>::new();
    for byte in script.concat() {
        match client.receive(&[byte], &mut table) {
            Ok((_, Some(Event::Ready(session)))) => return (client, Ok(Some(session))),
            Ok((1, Some(Event::StartTls))) => client.secured(),
            Ok((1, None)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => return (client, Err(error)),
        }
        // A script knows what it will be asked.
        if !matches!(wishes.tls, nbd::client::TlsWish::Never) {
            client.transmitted(client.transmit().len());
        }
    }
    (client, Ok(None))
}

/// What a new server answers to a client that sends `flags` and then these options.
pub(crate) fn server_answers(tls: TlsMode, flags: u32, options: &[Vec<u8>]) -> Result<(Server, Vec<u8>), ServerError> {
    let mut server = Server::with_tls(tls);
    server.out.clear();
    server.receive(&flags.to_be_bytes())?;
    for byte in options.concat() {
        server.receive(&[byte])?;
    }
    let out = std::mem::take(&mut server.out);
    Ok((server, out))
}

/// The kinds of the option replies in `bytes`, with their options and data.
pub(crate) fn replies(mut bytes: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let length = number(16) as usize;
        found.push((number(8), number(12), bytes[20..20 + length].to_vec()));
        bytes = &bytes[20 + length..];
    }
    found
}
