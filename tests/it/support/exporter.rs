//! The web layer on sockets of loopback, answering from a backend that does as the request tells
//! it to: the first `name[]` chooses the scrape.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use envoy_exporter::negotiate::Encoding;
use envoy_exporter::web::{
    Backend, Handler, ListenAddress, Options, Pieces, ScrapeRequest, ScrapeResponse, serve,
};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::client::Client;

/// The longest that anything may take which is to happen at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How many pieces a scrape of `big` has, of [`PIECE`] bytes each.
pub const PIECES: usize = 1024;

/// The size of a piece of `big`: that of 64 MiB in all.
pub const PIECE: usize = 64 * 1024;

/// A backend that counts.
#[derive(Debug)]
pub struct Fake {
    pub begun: AtomicUsize,
    /// Status codes of what has ended, in order.
    pub ended: Mutex<Vec<u16>>,
    /// Pieces of bodies that were taken.
    pub pieces: AtomicUsize,
    /// Bodies that are neither read to their end nor dropped.
    pub bodies: Arc<AtomicUsize>,
    gate: watch::Sender<bool>,
}

impl Fake {
    fn new() -> Self {
        Self {
            begun: AtomicUsize::new(0),
            ended: Mutex::default(),
            pieces: AtomicUsize::new(0),
            bodies: Arc::default(),
            gate: watch::Sender::new(false),
        }
    }

    /// Lets every scrape of `gated` and `held` go on, those to come too.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub fn ended(&self) -> Vec<u16> {
        self.ended.lock().unwrap().clone()
    }

    pub fn pieces(&self) -> usize {
        self.pieces.load(Ordering::SeqCst)
    }

    pub fn bodies(&self) -> usize {
        self.bodies.load(Ordering::SeqCst)
    }

    fn gate(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut gate = self.gate.subscribe();
        async move {
            let _ = gate.wait_for(|open| *open).await;
        }
    }

    fn body(&self, request: &ScrapeRequest) -> Pieces {
        match request.families.first().map(String::as_str) {
            Some("big") => {
                let piece = Bytes::from(vec![b'x'; PIECE]);
                Box::pin(stream::repeat(piece).take(PIECES))
            }
            Some("gated") => {
                let gate = self.gate();
                let last = stream::once(async move {
                    gate.await;
                    Bytes::from_static(b"last\n")
                });
                Box::pin(stream::iter([Bytes::from_static(b"first\n")]).chain(last))
            }
            Some("broken") => {
                let last = stream::once(async { panic!("as asked, in the body") });
                Box::pin(stream::iter([Bytes::from_static(b"first\n")]).chain(last))
            }
            _ => {
                let accept = request.headers.get("accept");
                let accept = accept.map_or("", |value| value.to_str().unwrap());
                let text = format!("{}|{accept}\n", request.families.join("+"));
                Box::pin(stream::iter([Bytes::from(text)]))
            }
        }
    }
}

/// Counts a body from its start to its drop.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The backend as the server has it.
struct Shared(Arc<Fake>);

impl Backend for Shared {
    fn scrape(&self, request: ScrapeRequest) -> BoxFuture<'_, Option<ScrapeResponse>> {
        let first = request.families.first().cloned().unwrap_or_default();
        assert!(first != "panic", "as asked, at once");
        Box::pin(async move {
            assert!(first != "panic later", "as asked, in the future");
            if first == "held" {
                self.0.gate().await;
            }
            let sized = first == "sized";
            let counted = Counted::new(&self.0.bodies);
            let fake = Arc::clone(&self.0);
            let body = self.0.body(&request).inspect(move |_| {
                let _held = &counted;
                fake.pieces.fetch_add(1, Ordering::SeqCst);
            });
            Some(ScrapeResponse {
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                encoding: if sized {
                    Encoding::Zstd
                } else {
                    Encoding::Identity
                },
                size: sized.then_some("sized|\n".len()),
                body: Box::pin(body),
            })
        })
    }

    fn readiness(&self) -> Result<(), String> {
        Ok(())
    }

    fn status_page(&self) -> String {
        "<p>page".to_owned()
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn quit(&self) {}

    fn begin(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
    }

    fn end(&self, _: Handler, code: u16, _: Duration) {
        self.0.ended.lock().unwrap().push(code);
    }
}

/// A running web layer; it goes with the runtime.
#[derive(Debug)]
pub struct Exporter {
    /// Where it listens, each as `host:port` or `unix:///path`.
    pub addresses: Vec<String>,
    pub backend: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Exporter {
    /// Serves on a free port of loopback.
    pub async fn start(options: Options) -> Self {
        Self::start_at(&["127.0.0.1:0"], options).await
    }

    /// Serves on these addresses.
    pub async fn start_at(listen: &[&str], options: Options) -> Self {
        let mut listeners = Vec::new();
        for address in listen {
            let address: ListenAddress = address.parse().unwrap();
            listeners.push(address.bind().await.unwrap());
        }
        let addresses = listeners
            .iter()
            .map(|listener| {
                listener
                    .to_string()
                    .trim_start_matches("http://")
                    .to_owned()
            })
            .collect();
        let backend = Arc::new(Fake::new());
        let shared = Arc::new(Shared(Arc::clone(&backend)));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listeners, shared, options, async move {
            let _ = stopped.await;
        }));
        Self {
            addresses,
            backend,
            stop: Some(stop),
            serving,
        }
    }

    /// A new connection to the first address.
    pub async fn connect(&self) -> Client {
        Client::connect(&self.addresses[0]).await
    }

    /// The status of a request on a connection of its own.
    pub async fn status(&self, path: &str) -> u16 {
        self.connect().await.get(path).await.status
    }

    /// Tells it to stop.
    pub fn stop(&mut self) {
        let stop = self.stop.take().expect("it is stopped once");
        stop.send(()).expect("it still serves");
    }

    /// Waits until it has stopped; says how long that took.
    pub async fn stopped(self) -> Duration {
        let start = Instant::now();
        let stopped = tokio::time::timeout(PATIENCE, self.serving).await;
        stopped.expect("it stops").expect("it does not panic");
        start.elapsed()
    }
}

/// Options with room for everything, and the limits that are for real users.
pub fn options() -> Options {
    Options::new("/metrics", 40).unwrap()
}

/// Waits for a condition.
#[track_caller]
pub fn eventually<'a>(
    what: &'a str,
    condition: impl Fn() -> bool + 'a,
) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    let at = std::panic::Location::caller();
    Box::pin(async move {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "{at}: never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}
