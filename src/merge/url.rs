//! Where a source is: an address that no other machine has.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of an exposition on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceUrl {
    /// `http://` and a loopback address, or `localhost`.
    Http(reqwest::Url),
    /// A unix socket, and what is asked there.
    Unix(PathBuf, reqwest::Url),
}

/// An address that is not taken.
#[derive(Debug, thiserror::Error)]
#[error("'{address}': {reason}")]
pub struct UrlError {
    address: String,
    reason: &'static str,
}

/// What is asked at a unix socket, unless the address says more.
const PATH: &str = "/metrics";

impl SourceUrl {
    /// What is asked for.
    pub fn url(&self) -> &reqwest::Url {
        match self {
            Self::Http(url) | Self::Unix(_, url) => url,
        }
    }
}

impl FromStr for SourceUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let error = |reason| UrlError {
            address: text.to_owned(),
            reason,
        };
        if let Some(rest) = text.strip_prefix("unix://") {
            if !rest.starts_with('/') {
                return Err(error("the path after the scheme must start with /"));
            }
            let (socket, path) = rest.split_once(":/").unwrap_or((rest, ""));
            let path = if path.is_empty() {
                PATH.to_owned()
            } else {
                format!("/{path}")
            };
            // The host is only what the header says.
            let url = format!("http://localhost{path}").parse();
            let url = url.map_err(|_| error("the path behind the socket is not valid"))?;
            return Ok(Self::Unix(socket.into(), url));
        }
        if !text.starts_with("http://") {
            return Err(error("it starts with neither http:// nor unix://"));
        }
        let url: reqwest::Url = text.parse().map_err(|_| error("the URL is not valid"))?;
        if !url.username().is_empty() || url.password().is_some() {
            // Not shown: it may be a secret.
            return Err(UrlError {
                address: "http://<secret>@".to_owned(),
                reason: "a user or password is not taken here",
            });
        }
        if url.fragment().is_some() {
            return Err(error("a fragment is not taken here"));
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if host != "localhost" && !is_loopback {
            return Err(error(
                "only loopback addresses (127.0.0.1, [::1], localhost) and unix sockets are merged",
            ));
        }
        Ok(Self::Http(url))
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url.as_str()),
            Self::Unix(socket, url) => {
                write!(f, "unix://{}:{}", socket.display(), url.path())?;
                url.query().map_or(Ok(()), |query| write!(f, "?{query}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked() {
        for (text, want) in [
            (
                "http://127.0.0.1:8080/metrics",
                Ok("http://127.0.0.1:8080/metrics"),
            ),
            ("http://127.9.9.9/m?x=1", Ok("http://127.9.9.9/m?x=1")),
            ("http://[::1]:9100/metrics", Ok("http://[::1]:9100/metrics")),
            ("http://LOCALHOST:1/", Ok("http://localhost:1/")),
            ("unix:///run/app.sock", Ok("unix:///run/app.sock:/metrics")),
            ("unix:///run/a.sock:/m?x=1", Ok("unix:///run/a.sock:/m?x=1")),
            ("http://10.0.0.1:8080/metrics", Err("only loopback")),
            ("http://app.example/metrics", Err("only loopback")),
            ("http://localhost.example/metrics", Err("only loopback")),
            ("http://[::ffff:10.0.0.1]/", Err("only loopback")),
            ("http://0.0.0.0:1/metrics", Err("only loopback")),
            ("http://127.0.0.1@evil.example/", Err("a user")),
            ("http://u:p@127.0.0.1/", Err("a user")),
            ("http://127.0.0.1/#a", Err("a fragment")),
            ("https://127.0.0.1/", Err("neither")),
            ("unix://run/app.sock", Err("must start with /")),
            ("127.0.0.1:8080/metrics", Err("neither")),
            ("http://", Err("not valid")),
        ] {
            let got = text.parse::<SourceUrl>();
            match (got, want) {
                (Ok(url), Ok(want)) => assert_eq!(url.to_string(), want),
                (Err(error), Err(want)) => {
                    let error = error.to_string();
                    assert!(error.contains(want), "{text}: {error}");
                }
                (got, want) => panic!("{text}: {got:?}, not {want:?}"),
            }
        }
    }
}
