//! The admin listener in this process, on a port of its own, with a fake service behind it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use admin::{AdminAddress, AdminConfig, AdminListener, Operated, Registry, Token};
use tokio::sync::oneshot;

/// A running listener; ends when dropped.
pub(crate) struct Service {
    pub(crate) registry: Arc<Registry>,
    pub(crate) address: AdminAddress,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub(crate) fn start(operated: Arc<dyn Operated>, token: Option<&str>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), operated, token)
    }

    pub(crate) fn start_at(address: AdminAddress, operated: Arc<dyn Operated>, token: Option<&str>) -> Self {
        let registry = Arc::new(Registry::default());
        let config = AdminConfig { address, token: token.map(|token| Token::new(token).unwrap()), host_names: Vec::new() };
        let (end, ending) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let books = registry.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = AdminListener::bind(config).await.unwrap();
                tell.send(listener.address().clone()).unwrap();
                listener.serve(books, operated, async { drop(ending.await) }).await;
            });
        });
        Self { registry, address: told.recv().unwrap(), end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        match self.address {
            AdminAddress::Tcp(address) => address,
            AdminAddress::Unix(_) => panic!("not a TCP address"),
        }
    }

    /// Sends a request with these headers and no others; returns the whole answer.
    pub(crate) fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        Answer::parse(&answer)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, &[("host", "localhost")], "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.raw("POST", path, &[("host", "localhost"), ("content-type", "application/json")], body)
    }

    /// Ends it, and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
