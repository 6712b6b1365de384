//! One question to the service, one answer: HTTP over TCP or a Unix socket, for callers that wait.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

use super::ClientError;
use crate::http::{AdminAddress, Token};
use crate::observed::Fault;

/// A service that takes longer than this to answer is as good as none.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer is longer.
const ANSWER_MAX: usize = 64 << 20;

/// A way to ask the service.
#[derive(Debug)]
pub struct AdminClient {
    address: AdminAddress,
    token: Option<Token>,
    runtime: Runtime,
}

impl AdminClient {
    /// A client that has sent nothing yet.
    ///
    /// # Errors
    /// There are no resources for it.
    pub fn new(address: AdminAddress, token: Option<Token>) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { address, token, runtime })
    }

    /// Where the service is.
    #[must_use]
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// Asks for something.
    ///
    /// # Errors
    /// The service is not there, or says no.
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ClientError> {
        self.parsed(&self.ask(Method::GET, path, query, None)?)
    }

    /// Has something made or done.
    ///
    /// # Errors
    /// The service is not there, or says no.
    pub fn post<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)], body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.foreign(error.to_string()))?;
        self.parsed(&self.ask(Method::POST, path, query, Some(body))?)
    }

    /// Has something removed.
    ///
    /// # Errors
    /// The service is not there, or says no.
    pub fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<(), ClientError> {
        self.ask(Method::DELETE, path, query, None).map(drop)
    }

    fn parsed<T: DeserializeOwned>(&self, text: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(text).map_err(|error| self.foreign(error.to_string()))
    }

    fn ask(&self, method: Method, path: &str, query: &[(&str, &str)], body: Option<Vec<u8>>) -> Result<Bytes, ClientError> {
        let answer = async {
            match tokio::time::timeout(PATIENCE, self.exchange(method, path, query, body)).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unreachable(io::ErrorKind::TimedOut.into())),
            }
        };
        let (status, text) = self.runtime.block_on(answer)?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_slice::<Fault>(&text) {
            Ok(fault) => Err(fault.into()),
            Err(_) => Err(self.foreign(format!("status {status}"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await.map_err(|error| self.broken(&error))?;
        // Ends when the sender is dropped, with this call.
        let driver = tokio::spawn(connection);
        let host = match &self.address {
            AdminAddress::Tcp(address) => address.to_string(),
            AdminAddress::Unix(_) => "localhost".into(),
        };
        let mut request = Request::builder().method(method).uri(target(path, query)).header(header::HOST, host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(|error| self.foreign(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        let text = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|error| self.foreign(error.to_string()))?;
        drop(sender);
        driver.abort();
        Ok((status, text.to_bytes()))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let connected = match &self.address {
            AdminAddress::Tcp(address) => TcpStream::connect(address).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
            AdminAddress::Unix(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
        };
        connected.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: io::Error) -> ClientError {
        ClientError::Unreachable { address: self.address.clone(), error }
    }

    fn broken(&self, error: &hyper::Error) -> ClientError {
        self.foreign(error.to_string())
    }

    fn foreign(&self, problem: String) -> ClientError {
        ClientError::Foreign { address: self.address.clone(), problem }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A path with its query, in which everything that is not plain is escaped.
fn target(path: &str, query: &[(&str, &str)]) -> String {
    let mut target = format!("/api/v1{path}");
    let mut separator = '?';
    for (name, value) in query {
        target.push(separator);
        target.push_str(name);
        target.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => target.push(byte.into()),
                _ => target.push_str(&format!("%{byte:02X}")),
            }
        }
        separator = '&';
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_fits_into_a_query() {
        assert_eq!(
            target("/export", &[("name", "np1/a b&c=é"), ("force", "true")]),
            "/api/v1/export?name=np1%2Fa%20b%26c%3D%C3%A9&force=true"
        );
        assert_eq!(target("/status", &[]), "/api/v1/status");
    }
}
