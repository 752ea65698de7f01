//! The web configuration that holds now: read at the start, and read again when one of its files
//! has other content.
//!
//! Contents are compared, and a new one is taken once it stays ([`Watched`]); a reload of the whole
//! configuration takes it at once. One with mistakes changes nothing and is logged once. TLS is neither switched on nor off, and the last user not
//! removed: a port does not change what it speaks, and a file that was emptied opens nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::watch;
use warp::http::HeaderMap;

use super::auth::{Gate, Verdict};
use super::config::{self, WebConfig, WebConfigError};
use super::rate::Limiter;
use crate::files::{Files, Watched};

/// Time between looks at the files.
const INTERVAL: Duration = Duration::from_secs(1);

/// The web configuration that holds now; the default is that of no file: no TLS, no users.
#[derive(Debug, Default)]
pub struct LiveConfig {
    current: watch::Sender<Arc<WebConfig>>,
    limiter: Limiter,
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    gate: Gate,
    watched: Mutex<Watched>,
}

/// A web configuration that was read again and holds mistakes of no kind; for [`LiveConfig::install`].
#[derive(Debug)]
pub struct Reread {
    files: Files,
    config: WebConfig,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// More than the rate limit lets through.
    TooMany,
    /// No credentials, or wrong ones.
    Unauthorized,
    /// Too many credentials are being looked at.
    Busy,
}

impl LiveConfig {
    /// Reads a file, and what it refers to.
    pub fn open(path: &Path) -> Result<Self, WebConfigError> {
        let (files, config) = config::load(path);
        let config = config?;
        let gate = Gate::new().ok_or_else(|| {
            let reason = "the system gives no random numbers";
            WebConfigError(vec![format!("{}: {reason}", path.display())])
        })?;
        Ok(Self {
            current: watch::Sender::new(Arc::new(config)),
            limiter: Limiter::default(),
            source: Some(Source {
                path: path.to_owned(),
                gate,
                watched: Mutex::new(Watched::new(files)),
            }),
        })
    }

    /// What is worth a second look.
    pub fn warnings(&self) -> Vec<String> {
        let path = self.source.as_ref().map(|source| source.path.display());
        let path = path.map(|path| path.to_string()).unwrap_or_default();
        let current = self.current();
        let warnings = current.warnings.iter();
        warnings
            .map(|warning| format!("{path}: {warning}"))
            .collect()
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.current.borrow().tls.is_some()
    }

    pub(super) fn current(&self) -> Arc<WebConfig> {
        Arc::clone(&self.current.borrow())
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.current.borrow().tls.clone()
    }

    /// Whether a request is answered.
    pub(super) async fn admit(
        &self,
        config: &WebConfig,
        headers: &HeaderMap,
    ) -> Result<(), Denial> {
        if let Some(rate) = config.rate
            && !self.limiter.allows(rate, Instant::now())
        {
            return Err(Denial::TooMany);
        }
        let Some(source) = &self.source else {
            return Ok(());
        };
        if config.users.is_empty() {
            return Ok(());
        }
        match source.gate.judge(&config.users, headers).await {
            Verdict::Allowed => Ok(()),
            Verdict::Refused => Err(Denial::Unauthorized),
            Verdict::Busy => Err(Denial::Busy),
        }
    }

    /// Looks at the files for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        if self.source.is_none() {
            return;
        }
        loop {
            tokio::time::sleep(INTERVAL).await;
            let live = Arc::clone(&self);
            // A fault while reading is one of this look.
            let _ = tokio::task::spawn_blocking(move || live.look()).await;
        }
    }

    /// Looks whether the files have other content, and takes it when it stays.
    fn look(&self) {
        let Some(source) = &self.source else {
            return;
        };
        let mut watched = source
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !watched.look() {
            return;
        }
        let path = source.path.display();
        let (files, config) = config::load(&source.path);
        *watched = Watched::new(files);
        let config = config.and_then(|config| self.switched(&source.path, config));
        match config {
            Ok(config) => {
                self.current.send_replace(Arc::new(config));
                tracing::info!(%path, "the web configuration was read again");
                for warning in self.warnings() {
                    tracing::warn!("{warning}");
                }
            }
            Err(error) => {
                tracing::error!(%path, %error, "the new web configuration is not valid; the old one holds");
            }
        }
    }

    /// Reads the files again, for a reload of everything; nothing where there is no file.
    pub fn reread(&self) -> Result<Option<Reread>, WebConfigError> {
        let Some(source) = &self.source else {
            return Ok(None);
        };
        let (files, config) = config::load(&source.path);
        let config = self.switched(&source.path, config?)?;
        Ok(Some(Reread { files, config }))
    }

    /// Puts into force what was read.
    pub fn install(&self, reread: Reread) {
        let Some(source) = &self.source else {
            return;
        };
        let mut watched = source
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *watched = Watched::new(reread.files);
        self.current.send_replace(Arc::new(reread.config));
    }

    /// Refuses what would change the protocol of a port, or open it to everybody.
    fn switched(&self, path: &Path, config: WebConfig) -> Result<WebConfig, WebConfigError> {
        let current = self.current();
        let reason = match (current.tls.is_some(), config.tls.is_some()) {
            (true, false) => "TLS is switched off only by a restart",
            (false, true) => "TLS is switched on only by a restart",
            _ if !current.users.is_empty() && config.users.is_empty() => {
                "the last user is removed only by a restart"
            }
            _ => return Ok(config),
        };
        Err(WebConfigError(vec![format!(
            "{}: {reason}",
            path.display()
        )]))
    }
}
