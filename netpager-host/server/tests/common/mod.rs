//! Runs the real service, and talks to it with our own client half over real sockets.
#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nbd::client::{Client, ClientError, Event, RequestTable, Session, Wishes};
use nbd::{Command as Nbd, Framing, NbdError, Request};
use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes longer than this unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running service; it is killed when dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) addresses: Vec<String>,
}

impl Service {
    /// Starts the service on a free loopback port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_on(&["127.0.0.1:0"], arguments)
    }

    /// Starts the service and waits until it accepts connections on all these addresses.
    pub(crate) fn start_on(listen: &[&str], arguments: &[&str]) -> Self {
        let listen_arguments = listen.iter().flat_map(|address| ["--listen", address]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_netpager-host"));
        command.arg("serve").args(listen_arguments).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || lines.next().unwrap().unwrap().strip_prefix("listening on ").unwrap().to_owned();
        let addresses = listen.iter().map(|_| address()).collect();
        Self { child, addresses }
    }

    pub(crate) fn port(&self) -> u16 {
        self.addresses[0].rsplit_once(':').unwrap().1.parse().unwrap()
    }

    pub(crate) fn connect(&self, export: &str) -> Connection {
        Connection::open(self.tcp(), export).unwrap()
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addresses[0]).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Kills the service the hard way.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the service to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the service does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end, for command lines that must not start a service.
pub(crate) fn output(arguments: &[&str]) -> (ExitStatus, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_netpager-host")).args(arguments).output().unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

pub(crate) trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

#[derive(Debug)]
pub(crate) enum Failure {
    Client(ClientError),
    Io(io::Error),
}

/// A finished request.
pub(crate) struct Done {
    pub(crate) cookie: u64,
    pub(crate) result: Result<(), NbdError>,
    /// What a READ read.
    pub(crate) data: Vec<u8>,
    /// Which of its bytes came as holes.
    pub(crate) hole_bytes: u64,
    /// What a BLOCK_STATUS told: context, length, flags.
    pub(crate) extents: Vec<(usize, u64, u64)>,
}

/// What is known of a request in flight.
#[derive(Default)]
struct Partial {
    data: Vec<u8>,
    hole_bytes: u64,
    extents: Vec<(usize, u64, u64)>,
}

/// A client over a blocking socket.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    client: Client,
    table: RequestTable<Partial, 512>,
    finished: HashMap<u64, Done>,
    order: Vec<u64>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn unix(path: &str, export: &str) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::open(stream, export).unwrap()
    }

    pub(crate) fn open(stream: impl Stream + 'static, export: &str) -> Result<Self, Failure> {
        Self::open_with(stream, export, &Wishes::DEFAULT)
    }

    pub(crate) fn open_with(stream: impl Stream + 'static, export: &str, wishes: &Wishes) -> Result<Self, Failure> {
        let mut connection = Self {
            stream: Box::new(stream),
            client: Client::with(export, wishes).unwrap(),
            table: RequestTable::new(),
            finished: HashMap::new(),
            order: Vec::new(),
            buffer: vec![0; 64 * 1024],
        };
        while connection.client.session().is_none() {
            connection.receive()?;
        }
        Ok(connection)
    }

    pub(crate) fn session(&self) -> Session {
        *self.client.session().unwrap()
    }

    pub(crate) fn error_text(&self) -> String {
        self.client.error_text().to_string()
    }

    /// Sends a request that the export takes; `payload` is what a WRITE writes.
    pub(crate) fn send(&mut self, request: Request, payload: &[u8]) -> u64 {
        let (cookie, bytes) = self.encode(request, payload);
        self.stream.write_all(&bytes).unwrap();
        cookie
    }

    /// The bytes of a request, which is from now on in flight.
    pub(crate) fn encode(&mut self, request: Request, payload: &[u8]) -> (u64, Vec<u8>) {
        let length = if request.command == Nbd::Read { request.length as usize } else { 0 };
        let partial = Partial { data: vec![0xee; length], ..Partial::default() };
        let cookie = self.table.insert(request, partial).ok().expect("room for a request");
        let header = self.client.encode(cookie, &request).unwrap();
        (cookie, [&header[..], payload].concat())
    }

    pub(crate) fn try_send(&mut self, request: Request, payload: &[u8]) -> Result<u64, Failure> {
        let (cookie, bytes) = self.encode(request, payload);
        self.try_send_raw(&bytes).map(|()| cookie)
    }

    pub(crate) fn try_send_raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).map_err(Failure::Io)
    }

    /// Writes, unless the connection is closed.
    pub(crate) fn try_write(&mut self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let cookie = self.try_send(Request::write(offset, data.len() as u32), data)?;
        self.try_wait(cookie).map(drop)
    }

    /// Reads, unless the connection is closed.
    pub(crate) fn try_read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, Failure> {
        let cookie = self.try_send(Request::read(offset, length), &[])?;
        self.try_wait(cookie).map(|done| done.data)
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Waits for the answer to a request.
    pub(crate) fn wait(&mut self, cookie: u64) -> Done {
        self.try_wait(cookie).unwrap()
    }

    pub(crate) fn try_wait(&mut self, cookie: u64) -> Result<Done, Failure> {
        loop {
            if let Some(done) = self.finished.remove(&cookie) {
                return Ok(done);
            }
            self.receive()?;
        }
    }

    /// The cookies of the finished requests, in the order of their answers.
    pub(crate) fn order(&self) -> &[u64] {
        &self.order
    }

    pub(crate) fn ask(&mut self, request: Request, payload: &[u8]) -> Done {
        let cookie = self.send(request, payload);
        self.wait(cookie)
    }

    /// Asks for what the client itself would refuse to send.
    pub(crate) fn force(&mut self, request: Request) -> Done {
        let cookie = self.table.insert(request, Partial::default()).ok().expect("room for a request");
        let (magic, length) = match self.session().framing {
            Framing::Extended => (0x21e4_1c71_u32, request.length.to_be_bytes().to_vec()),
            _ => (0x2560_9513, (request.length as u32).to_be_bytes().to_vec()),
        };
        let (flags, command) = (request.flags.bits().to_be_bytes(), request.command.code().to_be_bytes());
        let (cookie_bytes, offset) = (cookie.to_be_bytes(), request.offset.to_be_bytes());
        self.send_raw(&[&magic.to_be_bytes()[..], &flags, &command, &cookie_bytes, &offset, &length].concat());
        self.wait(cookie)
    }

    /// Says goodbye.
    pub(crate) fn disconnect(&mut self) {
        let bytes = self.client.disconnect();
        self.send_raw(&bytes);
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), NbdError> {
        self.ask(Request::write(offset, data.len() as u32), data).result
    }

    pub(crate) fn read(&mut self, offset: u64, length: u32) -> Vec<u8> {
        let done = self.ask(Request::read(offset, length), &[]);
        assert_eq!(done.result, Ok(()));
        done.data
    }

    /// Receives once, and sends what the handshake wants sent.
    fn receive(&mut self) -> Result<(), Failure> {
        let count = match self.stream.read(&mut self.buffer).map_err(Failure::Io)? {
            0 => return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into())),
            count => count,
        };
        let buffer = std::mem::take(&mut self.buffer);
        let mut input = &buffer[..count];
        loop {
            let (used, event) = self.client.receive(input, &mut self.table).map_err(Failure::Client)?;
            input = &input[used..];
            match event {
                None => break,
                Some(event) => self.event(event),
            }
        }
        self.buffer = buffer;
        let greeting = self.client.transmit();
        self.stream.write_all(greeting).map_err(Failure::Io)?;
        self.client.transmitted(self.client.transmit().len());
        Ok(())
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Ready(_) | Event::Chunk { .. } | Event::StartTls => {}
            Event::Extent { cookie, context, length, flags, .. } => {
                let (_, partial) = self.table.get_mut(cookie).unwrap();
                partial.extents.push((context, length, flags));
            }
            Event::Data { cookie, offset, bytes } => {
                let (pending, partial) = self.table.get_mut(cookie).unwrap();
                let start = (offset - pending.request().offset) as usize;
                partial.data[start..start + bytes.len()].copy_from_slice(bytes);
            }
            Event::Hole { cookie, offset, length } => {
                let (pending, partial) = self.table.get_mut(cookie).unwrap();
                let start = (offset - pending.request().offset) as usize;
                partial.data[start..start + length as usize].fill(0);
                partial.hole_bytes += u64::from(length);
            }
            Event::Done { cookie, result } => {
                let (_, Partial { data, hole_bytes, extents }) = self.table.remove(cookie).unwrap();
                self.order.push(cookie);
                self.finished.insert(cookie, Done { cookie, result, data, hole_bytes, extents });
            }
        }
    }
}
