//! Listening: addresses, sockets, and the loop that gives connections to hyper,
//! encrypted where the web configuration says so.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::places::{Places, Visit};
use super::stall::Guarded;
use super::{Backend, Options, Site, accept, routes};

/// How long accepting rests after it failed, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp {
        /// Name or address; none: every address.
        host: Option<String>,
        /// The port; 0: any that is free.
        port: u16,
    },
    /// A unix socket.
    Unix {
        /// Its file.
        path: PathBuf,
        /// The mode of the file; none: as the umask has it.
        mode: Option<u32>,
    },
}

/// What stands between the path of a unix socket and its mode.
const MODE: &str = "?mode=";

/// Connections that wait to be accepted, as tokio has it too.
const BACKLOG: u32 = 1024;

/// Largest head of a request, in bytes: many times what any scraper sends, and no burden with as
/// many connections as there may be. hyper has a bound of 100 headers besides.
const MAX_HEAD: usize = 64 * 1024;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Text that is no address.
    #[error("'{0}' is no listen address like :9091, 127.0.0.1:9091, [::1]:9091 or unix:///path")]
    Address(String),
    /// A socket that cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: ListenAddress,
        /// The cause.
        source: io::Error,
    },
    /// No sockets where some were to be handed over.
    #[error("systemd handed no socket over: is there a socket unit for the service?")]
    NoneInherited,
    /// A socket that was handed over and is of no use.
    #[error("cannot listen on socket {number} of those handed over: {reason}")]
    Inherited {
        /// Its place, from 1 on.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl FromStr for ListenAddress {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let error = || ListenError::Address(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            let (path, mode) = match path.rsplit_once(MODE) {
                Some((path, mode)) => (path, Some(parse_mode(mode).ok_or_else(error)?)),
                None => (path, None),
            };
            let path = Some(path).filter(|path| path.starts_with('/') && path.len() > 1);
            let path = path.ok_or_else(error)?.into();
            return Ok(Self::Unix { path, mode });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match (host, bracketed) {
            ("", _) => None,
            (_, Some(address)) => {
                let address: Ipv6Addr = address.parse().map_err(|_| error())?;
                Some(address.to_string())
            }
            (host, None) if host.contains([':', '/', '[', ']', ' ']) => return Err(error()),
            (host, None) => Some(host.to_owned()),
        };
        Ok(Self::Tcp { host, port })
    }
}

/// The mode of a file, in octal digits.
fn parse_mode(text: &str) -> Option<u32> {
    let is_octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal)?;
    (mode <= 0o777).then_some(mode)
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, ":{port}"),
            Self::Tcp {
                host: Some(host),
                port,
            } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp {
                host: Some(host),
                port,
            } => write!(f, "{host}:{port}"),
            Self::Unix { path, mode } => {
                write!(f, "unix://{}", path.display())?;
                mode.map_or(Ok(()), |mode| write!(f, "{MODE}{mode:04o}"))
            }
        }
    }
}

impl ListenAddress {
    /// Opens the socket.
    pub async fn bind(&self) -> Result<Listener, ListenError> {
        let bound = match self {
            Self::Tcp { host: None, port } => {
                // One socket for both families, or what there is of them.
                let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
                match TcpListener::bind(everywhere).await {
                    Ok(listener) => Ok(Listener::Tcp(listener)),
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
                    Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))
                        .await
                        .map(Listener::Tcp),
                }
            }
            Self::Tcp {
                host: Some(host),
                port,
            } => TcpListener::bind((host.as_str(), *port))
                .await
                .map(Listener::Tcp),
            Self::Unix { path, mode } => bind_unix(path, *mode).await,
        };
        bound.map_err(|source| ListenError::Bind {
            address: self.clone(),
            source,
        })
    }
}

/// A socket whose other end is gone is taken over; one that answers is somebody else's.
async fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Listener> {
    let bind = || -> io::Result<UnixSocket> {
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        Ok(socket)
    };
    let socket = match bind() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !is_stale(path).await {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            bind()
        }
        bound => bound,
    };
    let socket = socket?;
    let file = OwnFile(path.to_owned());
    // Before it is listened on, so that nobody connects by another mode.
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    let listener = socket.listen(BACKLOG)?;
    Ok(Listener::Unix(UnixSite {
        listener,
        file: Some(file),
    }))
}

/// Whether a file is a socket on which nobody listens. One that is busy or forbidden is somebody's,
/// and what is no socket is not to be removed.
async fn is_stale(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    if !found.is_ok_and(|found| found.file_type().is_socket()) {
        return false;
    }
    match UnixStream::connect(path).await {
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
    }
}

/// An open socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixSite),
}

/// A unix socket.
#[derive(Debug)]
pub struct UnixSite {
    listener: UnixListener,
    /// None where somebody else made it.
    file: Option<OwnFile>,
}

