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
    /// Certificates.
    Certs,
    /// Version and state of the server.
    ServerInfo,
    /// Listeners.
    Listeners,
    /// Stats of all types in one. Only a capture may have nothing else.
    AllStats,
}

impl Query {
    /// What a capture holds.
    pub const CAPTURED: [Self; 9] = [
        Self::Counters,
        Self::Gauges,
        Self::TextReadouts,
        Self::Histograms,
        Self::HistogramBounds,
        Self::Clusters,
        Self::Certs,
        Self::ServerInfo,
        Self::Listeners,
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
            Self::Certs => "certs",
            Self::ServerInfo => "server info",
            Self::Listeners => "listeners",
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
            Self::Clusters => "clusters.json",
            Self::Certs => "certs.json",
            Self::ServerInfo => "server_info.json",
            Self::Listeners => "listeners.json",
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
            Self::Clusters => ("/clusters", None, None),
            Self::Listeners => ("/listeners", None, None),
            Self::Certs => ("/certs", None, None),
            Self::ServerInfo => ("/server_info", None, None),
        };
        url.set_path(path);
        if matches!(self, Self::Certs | Self::ServerInfo) {
            return;
        }
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("format", "json");
        if let Some(stat_type) = stat_type {
            pairs.append_pair("type", stat_type);
            if let Some(buckets) = buckets {
                pairs.append_pair("histogram_buckets", buckets);
            }
            if selection.used_only {
                pairs.append_key_only("usedonly");
            }
            if let Some(filter) = &selection.filter {
                pairs.append_pair("filter", filter);
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
}
