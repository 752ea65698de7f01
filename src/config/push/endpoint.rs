//! To whom is pushed, and what is asked of who does; both ways have that.

use std::time::Duration;

use reqwest::Url;

use super::Reading;
use super::file::FileEndpoint;
use crate::config::targets::headers;
use crate::push::client::{self, Endpoint};
use crate::transport::access::Access;
use crate::yaml::Placed;

impl Reading<'_> {
    pub(super) fn endpoint(
        &mut self,
        key: &str,
        url: Option<(Placed<String>, Url)>,
        written: FileEndpoint,
        timeout: Duration,
    ) -> Option<Endpoint> {
        let before = self.problems.len();
        let given = self.take(written.timeout);
        let timeout = self.duration(key, "timeout", given, timeout, true);
        let basic_auth = self.take(written.basic_auth);
        let authorization = self.take(written.authorization);
        let tls = self.take(written.tls_config);
        let given = self.take(written.headers);
        let common = self.around.common;
        let is_https = url.as_ref().is_none_or(|(_, url)| url.scheme() == "https");
        let problems = &mut self.problems;
        let access = Access {
            credentials: common.credentials(basic_auth, authorization, problems),
            headers: headers(given, problems),
            tls: common.tls(tls, is_https, problems),
        };
        let (place, url) = url?;
        let endpoint = Endpoint {
            url,
            timeout,
            access,
        };
        // Files that it refers to are there and hold what they are to.
        if self.problems.len() == before
            && let Err(error) = client::check(&endpoint)
        {
            self.problem(&place, format!("{key}: {error}"));
        }
        Some(endpoint)
    }

    /// The address, and where it stands.
    pub(super) fn url<T>(
        &mut self,
        key: &str,
        all: &Placed<T>,
        written: Option<Placed<String>>,
    ) -> Option<(Placed<String>, Url)> {
        let Some(written) = written else {
            self.problem(all, format!("{key}: the key 'url' is missing"));
            return None;
        };
        let url = match written.value.parse::<Url>() {
            Ok(url) => url,
            Err(error) => {
                self.problem(&written, format!("{key}.url: {error}"));
                return None;
            }
        };
        let reason = if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            "an address with http:// or https:// is wanted here"
        } else if !url.username().is_empty() || url.password().is_some() {
            "a user and a password belong into basic_auth"
        } else if url.fragment().is_some() {
            "an address has no #fragment"
        } else {
            return Some((written, url));
        };
        self.problem(&written, format!("{key}.url: {reason}"));
        None
    }
}