/// The file of a socket of our own, which goes with it.
#[derive(Debug)]
struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        // A file that is gone already is none to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "http://{address}"),
                Err(_) => f.write_str("http"),
            },
            Self::Unix(socket) => {
                let address = socket.listener.local_addr();
                let path = match (&socket.file, &address) {
                    (Some(OwnFile(path)), _) => Some(path.as_path()),
                    (None, Ok(address)) => address.as_pathname(),
                    (None, Err(_)) => None,
                };
                write!(f, "unix://{}", path.unwrap_or(Path::new("")).display())
            }
        }
    }
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// A TCP port that is listened on already, in the mode that does not block.
    pub(super) fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// A unix socket, likewise.
    pub(super) fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        let listener = UnixListener::from_std(listener)?;
        Ok(Self::Unix(UnixSite {
            listener,
            file: None,
        }))
    }

    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers go out in large pieces; waiting to fill a packet only adds delay.
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok(Connection::Unix(stream))
            }
        }
    }
}

/// Serves until `shutdown` resolves, then lets responses under way end, for a bounded time.
pub async fn serve(
    listeners: Vec<Listener>,
    backend: Arc<dyn Backend>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let server = Arc::new(Server {
        places: Places::new(options.max_connections),
        site: Site::new(backend, options),
        stopped,
    });
    let mut watching = JoinSet::new();
    watching.spawn(Arc::clone(&server.site.options.web_config).watch());
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(Arc::clone(&server).accept(listener));
    }
    shutdown.await;
    stop.send_replace(true);
    let drained = async { while loops.join_next().await.is_some() {} };
    let limit = server.site.options.drain_timeout;
    if tokio::time::timeout(limit, drained).await.is_err() {
        tracing::warn!("responses were cut off: their readers did not read to the end in time");
    }
}

struct Server {
    site: Arc<Site>,
    /// One for each connection that is served.
    places: Arc<Places>,
    stopped: watch::Receiver<bool>,
}

impl Server {
    /// Takes connections until the end, then waits for those that are open.
    async fn accept(self: Arc<Self>, listener: Listener) {
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = is_set(&mut stopped) => break,
                Some(_) = connections.join_next() => continue,
            };
            let connection = match accepted {
                Ok(connection) => {
                    is_failing = false;
                    connection
                }
                Err(error) => {
                    // Once, not ten times a second for as long as it lasts.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "cannot accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Only now, so that a listener to which nobody connects keeps no place from others.
            let place = tokio::select! {
                // The end frees places, which are for nobody then.
                biased;
                () = is_set(&mut stopped) => break,
                place = Arc::clone(&self.places).take() => place,
            };
            let Some(place) = place else {
                break;
            };
            let server = Arc::clone(&self);
            connections.spawn(async move {
                tokio::select! {
                    biased;
                    () = place.visit().told_to_leave() => {
                        tracing::debug!("a connection is closed: its place or its time is over");
                    }
                    () = server.welcome(connection, place.visit()) => {}
                }
            });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// Encrypts a connection, where that is configured, and answers its requests.
    async fn welcome(&self, connection: Connection, visit: &Arc<Visit>) {
        let limit = self.site.options.stall_timeout;
        let Some(config) = self.site.options.web_config.tls() else {
            return match connection {
                Connection::Tcp(stream) => self.converse(Guarded::new(stream, limit), visit).await,
                Connection::Unix(stream) => self.converse(Guarded::new(stream, limit), visit).await,
            };
        };
        match connection {
            Connection::Tcp(mut stream) => {
                let speaks_tls = self.unless_stopped(accept::speaks_tls(&mut stream));
                if speaks_tls.await == Some(true) {
                    let stream = Guarded::new(stream, limit);
                    self.encrypt(stream, config, visit).await;
                }
            }
            Connection::Unix(stream) => {
                let stream = Guarded::new(stream, limit);
                self.encrypt(stream, config, visit).await;
            }
        }
    }

    async fn encrypt<S>(&self, stream: S, config: Arc<ServerConfig>, visit: &Arc<Visit>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = self.unless_stopped(accept::shake_hands(stream, config));
        if let Some(stream) = shaken.await.flatten() {
            self.converse(stream, visit).await;
        }
    }

    /// What a future gives, unless the end comes first.
    async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            value = future => Some(value),
            () = is_set(&mut stopped) => None,
        }
    }

    /// Answers the requests of one connection.
    async fn converse<S>(&self, stream: S, visit: &Arc<Visit>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = &self.site.options;
        let answers = TowerToHyperService::new(warp::service(routes(Arc::clone(&self.site))));
        let asked = AtomicBool::new(false);
        let service = service_fn(|mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            // `CONNECT host:port` has no path, at which warp panics; this one leads nowhere.
            if request.uri().path_and_query().is_none() {
                *request.uri_mut() = Uri::from_static("*");
            }
            let busy = visit.begin();
            request.extensions_mut().insert(Arc::clone(visit));
            let answer = answers.call(request);
            async move {
                let answer = answer.await;
                drop(busy);
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let mut stopped = self.stopped.clone();
        let ended = tokio::select! {
            // What has come in already is read before the end is seen.
            biased;
            ended = &mut connection => ended,
            () = is_set(&mut stopped) => {
                // hyper waits for the first request of a connection, though not for the next ones.
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Resolves once the flag is set, or its setter is gone.
async fn is_set(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}
