//! What an admin interface behind a proxy asks of its clients: credentials, headers, TLS.
//!
//! Passwords, tokens, keys and certificates in files are looked at before each poll, and taken when
//! they have changed: what rotates them need not tell anybody. While a new content cannot be used,
//! the last good one is.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Identity};

use super::{Error, Source, Transport};
use crate::files::Files;
use crate::secret::Secret;

/// What is sent with every request, and what is asked of the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// More headers.
    pub headers: Vec<(HeaderName, Secret)>,
    /// How connections by `https` are made.
    pub tls: Tls,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A user with a password.
    Basic(String, Text),
    /// Anything else, behind the name of its scheme: `Bearer` and a token.
    Other(String, Text),
}

/// A secret, or the file that holds it; blanks around it are no part of it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// The secret itself.
    Inline(Secret),
    /// Where it is.
    File(PathBuf),
}

/// How connections by `https` are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that the other end's certificate is to come from; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Takes any certificate.
    pub insecure_skip_verify: bool,
}

impl Access {
    /// Makes a client of it; what is read is remembered in `files`.
    pub(super) fn configure(
        &self,
        mut builder: reqwest::ClientBuilder,
        files: &mut Files,
    ) -> Result<reqwest::ClientBuilder, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name, header(value.expose(), name.as_str())?);
        }
        if let Some(credentials) = &self.credentials {
            let value = match credentials {
                Credentials::Basic(user, password) => {
                    let pair = format!("{user}:{}", password.read(files)?);
                    format!("Basic {}", STANDARD.encode(pair))
                }
                Credentials::Other(scheme, text) => format!("{scheme} {}", text.read(files)?),
            };
            headers.insert(AUTHORIZATION, header(&value, "the credentials")?);
        }
        if !headers.is_empty() {
            builder = builder.default_headers(headers);
        }
        self.tls.configure(builder, files)
    }
}

impl Text {
    fn read(&self, files: &mut Files) -> Result<String, String> {
        match self {
            Self::Inline(secret) => Ok(secret.expose().to_owned()),
            Self::File(path) => {
                let text = files.read_text(path).map_err(|error| at(path, &error))?;
                Ok(text.trim().to_owned())
            }
        }
    }
}

impl Tls {
    fn configure(
        &self,
        mut builder: reqwest::ClientBuilder,
        files: &mut Files,
    ) -> Result<reqwest::ClientBuilder, String> {
        let mut read = |path: &Path| files.read(path).map_err(|error| at(path, &error));
        if let Some(path) = &self.ca_file {
            let authorities = Certificate::from_pem_bundle(&read(path)?);
            let authorities = authorities.ok().filter(|found| !found.is_empty());
            let reason = "there is no certificate in PEM form in it";
            builder = builder.tls_certs_only(authorities.ok_or_else(|| at(path, &reason))?);
        }
        if let Some((certificate, key)) = &self.identity {
            let mut pem = read(certificate)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            // The cause could show a part of the key.
            let reason = "there is no certificate in PEM form in it, or no key in the key's file";
            let identity = Identity::from_pem(&pem).map_err(|_| at(certificate, &reason))?;
            builder = builder.identity(identity);
        }
        Ok(builder.tls_danger_accept_invalid_certs(self.insecure_skip_verify))
    }
}

impl Transport {
    /// Looks at the files that the access to the target refers to, and takes what is new in them.
    pub async fn refresh(&mut self) {
        if self.files.is_empty() {
            return;
        }
        let files = std::mem::take(&mut self.files);
        let (address, options) = (self.address.clone(), self.options.clone());
        let looked = tokio::task::spawn_blocking(move || {
            if !files.have_changed() {
                return (files, None);
            }
            let mut read = Files::default();
            match super::source(&address, &options, &mut read) {
                Ok(source) => (read, Some(Ok(source))),
                // Tried again before the next poll.
                Err(error) => (files, Some(Err(error))),
            }
        });
        let Ok((files, found)) = looked.await else {
            return;
        };
        self.files = files;
        self.take(found);
    }

    fn take(&mut self, found: Option<Result<Source, Error>>) {
        let before = self.complaint.take();
        match found {
            None => {}
            Some(Ok(source)) => {
                self.source = source;
                tracing::info!(address = %self.address, "new credentials are used");
            }
            Some(Err(error)) => {
                let complaint = error.to_string();
                if before.as_ref() != Some(&complaint) {
                    tracing::warn!(%error, "new credentials cannot be used; the old ones are");
                }
                self.complaint = Some(complaint);
            }
        }
    }
}

fn header(text: &str, what: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| format!("{what}: the value is not one that a header can have"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn at(path: &Path, reason: &impl std::fmt::Display) -> String {
    format!("{}: {reason}", path.display())
}
