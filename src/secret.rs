//! Text that is not for logs and messages.

use std::fmt;

use serde::Deserialize;

/// A password, a token or a key.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Guards a text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for where it is used.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
