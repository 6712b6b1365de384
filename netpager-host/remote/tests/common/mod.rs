//! An NBD server in this process that can be killed, emptied, hung and slowed down.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nbd::server::{
    Export, ExportRefusal, Exports, Extent, Found, Handshake, Incoming, Negotiated, Outcome, Purpose, Reply, Requests, TlsMode,
};
use nbd::uri::NbdUri;
use nbd::{AllocationFlags, BlockSizes, Command, ExportInfo, NbdError, Request, TransmissionFlags, context};

/// What a server forgets when it is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forget {
    Nothing,
    Unflushed,
    Everything,
}

/// How a server differs from a good one.
#[derive(Clone)]
pub(crate) struct Manners {
    pub(crate) flags: TransmissionFlags,
    pub(crate) block: BlockSizes,
    /// Every request takes so long.
    pub(crate) delay: Duration,
    /// Writes fail with this.
    pub(crate) write_error: Option<NbdError>,
    /// What the next connections are told.
    pub(crate) size: u64,
}

pub(crate) struct World {
    shown: Mutex<Vec<u8>>,
    durable: Mutex<Vec<u8>>,
    pub(crate) manners: Mutex<Manners>,
    /// Requests of connections up to this number wait until it is 0 again, also when their connection is gone.
    hung: Mutex<usize>,
    released: Condvar,
    down: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
    pub(crate) writes: AtomicUsize,
    pub(crate) flushes: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    closing: AtomicBool,
}

pub(crate) struct FaultyServer {
    pub(crate) world: Arc<World>,
    port: u16,
}

pub(crate) fn all_flags() -> TransmissionFlags {
    TransmissionFlags::HAS_FLAGS
        | TransmissionFlags::SEND_FLUSH
        | TransmissionFlags::SEND_FUA
        | TransmissionFlags::SEND_TRIM
        | TransmissionFlags::SEND_WRITE_ZEROES
        | TransmissionFlags::CAN_MULTI_CONN
}

