//! A client that writes bytes to a socket and reads answers from it by the letter of RFC 9112.
//! It shares no code with the server.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::exporter::PATIENCE;
use super::tls::server_name;

/// Either kind of socket.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// One connection.
pub struct Client {
    socket: Box<dyn Socket>,
    /// What was read and is not part of an answer yet.
    buffer: BytesMut,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({} bytes)", self.buffer.len())
    }
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// As in `HTTP/1.1`.
    pub version: String,
    pub status: u16,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Whether the body came to its end, and was not cut off.
    pub whole: bool,
}

impl Answer {
    #[track_caller]
    pub fn check(&self, what: &str, status: u16, body: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!((self.status, &*text), (status, body), "{what}: {self:?}");
        assert!(self.whole, "{what}: cut off");
    }
}

impl Client {
    /// Connects to `host:port` or `unix:///path`.
    pub async fn connect(address: &str) -> Self {
        Self::try_connect(address).await.expect("a connection")
    }

    pub async fn try_connect(address: &str) -> io::Result<Self> {
        let socket: Box<dyn Socket> = match address.strip_prefix("unix://") {
            Some(path) => Box::new(UnixStream::connect(path).await?),
            None => Box::new(TcpStream::connect(address).await?),
        };
        Ok(Self {
            socket,
            buffer: BytesMut::new(),
        })
    }

    /// Connects by TLS, or says why that is refused.
    pub async fn try_connect_tls(address: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let stream = TlsConnector::from(config)
            .connect(server_name(), stream)
            .await?;
        Ok(Self {
            socket: Box::new(stream),
            buffer: BytesMut::new(),
        })
    }

    /// Connects with little room for what is not read yet.
    pub async fn connect_narrow(address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(address.parse().unwrap()).await.unwrap();
        Self {
            socket: Box::new(stream),
            buffer: BytesMut::new(),
        }
    }

    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = timeout(PATIENCE, self.socket.write_all(bytes)).await;
        sent.expect("the server reads")
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).await.expect("bytes are sent");
    }

    /// Sends a request without a body.
    pub async fn ask(&mut self, method: &str, path: &str) {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: exporter\r\n\r\n");
        self.send(head).await;
    }

    /// Sends a request and reads its answer.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path).await;
        self.answer("GET").await
    }

    /// Reads the answer to a request of this method.
    pub async fn answer(&mut self, method: &str) -> Answer {
        let head = self.take_through(b"\r\n\r\n").await;
        let head = String::from_utf8(head.expect("the head of an answer")).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next().unwrap().split(' ');
        let version = first.next().unwrap().to_owned();
        let status = first.next().unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').expect(line);
            let old = headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            assert_eq!(old, None, "{name} comes twice");
        }
        let length = headers.get("content-length").cloned();
        let (body, whole) = if method == "HEAD" {
            (Vec::new(), true)
        } else if headers.contains_key("transfer-encoding") {
            assert_eq!(headers["transfer-encoding"], "chunked");
            assert_eq!(length, None, "RFC 9112, section 6.2");
            self.chunks().await
        } else if let Some(length) = length {
            let length = length.parse().unwrap();
            match self.take(length).await {
                Some(body) => (body, true),
                None => (self.buffer.split().to_vec(), false),
            }
        } else {
            (self.closed().await, true)
        };
        Answer {
            version,
            status,
            headers,
            body,
            whole,
        }
    }

    /// Reads until something that the body holds has come.
    pub async fn read_until(&mut self, wanted: &[u8]) {
        while !self.buffer.windows(wanted.len()).any(|have| have == wanted) {
            assert!(self.read(PIECE).await > 0, "closed before it came");
        }
    }

    /// Reads up to as many bytes; none: the connection is closed.
    pub async fn read(&mut self, most: usize) -> usize {
        let mut bytes = vec![0; most];
        let read = timeout(PATIENCE, self.socket.read(&mut bytes)).await;
        let read = ended(read.expect("bytes or an end"));
        self.buffer.extend_from_slice(&bytes[..read]);
        read
    }

    /// Reads to the end of the connection; gives what was not taken yet.
    pub async fn closed(&mut self) -> Vec<u8> {
        while self.read(PIECE).await > 0 {}
        self.buffer.split().to_vec()
    }

    /// Whether the connection is closed, or is within this time.
    pub async fn closes_within(&mut self, time: Duration) -> bool {
        let mut bytes = [0; 4096];
        match timeout(time, self.socket.read(&mut bytes)).await {
            Err(_) => false,
            Ok(read) => {
                let read = ended(read);
                self.buffer.extend_from_slice(&bytes[..read]);
                read == 0
            }
        }
    }

    /// The pieces of a chunked body, and whether the last one came.
    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.take_through(b"\r\n").await else {
                return (body, false);
            };
            let line = std::str::from_utf8(&line).unwrap().trim_end();
            let length = usize::from_str_radix(line, 16).expect("the length of a chunk");
            let Some(chunk) = self.take(length + 2).await else {
                return (body, false);
            };
            assert!(chunk.ends_with(b"\r\n"), "a chunk ends as it is to");
            if length == 0 {
                return (body, true);
            }
            body.extend(&chunk[..length]);
        }
    }

    /// Takes up to and with `end`; nothing when the connection ends before.
    async fn take_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|have| have == end);
            if let Some(at) = found {
                return self.take(at + end.len()).await;
            }
            if self.read(PIECE).await == 0 {
                return None;
            }
        }
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if self.read(PIECE).await == 0 {
                return None;
            }
        }
        Some(self.buffer.split_to(length).to_vec())
    }
}

/// What is asked of the socket at a time.
const PIECE: usize = 16 * 1024;

/// The number of bytes read; a connection that was reset is closed.
fn ended(read: io::Result<usize>) -> usize {
    match read {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
        Err(error) => panic!("{error}"),
    }
}
