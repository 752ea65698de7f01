//! TLS on a connection that was accepted: the handshake, bounded in time, and a farewell to those
//! with whom there is none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Time for a client to take a refusal.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much of what such a client still sends is read.
const FAREWELL_BYTES: u64 = 64 * 1024;

/// The first byte of a TLS connection: the type of a handshake record.
const HANDSHAKE_RECORD: u8 = 22;

/// Said to who speaks HTTP where TLS is spoken.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    connection: close\r\ncontent-length: 29\r\n\r\nthis port speaks only https.\n";

/// Shakes hands; nothing when it comes to none.
pub(super) async fn shake_hands<S>(stream: S, config: Arc<ServerConfig>) -> Option<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let accepted = TlsAcceptor::from(config).accept(stream).into_fallible();
    match timeout(HANDSHAKE, accepted).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err((error, stream))) => {
            tracing::debug!(%error, "no TLS handshake");
            part(stream).await;
            None
        }
        Err(_) => {
            tracing::debug!("no TLS handshake in time");
            None
        }
    }
}

/// Whether a client speaks TLS, which its first byte tells; one that speaks HTTP is told why it
/// gets no answer.
pub(super) async fn speaks_tls(stream: &mut TcpStream) -> bool {
    let mut first = [0];
    match timeout(HANDSHAKE, stream.peek(&mut first)).await {
        Ok(Ok(1)) => {}
        _ => return false,
    }
    // What is neither is left to the handshake.
    if first == [HANDSHAKE_RECORD] || !first.iter().all(u8::is_ascii_uppercase) {
        return true;
    }
    let told: io::Result<()> = stream.write_all(NOT_TLS).await;
    if told.is_ok() {
        part(stream).await;
    }
    false
}

/// Ends a connection so that its client sees why: one that is closed while it still sends is reset,
/// and the reset overtakes what was said.
async fn part<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let parting = async {
        stream.shutdown().await?;
        let mut rest = stream.take(FAREWELL_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whoever does not take it in time has had time.
    let _ = timeout(FAREWELL, parting).await;
}
