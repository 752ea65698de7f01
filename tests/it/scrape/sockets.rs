//! Addresses, the sockets that they become, and those that cannot be had.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use envoy_exporter::web::{ListenAddress, ListenError, Listener};

use crate::support::client::Client;
use crate::support::exporter::{Exporter, eventually, options};

/// A folder that goes with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let name = format!("envoy-exporter-{test}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// The path of a socket in it, and its address.
    fn socket(&self) -> (PathBuf, String) {
        let path = self.0.join("web.sock");
        let address = format!("unix://{}", path.display());
        (path, address)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn bind(address: &str) -> Result<Listener, ListenError> {
    address.parse::<ListenAddress>().unwrap().bind().await
}

/// The message of an address that cannot be had.
#[track_caller]
fn refused(bound: Result<Listener, ListenError>) -> String {
    match bound {
        Ok(listener) => panic!("{listener} is bound"),
        Err(error) => error.to_string(),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[tokio::test]
async fn a_unix_socket_serves_and_its_file_goes_with_it() {
    let dir = Dir::new("serves");
    let (path, address) = dir.socket();
    let mut exporter = Exporter::start_at(&[&address], options()).await;
    assert_eq!(exporter.addresses, [address]);
    assert!(is_socket(&path));
    let mut client = exporter.connect().await;
    for _ in 0..2 {
        client.get("/metrics").await.check("a scrape", 200, "|\n");
    }
    exporter.stop();
    assert_eq!(client.closed().await, b"");
    exporter.stopped().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn the_file_of_a_unix_socket_has_the_mode_that_is_asked_for() {
    let dir = Dir::new("mode");
    let (path, address) = dir.socket();
    for mode in [0o600, 0o666, 0o660] {
        let mut exporter =
            Exporter::start_at(&[&format!("{address}?mode={mode:o}")], options()).await;
        let found = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode, "{found:o}");
        assert_eq!(exporter.addresses, [address.as_str()]);
        assert_eq!(exporter.status("/metrics").await, 200);
        exporter.stop();
        exporter.stopped().await;
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_stale_unix_socket_is_taken_over() {
    let dir = Dir::new("stale");
    let (path, address) = dir.socket();
    // The standard library's listener leaves its file behind, as a process does that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(is_socket(&path));
    let exporter = Exporter::start_at(&[&address], options()).await;
    assert_eq!(exporter.status("/metrics").await, 200);
}

#[tokio::test]
async fn a_unix_socket_in_use_is_left_alone() {
    let dir = Dir::new("used");
    let (path, address) = dir.socket();
    let exporter = Exporter::start_at(&[&address], options()).await;
    let message = refused(bind(&address).await);
    assert_eq!(
        message,
        format!("cannot listen on {address}: Address already in use (os error 98)")
    );
    assert!(is_socket(&path));
    assert_eq!(exporter.status("/metrics").await, 200);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let dir = Dir::new("file");
    let (path, address) = dir.socket();
    std::fs::write(&path, "precious").unwrap();
    let message = refused(bind(&address).await);
    assert!(message.contains(&address), "{message}");
    assert!(message.contains("in use"), "{message}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    // Nor is what a link leads to, or the link.
    std::fs::rename(&path, dir.0.join("kept")).unwrap();
    std::os::unix::fs::symlink("kept", &path).unwrap();
    refused(bind(&address).await);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_busy_unix_socket_is_not_stale() {
    let dir = Dir::new("busy");
    let (path, address) = dir.socket();
    // A server that takes no connection, with as many waiting as there is room for.
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        match tokio::net::UnixStream::connect(&path).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    refused(bind(&address).await);
    assert!(is_socket(&path));
    drop(listener);
}

#[tokio::test]
async fn a_folder_that_is_not_there() {
    let dir = Dir::new("nowhere");
    let address = format!("unix://{}/none/web.sock", dir.0.display());
    let message = refused(bind(&address).await);
    assert_eq!(
        message,
        format!("cannot listen on {address}: No such file or directory (os error 2)")
    );
}

#[tokio::test]
async fn a_port_in_use() {
    let exporter = Exporter::start(options()).await;
    let address = exporter.addresses[0].clone();
    let (_, port) = address.rsplit_once(':').unwrap();
    for taken in [
        address.clone(),
        format!(":{port}"),
        format!("0.0.0.0:{port}"),
    ] {
        let message = refused(bind(&taken).await);
        assert_eq!(
            message,
            format!("cannot listen on {taken}: Address already in use (os error 98)")
        );
    }
    assert_eq!(exporter.status("/metrics").await, 200);
}

#[tokio::test]
async fn an_address_of_another_machine() {
    let message = refused(bind("192.0.2.1:0").await);
    let start = "cannot listen on 192.0.2.1:0: ";
    assert!(message.starts_with(start), "{message}");
}

#[tokio::test]
async fn a_port_is_free_again_at_once() {
    let mut exporter = Exporter::start(options()).await;
    let address = exporter.addresses[0].clone();
    let mut client = exporter.connect().await;
    client.get("/metrics").await.check("a scrape", 200, "|\n");
    exporter.stop();
    exporter.stopped().await;
    // The server's end of the connection is in TIME_WAIT now.
    let exporter = Exporter::start_at(&[&address], options()).await;
    assert_eq!(exporter.status("/metrics").await, 200);
}

#[tokio::test]
async fn several_listeners_share_one_backend() {
    let dir = Dir::new("several");
    let (_, unix) = dir.socket();
    let listen = ["127.0.0.1:0", "127.0.0.1:0", "localhost:0", &unix];
    let mut exporter = Exporter::start_at(&listen, options()).await;
    for address in &exporter.addresses {
        let answer = Client::connect(address).await.get("/metrics").await;
        answer.check(address, 200, "|\n");
    }
    let backend = exporter.backend.clone();
    eventually("all are counted", || backend.ended() == [200; 4]).await;
    exporter.stop();
    let addresses = exporter.addresses.clone();
    exporter.stopped().await;
    for address in addresses {
        assert!(Client::try_connect(&address).await.is_err(), "{address}");
    }
}

#[tokio::test]
async fn scrapes_of_all_listeners_count_together() {
    let options = envoy_exporter::web::Options::new("/metrics", 1).unwrap();
    let exporter = Exporter::start_at(&["127.0.0.1:0", "127.0.0.1:0"], options).await;
    let mut client = exporter.connect().await;
    client.ask("GET", "/metrics?name[]=gated").await;
    client.read_until(b"first\n").await;
    let mut other = Client::connect(&exporter.addresses[1]).await;
    assert_eq!(other.get("/metrics").await.status, 503);
}

#[tokio::test]
async fn every_address_and_version_6() {
    let has_v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let exporter = Exporter::start_at(&[":0"], options()).await;
    let (_, port) = exporter.addresses[0].rsplit_once(':').unwrap();
    let mut reached = vec![format!("127.0.0.1:{port}")];
    if has_v6 {
        reached.push(format!("[::1]:{port}"));
    }
    for address in reached {
        let answer = Client::connect(&address).await.get("/metrics").await;
        answer.check(&address, 200, "|\n");
    }
    if has_v6 {
        let exporter = Exporter::start_at(&["[::1]:0"], options()).await;
        assert!(exporter.addresses[0].starts_with("[::1]:"));
        assert_eq!(exporter.status("/metrics").await, 200);
    } else {
        let message = refused(bind("[::1]:0").await);
        let start = "cannot listen on [::1]:0: ";
        assert!(message.starts_with(start), "{message}");
    }
}