impl FaultyServer {
    pub(crate) fn start(size: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let block = BlockSizes { minimum: 1, preferred: 4096, maximum: 32 << 20 };
        let world = Arc::new(World {
            shown: Mutex::new(vec![0; size]),
            durable: Mutex::new(vec![0; size]),
            manners: Mutex::new(Manners { flags: all_flags(), block, delay: Duration::ZERO, write_error: None, size: size as u64 }),
            hung: Mutex::new(0),
            released: Condvar::new(),
            down: AtomicBool::new(false),
            sockets: Mutex::new(Vec::new()),
            writes: AtomicUsize::new(0),
            flushes: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let served = world.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.closing.load(Ordering::SeqCst) {
                    return;
                }
                if served.down.load(Ordering::SeqCst) {
                    continue;
                }
                stream.set_nodelay(true).unwrap();
                served.sockets.lock().unwrap().push(stream.try_clone().unwrap());
                let number = served.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let world = served.clone();
                std::thread::spawn(move || {
                    let _ = serve(&world, &stream, number);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { world, port }
    }

    pub(crate) fn uri(&self) -> NbdUri {
        NbdUri::tcp("127.0.0.1", self.port, "memory")
    }

    /// Ends all connections at once and takes no new ones.
    pub(crate) fn kill(&self, forget: Forget) {
        self.world.down.store(true, Ordering::SeqCst);
        self.drop_connections();
        // Requests that a killed process had read are lost with it; wait until nobody is at work.
        let (mut shown, mut durable) = (self.world.shown.lock().unwrap(), self.world.durable.lock().unwrap());
        match forget {
            Forget::Nothing => {}
            Forget::Unflushed => shown.copy_from_slice(&durable),
            Forget::Everything => {
                shown.fill(0);
                durable.fill(0);
            }
        }
    }

    pub(crate) fn revive(&self) {
        self.world.down.store(false, Ordering::SeqCst);
    }

    pub(crate) fn drop_connections(&self) {
        for socket in self.world.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn hang(&self, hung: bool) {
        *self.world.hung.lock().unwrap() = if hung { usize::MAX } else { 0 };
        self.world.released.notify_all();
    }

    /// Hangs the connections there are, and no later ones.
    pub(crate) fn hang_these(&self) {
        *self.world.hung.lock().unwrap() = self.world.connections.load(Ordering::SeqCst);
    }

    pub(crate) fn manners(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.world.manners.lock().unwrap());
    }

    pub(crate) fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        self.world.shown.lock().unwrap()[offset..offset + length].to_vec()
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.hang(false);
        self.world.closing.store(true, Ordering::SeqCst);
        self.drop_connections();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Exports for World {
    fn find(&self, name: &str, _: Purpose) -> Found<'_> {
        if name != "memory" {
            return Found::Refused(ExportRefusal::unknown());
        }
        let manners = self.manners.lock().unwrap();
        let info = ExportInfo { size: manners.size, flags: manners.flags, block: manners.block };
        let contexts = &[context::ALLOCATION];
        Found::Export(Export { id: 0, name: "memory", description: "", info, contexts, capabilities: &[], needs_block_sizes: false })
    }

    fn list(&self, each: &mut dyn FnMut(&str)) {
        each("memory");
    }
}

fn serve(world: &World, mut stream: &TcpStream, number: usize) -> std::io::Result<()> {
    let mut out = Vec::new();
    let mut handshake = Handshake::new(&mut out, TlsMode::None);
    let mut buffer = vec![0; 64 << 10];
    let (negotiated, mut rest) = loop {
        stream.write_all(&std::mem::take(&mut out))?;
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let (used, outcome) = handshake.receive(&buffer[..count], world, &mut out).map_err(std::io::Error::other)?;
        stream.write_all(&std::mem::take(&mut out))?;
        match outcome {
            None => {}
            Some(Outcome::Transmission(negotiated)) => break (negotiated, buffer[used..count].to_vec()),
            Some(_) => return Ok(()),
        }
    };
    transmit(&(world, number), stream, negotiated, &mut buffer, &mut rest)
}

fn transmit(
    world: &(&World, usize),
    mut stream: &TcpStream,
    negotiated: Negotiated,
    buffer: &mut [u8],
    rest: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut requests = Requests::new(negotiated);
    let mut pending: Option<(Reply, Request, Vec<u8>)> = None;
    let mut out = Vec::new();
    loop {
        let mut input = &rest[..];
        loop {
            let (used, incoming) = requests.receive(input).map_err(std::io::Error::other)?;
            input = &input[used..];
            match incoming {
                None => break,
                Some(Incoming::Disconnect) => return Ok(()),
                Some(Incoming::Refused { reply, refusal }) => reply.error(&mut out, refusal.error, refusal.reason),
                Some(Incoming::Request { reply, request }) if request.command == Command::Write => {
                    pending = Some((reply, request, Vec::new()))
                }
                Some(Incoming::Request { reply, request }) => carry_out(world, &reply, &request, &[], &mut out),
                Some(Incoming::Payload { bytes, last }) => {
                    let (_, _, data) = pending.as_mut().unwrap();
                    data.extend_from_slice(bytes);
                    if last {
                        let (reply, request, data) = pending.take().unwrap();
                        carry_out(world, &reply, &request, &data, &mut out);
                    }
                }
            }
            // An answer that cannot be sent does not stop what was asked already: that is what makes late writes late.
            let _ = stream.write_all(&std::mem::take(&mut out));
        }
        let count = stream.read(buffer)?;
        if count == 0 {
            return Ok(());
        }
        *rest = buffer[..count].to_vec();
    }
}

fn carry_out(&(world, number): &(&World, usize), reply: &Reply, request: &Request, data: &[u8], out: &mut Vec<u8>) {
    let manners = world.manners.lock().unwrap().clone();
    std::thread::sleep(manners.delay);
    let hung = world.hung.lock().unwrap();
    drop(world.released.wait_while(hung, |hung| number <= *hung).unwrap());
    if world.down.load(Ordering::SeqCst) {
        return;
    }
    let mut shown = world.shown.lock().unwrap();
    let range = request.offset as usize..(request.offset + request.length) as usize;
    match request.command {
        Command::Write | Command::WriteZeroes | Command::Trim => {
            world.writes.fetch_add(1, Ordering::SeqCst);
            if let Some(error) = manners.write_error {
                return reply.error(out, error, "as asked");
            }
            if request.command == Command::Write {
                shown[range].copy_from_slice(data)
            } else {
                shown[range].fill(0)
            }
            reply.done(out);
        }
        Command::Flush => {
            world.flushes.fetch_add(1, Ordering::SeqCst);
            world.durable.lock().unwrap().copy_from_slice(&shown);
            reply.done(out);
        }
        Command::Read => {
            reply.data(out, request.offset, request.length as u32, true);
            out.extend_from_slice(&shown[range]);
        }
        Command::BlockStatus => {
            let is_hole = shown[range.start] == 0;
            let same = shown[range].iter().take_while(|&&byte| (byte == 0) == is_hole).count();
            let flags = if is_hole { AllocationFlags::HOLE | AllocationFlags::ZERO } else { AllocationFlags::empty() };
            for context in request.contexts.iter() {
                reply.block_status(out, context, &[Extent::allocation(same as u64, flags)], true);
            }
        }
        Command::Cache => reply.done(out),
    }
}

/// Waits until something is true, or fails the test.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < patience, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Numbers that look random and are the same each time (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
