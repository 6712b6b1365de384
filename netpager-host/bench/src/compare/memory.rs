//! What a stored page and a connection cost a server in memory, and how many pages fit when they can be compressed.

use std::path::Path;
use std::time::{Duration, Instant};

use nbd::{NbdError, Request};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::content;
use crate::error::BenchError;
use crate::server::Server;

const PAGE: u64 = 4096;

/// What was measured; nothing where /proc is not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// Bytes for each page beyond its own 4096.
    pub(super) page_overhead: Option<f64>,
    /// Bytes for each connection that has done its handshake and one READ. What the kernel keeps for a socket is not in it.
    pub(super) idle_connection: Option<f64>,
}

impl Memory {
    /// Fills the whole export, page by page, and opens `idle` connections.
    pub(super) fn measure(server: &Server, size: u64, idle: u32) -> Result<Self, BenchError> {
        let mut connection = Connection::open(server.target())?;
        // What a first request allocates is no page's cost.
        connection.ask(Request::read(0, PAGE as u32), (), &[])?;
        let before = server.memory();
        fill(&mut connection, size / PAGE)?;
        let filled = server.memory();
        let mut connections = Vec::new();
        for _ in 0..idle {
            let mut one = Connection::open(server.target())?;
            one.ask(Request::read(0, PAGE as u32), (), &[])?;
            connections.push(one);
        }
        // A server may give buffers back a moment later.
        std::thread::sleep(Duration::from_millis(500));
        let open = server.memory();
        connections.into_iter().for_each(Connection::disconnect);
        let growth = |from: Option<u64>, to: Option<u64>| Some(to? as f64 - from? as f64);
        Ok(Self {
            page_overhead: growth(before, filled).map(|bytes| bytes / (size / PAGE) as f64 - PAGE as f64),
            idle_connection: growth(filled, open).map(|bytes| bytes / f64::from(idle)),
        })
    }

    pub(super) fn json(self) -> Value {
        json!({ "overhead_bytes_per_page": self.page_overhead, "bytes_per_idle_connection": self.idle_connection })
    }
}

fn fill(connection: &mut Connection<()>, pages: u64) -> Result<(), BenchError> {
    let mut refused = None;
    for page in 0..pages {
        connection.submit(Request::write(page * PAGE, PAGE as u32), false, (), |bytes| content::fill(bytes, 1, page, 1))?;
        while connection.in_flight() > 256 || (page + 1 == pages && connection.in_flight() > 0) {
            connection.turn(|done| refused = refused.or(done.result.err()))?;
        }
    }
    refused.map_or(Ok(()), |error| Err(BenchError::Wrong(format!("the export cannot be filled: {error}"))))
}

/// The memory that the compressed store is given.
const QUOTA: u64 = 32 << 20;
/// A store that has taken this many times its memory has shown enough.
const REACH_MAX: u64 = 6;
/// A refused page is tried again for so long: the compressor works in the background.
const COMPRESSOR: Duration = Duration::from_secs(5);

/// How many times more pages than its memory our compressed store takes when an eighth of each page is noise; every page is
/// read again and compared. Nothing if this netpager-host has no such store.
pub(super) fn compressed_reach(binary: &Path) -> Result<Option<f64>, BenchError> {
    let export = format!("memory={},store=compressed,quota={QUOTA}", QUOTA * 64);
    let Ok(server) = Server::ours(binary, &[&export], &[]) else { return Ok(None) };
    let mut connection = Connection::open(server.target())?;
    let mut stored = 0;
    while stored < QUOTA / PAGE * REACH_MAX && write_patiently(&mut connection, stored)? {
        stored += 1;
    }
    for page in 0..stored {
        let done = connection.ask(Request::read(page * PAGE, PAGE as u32), (), &[])?;
        if done.result.is_err() || done.data.as_deref() != Some(&compressible(page)[..]) {
            return Err(BenchError::Wrong(format!("page {page} of the compressed store is not what was written")));
        }
    }
    Ok(Some((stored * PAGE) as f64 / QUOTA as f64))
}

fn write_patiently(connection: &mut Connection<()>, page: u64) -> Result<bool, BenchError> {
    let (start, bytes) = (Instant::now(), compressible(page));
    loop {
        match connection.ask(Request::write(page * PAGE, PAGE as u32), (), &bytes)?.result {
            Ok(()) => return Ok(true),
            Err(NbdError::NoSpace) if start.elapsed() < COMPRESSOR => std::thread::sleep(Duration::from_millis(20)),
            Err(NbdError::NoSpace) => return Ok(false),
            Err(error) => return Err(BenchError::Wrong(format!("the compressed store failed: {error}"))),
        }
    }
}

/// A page like a heap's: an eighth noise, the rest small numbers and zeroes.
fn compressible(page: u64) -> Vec<u8> {
    let mut bytes = vec![0; PAGE as usize];
    let (noise, numbers) = bytes.split_at_mut(PAGE as usize / 8);
    content::fill(noise, 2, page, 1);
    numbers.chunks_mut(16).enumerate().for_each(|(index, word)| word[0] = (index as u64 + page) as u8 & 0x1f);
    bytes
}
