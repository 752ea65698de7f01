//! An admin interface on a port of loopback, for what no real one does: it answers each request
//! with the bytes that it was told to, in the way that it was told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// As a working Envoy with one counter does; the number is the counter's value.
    Stats(u64),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, then nothing more.
    Stall(Vec<u8>),
    /// These bytes, then the last ones again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// These bytes, one at a time.
    Drip(Vec<u8>),
}

/// What the interface saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub connections: AtomicUsize,
    pub requests: AtomicUsize,
    under_way: AtomicUsize,
    pub most_under_way: AtomicUsize,
    last_head: std::sync::Mutex<String>,
}

/// A running interface; it goes with the runtime.
#[derive(Debug)]
pub struct FakeEnvoy {
    pub address: String,
    pub seen: Arc<Seen>,
    answer: Arc<std::sync::Mutex<Answer>>,
}

impl FakeEnvoy {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let answer = Arc::new(std::sync::Mutex::new(answer));
        let (now, counted) = (Arc::clone(&answer), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(stream, Arc::clone(&now), Arc::clone(&counted)));
            }
        });
        Self {
            address,
            seen,
            answer,
        }
    }

    /// The head of the last request, names in lower case as they come.
    pub fn last_head(&self) -> String {
        self.seen.last_head.lock().unwrap().clone()
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }
}

async fn converse(mut stream: TcpStream, answer: Arc<std::sync::Mutex<Answer>>, seen: Arc<Seen>) {
    while let Some(head) = request(&mut stream).await {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        *seen.last_head.lock().unwrap() = head;
        seen.requests.fetch_add(1, Ordering::SeqCst);
        let under_way = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let answer = answer.lock().unwrap().clone();
        let open = reply(&mut stream, &path, answer).await;
        seen.under_way.fetch_sub(1, Ordering::SeqCst);
        if !open {
            return;
        }
    }
}

/// The head of the next request; nothing when the client is gone.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Answers; says whether the connection goes on.
async fn reply(stream: &mut TcpStream, path: &str, answer: Answer) -> bool {
    match answer {
        Answer::Stats(value) => {
            let body = if path.contains("type=Counters") {
                format!(r#"{{"stats":[{{"name":"cluster.a.upstream_cx_total","value":{value}}}]}}"#)
            } else {
                r#"{"stats":[]}"#.to_owned()
            };
            stream.write_all(&ok(&body)).await.is_ok()
        }
        Answer::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
            false
        }
        Answer::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending().await
        }
        Answer::Endless(start, again) => {
            let _ = stream.write_all(&start).await;
            while stream.write_all(&again).await.is_ok() {}
            false
        }
        Answer::Drip(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            false
        }
    }
}

/// A whole answer with status 200.
pub fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// An answer with another status.
pub fn status(line: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {line}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}
