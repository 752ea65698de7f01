//! Addresses of admin interfaces, as flags and files write them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a target's admin interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// `http://` or `https://`, without a path.
    Url(reqwest::Url),
    /// A unix socket.
    Unix(PathBuf),
    /// The directory of a capture.
    File(PathBuf),
    /// The capture inside the program. Not to be had from text.
    Demo,
}

/// An address that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("'{address}' is no admin address: {reason}")]
pub struct AddressError {
    address: String,
    reason: String,
}

impl FromStr for AdminAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |reason: &str| AddressError {
            address: text.to_owned(),
            reason: reason.to_owned(),
        };
        let path = |path: &str| {
            if path.starts_with('/') {
                Ok(PathBuf::from(path))
            } else {
                Err(error("the path after the scheme must start with /"))
            }
        };
        if let Some(rest) = text.strip_prefix("unix://") {
            return path(rest).map(Self::Unix);
        }
        if let Some(rest) = text.strip_prefix("file://") {
            return path(rest).map(Self::File);
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(error(
                "it starts with none of http://, https://, unix:// and file://",
            ));
        }
        let url: reqwest::Url = text.parse().map_err(|_| error("the URL is not valid"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("a user or password is not taken here"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(error(
                "only scheme, host and port are taken; the paths are fixed",
            ));
        }
        Ok(Self::Url(url))
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Demo => f.write_str("demo"),
        }
    }
}
