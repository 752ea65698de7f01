//! The requests that are ever made, and the files of a capture that stand for their answers.

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Counters.
    Counters,
    /// Gauges.
    Gauges,
    /// Text readouts.
    TextReadouts,
    /// Histograms in their detailed form.
    Histograms,
    /// Histograms with cumulative buckets, which show the bounds in force.
    HistogramBounds,
    /// Clusters and their endpoints.
    Clusters,
    /// The same, of the clusters that are selected.
    Endpoints,
    /// Certificates.
    Certs,
    /// Version and state of the server.
    ServerInfo,
    /// Listeners.
    Listeners,
    /// Memory of the process.
    Memory,
    /// Stats of all types in one. Only a capture may have nothing else.
    AllStats,
}

impl Query {
    /// What a capture holds.
    pub const CAPTURED: [Self; 10] = [
        Self::Counters,
        Self::Gauges,
        Self::TextReadouts,
        Self::Histograms,
        Self::HistogramBounds,
        Self::Clusters,
        Self::Certs,
        Self::ServerInfo,
        Self::Listeners,
        Self::Memory,
    ];

    /// What messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Gauges => "gauges",
            Self::TextReadouts => "text readouts",
            Self::Histograms => "histograms",
            Self::HistogramBounds => "histogram bounds",
            Self::Clusters => "clusters",
            Self::Endpoints => "endpoints",
            Self::Certs => "certs",
            Self::ServerInfo => "server info",
            Self::Listeners => "listeners",
            Self::Memory => "memory",
            Self::AllStats => "stats",
        }
    }

    /// Its file in a capture.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Counters => "counters.json",
            Self::Gauges => "gauges.json",
            Self::TextReadouts => "text_readouts.json",
            Self::Histograms => "histograms.json",
            Self::HistogramBounds => "stats_cumulative.json",
            Self::Clusters | Self::Endpoints => "clusters.json",
            Self::Certs => "certs.json",
            Self::ServerInfo => "server_info.json",
            Self::Listeners => "listeners.json",
            Self::Memory => "memory.json",
            Self::AllStats => "stats.json",
        }
    }

    /// Whether a poll cannot do without it.
    pub const fn is_required(self) -> bool {
        matches!(
            self,
            Self::Counters | Self::Gauges | Self::TextReadouts | Self::Histograms
        )
    }

    /// Path and parameters. Envoy's flags count by being there, whatever their value.
    pub(super) fn set_on(self, url: &mut reqwest::Url, selection: &Selection) {
        let (path, stat_type, buckets) = match self {
            Self::Counters => ("/stats", Some("Counters"), None),
            Self::Gauges => ("/stats", Some("Gauges"), None),
            Self::TextReadouts => ("/stats", Some("TextReadouts"), None),
            Self::Histograms => ("/stats", Some("Histograms"), Some("detailed")),
            Self::HistogramBounds => ("/stats", Some("Histograms"), Some("cumulative")),
            Self::AllStats => ("/stats", Some("All"), None),
            Self::Clusters | Self::Endpoints => ("/clusters", None, None),
            Self::Listeners => ("/listeners", None, None),
            Self::Certs => ("/certs", None, None),
            Self::ServerInfo => ("/server_info", None, None),
            Self::Memory => ("/memory", None, None),
        };
        url.set_path(path);
        if matches!(self, Self::Certs | Self::ServerInfo | Self::Memory) {
            return;
        }
        let mut query = String::from("format=json");
        if let Some(stat_type) = stat_type {
            query.push_str("&type=");
            query.push_str(stat_type);
            if let Some(buckets) = buckets {
                query.push_str("&histogram_buckets=");
                query.push_str(buckets);
            }
            if selection.used_only {
                query.push_str("&usedonly");
            }
            if let Some(filter) = &selection.filter {
                query.push_str("&filter=");
                encode_onto(filter, &mut query);
            }
        }
        if let (Self::Endpoints, Some(filter)) = (self, &selection.clusters) {
            query.push_str("&filter=");
            encode_onto(filter, &mut query);
        }
        url.set_query(Some(&query));
    }
}

/// Percent encoding as Envoy undoes it: it reads `+` as itself, so that the encoding of forms,
/// where a space becomes a `+`, would ask for other stats.
fn encode_onto(value: &str, query: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            query.push('%');
            for nibble in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0');
                query.push(digit.to_ascii_uppercase());
            }
        }
    }
}

/// Which stats are asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only those that were ever written.
    pub used_only: bool,
    /// Only those whose name the regex finds.
    pub filter: Option<String>,
    /// Of endpoints: only those of clusters whose name the regex finds.
    pub clusters: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_in_envoys_form() {
        let selection = Selection {
            used_only: true,
            filter: Some(r"^cluster\.(a b|c+)&é%".to_owned()),
            clusters: Some("^a|b".to_owned()),
        };
        let mut url = reqwest::Url::parse("http://127.0.0.1:9901/").unwrap();
        Query::Histograms.set_on(&mut url, &selection);
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:9901/stats?format=json&type=Histograms&histogram_buckets=detailed\
             &usedonly&filter=%5Ecluster%5C.%28a%20b%7Cc%2B%29%26%C3%A9%25"
        );
        Query::ServerInfo.set_on(&mut url, &selection);
        assert_eq!(url.path(), "/server_info");
        for (query, want) in [
            (Query::Clusters, "format=json"),
            (Query::Endpoints, "format=json&filter=%5Ea%7Cb"),
        ] {
            query.set_on(&mut url, &selection);
            assert_eq!((url.path(), url.query()), ("/clusters", Some(want)));
        }
    }
}
