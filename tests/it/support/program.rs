//! The program itself as a child process, on a free port of loopback, with a folder of its own.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use super::client::{Answer, Client};
use super::exporter::PATIENCE;
use super::prom;

/// A running program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Where it listens, as `host:port`.
    pub address: String,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts it with a configuration file and more flags; waits until it listens.
    pub fn start(config: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_envoy-exporter"))
            .arg("--config.file")
            .arg(config)
            .args(["--web.listen-address", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        let (found, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("address=http://") {
                    let address = rest.split(' ').next().unwrap().to_owned();
                    let _ = found.send(address);
                }
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        let address = address.recv_timeout(PATIENCE);
        let address = address.unwrap_or_else(|_| panic!("it listens:\n{}", log.lock().unwrap()));
        Self {
            child,
            address,
            log,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has logged something.
    #[track_caller]
    pub fn wait_for_log(&self, wanted: &str) {
        let start = std::time::Instant::now();
        while !self.log().contains(wanted) {
            assert!(start.elapsed() < PATIENCE, "{wanted}: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Asks on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str) -> Answer {
        let mut client = Client::connect(&self.address).await;
        client.ask(method, path).await;
        client.answer(method).await
    }

    /// The text of a page.
    pub async fn text(&self, path: &str) -> String {
        let answer = self.ask("GET", path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        String::from_utf8(answer.body).unwrap()
    }

    pub async fn metrics(&self) -> BTreeMap<String, prom::Family> {
        prom::read(&self.text("/metrics").await)
    }

    /// A sample of a scrape, as it is written; labels too, without spaces.
    pub async fn value(&self, name: &str, labels: &str) -> Option<String> {
        let labels = &labels.replace('"', "");
        let metrics = self.metrics().await;
        let value = metrics
            .get(name)
            .and_then(|family| family.value(name, labels));
        value.map(str::to_owned)
    }

    /// Waits until a sample has this value.
    #[track_caller]
    pub fn wait_for<'a>(
        &'a self,
        name: &'a str,
        labels: &'a str,
        want: Option<&'a str>,
    ) -> impl Future<Output = ()> + 'a {
        let at = std::panic::Location::caller();
        async move {
            let start = std::time::Instant::now();
            loop {
                let have = self.value(name, labels).await;
                if have.as_deref() == want {
                    return;
                }
                assert!(
                    start.elapsed() < PATIENCE,
                    "{at}: {name}{{{labels}}} is {have:?}, not {want:?}:\n{}",
                    self.log()
                );
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }

    /// Waits for its end; whether it was a success.
    pub fn ended(mut self) -> bool {
        let start = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(start.elapsed() < PATIENCE, "it ends:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
