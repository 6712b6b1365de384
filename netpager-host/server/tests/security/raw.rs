//! NBD by hand, for what a proper client would not say.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use security::TlsStream;

pub(crate) type Secure = TlsStream<TcpStream>;

pub(crate) const OPT_EXPORT_NAME: u32 = 1;
pub(crate) const OPT_ABORT: u32 = 2;
pub(crate) const OPT_LIST: u32 = 3;
pub(crate) const OPT_STARTTLS: u32 = 5;
pub(crate) const OPT_INFO: u32 = 6;
pub(crate) const OPT_GO: u32 = 7;
pub(crate) const OPT_STRUCTURED_REPLY: u32 = 8;

pub(crate) const REP_ACK: u32 = 1;
pub(crate) const REP_SERVER: u32 = 2;
pub(crate) const REP_INFO: u32 = 3;
pub(crate) const ERR_POLICY: u32 = (1 << 31) + 2;
pub(crate) const ERR_TLS_REQD: u32 = (1 << 31) + 5;
pub(crate) const ERR_UNKNOWN: u32 = (1 << 31) + 6;

const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// One reply to an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

/// A client that says what it is told to say.
pub(crate) struct Raw<S> {
    pub(crate) stream: S,
}

/// The bytes of an option.
pub(crate) fn option(number: u32, data: &[u8]) -> Vec<u8> {
    [&b"IHAVEOPT"[..], &number.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
}

/// What GO and INFO carry: a name, and no wishes.
pub(crate) fn named(name: &str) -> Vec<u8> {
    [&(name.len() as u32).to_be_bytes()[..], name.as_bytes(), &[0, 0]].concat()
}

impl<S: Read + Write> Raw<S> {
    /// Takes the greeting, and returns it.
    pub(crate) fn greeted(mut stream: S) -> Self {
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        // Fixed newstyle, and no zeroes after EXPORT_NAME.
        stream.write_all(&3_u32.to_be_bytes()).unwrap();
        Self { stream }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// All replies to an option, the last of which ends it.
    pub(crate) fn ask(&mut self, number: u32, data: &[u8]) -> Vec<Reply> {
        self.send(&option(number, data));
        self.replies(number)
    }

    pub(crate) fn replies(&mut self, number: u32) -> Vec<Reply> {
        let mut replies = Vec::new();
        loop {
            let mut header = [0; 20];
            self.stream.read_exact(&mut header).unwrap();
            let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            assert_eq!((u64::from_be_bytes(header[..8].try_into().unwrap()), word(8)), (REPLY_MAGIC, number), "{replies:?}");
            let mut data = vec![0; word(16) as usize];
            self.stream.read_exact(&mut data).unwrap();
            let kind = word(12);
            replies.push(Reply { kind, data });
            if kind == REP_ACK || kind >= 1 << 31 {
                return replies;
            }
        }
    }

    /// The reply that ends an option.
    pub(crate) fn last(&mut self, number: u32, data: &[u8]) -> Reply {
        self.ask(number, data).pop().unwrap()
    }

    pub(crate) fn start_tls(&mut self) -> bool {
        self.last(OPT_STARTTLS, &[]).kind == REP_ACK
    }

    pub(crate) fn go(&mut self, name: &str) -> Reply {
        self.last(OPT_GO, &named(name))
    }

    /// The names in a listing.
    pub(crate) fn list(&mut self) -> Vec<String> {
        let servers = self.ask(OPT_LIST, &[]).into_iter().filter(|reply| reply.kind == REP_SERVER);
        servers.map(|reply| String::from_utf8(reply.data[4..].to_vec()).unwrap()).collect()
    }

    /// A request in the transmission phase, with old headers; the error of its simple reply.
    pub(crate) fn request(&mut self, command: u16, offset: u64, length: u32, payload: &[u8]) -> u32 {
        let (magic, flags, cookie) = (0x2560_9513_u32, 0_u16, 0x1122_3344_5566_7788_u64);
        let head = [&magic.to_be_bytes()[..], &flags.to_be_bytes(), &command.to_be_bytes(), &cookie.to_be_bytes()].concat();
        self.send(&[&head[..], &offset.to_be_bytes(), &length.to_be_bytes(), payload].concat());
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes(), "a simple reply");
        assert_eq!(reply[8..], cookie.to_be_bytes());
        u32::from_be_bytes(reply[4..8].try_into().unwrap())
    }

    pub(crate) fn write(&mut self, offset: u64, payload: &[u8]) -> u32 {
        self.request(1, offset, payload.len() as u32, payload)
    }

    pub(crate) fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, u32> {
        let error = self.request(0, offset, length, &[]);
        let mut data = vec![0; length as usize];
        match error {
            0 => self.stream.read_exact(&mut data).map(|()| data).map_err(|error| panic!("{error}")),
            error => Err(error),
        }
    }

    /// Everything that still comes until the other side closes.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest,
            // How a connection ends that was cut short.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => rest,
            Err(error) => panic!("it is not closed: {error}, after {rest:?}"),
        }
    }
}
