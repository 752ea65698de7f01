//! `demo`: a capture of a real proxy inside the program, answered as an admin interface would
//! answer, with numbers that move as under steady traffic.
//!
//! Everything behind the answers is the real thing: they are decoded, mapped and served like any
//! target's. Counters and histograms grow by a common factor, so that what belongs together (codes,
//! classes and totals) goes on belonging together; gauges that count what is under way swing.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::decode::{self, Value};
use crate::transport::Query;

const COUNTERS: &str = include_str!("../testdata/demo/counters.json");
const GAUGES: &str = include_str!("../testdata/demo/gauges.json");
const HISTOGRAMS: &str = include_str!("../testdata/demo/histograms.json");
const CLUSTERS: &str = include_str!("../testdata/demo/clusters.json");
const CERTS: &str = r#"{"certificates":[{"ca_cert":[],"cert_chain":[{"path":"/etc/envoy/demo.crt",
    "serial_number":"0d","subject_alt_names":[{"dns":"demo.example.com"}],
    "valid_from":"2026-01-01T00:00:00Z","expiration_time":"2036-01-01T00:00:00Z"}]}]}"#;
/// The real answer is mostly a list of extensions.
const SERVER_INFO: &str = r#"{"version":"0/1.40.0/Clean/RELEASE/BoringSSL","state":"LIVE",
    "hot_restart_version":"11.104","node":{"id":"demo-1","cluster":"demo"}}"#;
const LISTENERS: &str = r#"{"listener_statuses":[{"name":"edge",
    "local_address":{"socket_address":{"address":"0.0.0.0","port_value":10000}}}]}"#;
const MEMORY: &str = r#"{"allocated":"9437184","heap_size":"16777216","pageheap_unmapped":"0",
    "pageheap_free":"1048576","total_thread_cache":"524288","total_physical_bytes":"20971520"}"#;

/// The capture's counters were reached in this time; they go on growing at that pace.
const CAPTURED: Duration = Duration::from_mins(2);

/// A proxy that is not there.
#[derive(Debug)]
pub struct Demo {
    started: Instant,
}

impl Demo {
    /// Starts with the captured numbers.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Writes the answer to a request.
    pub fn answer(&self, query: Query, body: &mut Vec<u8>) -> Result<(), decode::Error> {
        answer(query, self.started.elapsed(), body)
    }
}

impl Default for Demo {
    fn default() -> Self {
        Self::new()
    }
}

fn answer(query: Query, age: Duration, body: &mut Vec<u8>) -> Result<(), decode::Error> {
    let text = match query {
        Query::Counters => scalars(COUNTERS, |_, value| grown(value, age))?,
        Query::Gauges => scalars(GAUGES, |name, value| gauge(name, value, age))?,
        Query::Histograms => histograms(age)?,
        Query::Clusters | Query::Endpoints => CLUSTERS.to_owned(),
        Query::ServerInfo => SERVER_INFO.to_owned(),
        Query::TextReadouts | Query::HistogramBounds | Query::AllStats => {
            r#"{"stats":[]}"#.to_owned()
        }
        Query::Listeners => LISTENERS.to_owned(),
        Query::Memory => MEMORY.to_owned(),
        Query::Certs => CERTS.to_owned(),
    };
    body.clear();
    body.extend_from_slice(text.as_bytes());
    Ok(())
}

/// A counter after `age` more: never less than before, and in step with every other.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "demo numbers are small and not negative"
)]
fn grown(value: u64, age: Duration) -> u64 {
    let seconds = age.as_secs_f64();
    // Traffic comes in waves of two minutes; the slope stays above zero.
    let wave = (seconds / 120.0 * std::f64::consts::TAU).sin() * 12.0;
    let factor = (seconds + wave) / CAPTURED.as_secs_f64();
    value + (value as f64 * factor.max(0.0)) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "demo numbers are small and not negative"
)]
fn gauge(name: &str, value: u64, age: Duration) -> u64 {
    let seconds = age.as_secs_f64();
    if name == "server.uptime" {
        value + age.as_secs()
    } else if name.ends_with("_rq_active") || name.ends_with("_cx_active") {
        let phase = f64::from(u32::try_from(name.len()).unwrap_or_default());
        value + ((seconds / 30.0 + phase).sin() * 2.0 + 2.0) as u64
    } else {
        value
    }
}

fn scalars(
    capture: &str,
    mut moved: impl FnMut(&str, u64) -> u64,
) -> Result<String, decode::Error> {
    let mut text = String::from("{\"stats\":[");
    let mut first = true;
    decode::stats(capture.as_bytes(), |name, value| {
        if let Value::Number(value) = value {
            let comma = if first { "" } else { "," };
            first = false;
            let value = moved(name, value);
            // Writing to a String cannot fail; the capture's names need no escapes but these.
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(text, "{comma}{{\"name\":\"{name}\",\"value\":{value}}}");
        }
    })?;
    text.push_str("]}");
    Ok(text)
}

/// Bins without percentiles: those of the capture no longer belong to the counts.
fn histograms(age: Duration) -> Result<String, decode::Error> {
    let mut text =
        String::from("{\"stats\":[{\"histograms\":{\"supported_percentiles\":[],\"details\":[");
    let mut first = true;
    decode::histograms(HISTOGRAMS.as_bytes(), |histogram| {
        let comma = if first { "" } else { "," };
        first = false;
        let name = histogram.name.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(text, "{comma}{{\"name\":\"{name}\",\"totals\":[");
        for (at, bin) in histogram.bins.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let count = grown(bin.count, age);
            let _ = write!(
                text,
                "{comma}{{\"lower_bound\":{},\"width\":{},\"count\":{count}}}",
                bin.lower_bound, bin.width
            );
        }
        text.push_str("],\"intervals\":[],\"percentiles\":[]}");
    })?;
    text.push_str("]}}]}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn counters(age: u64) -> BTreeMap<String, u64> {
        let mut body = Vec::new();
        answer(Query::Counters, Duration::from_secs(age), &mut body).unwrap();
        let mut found = BTreeMap::new();
        decode::stats(&body, |name, value| {
            if let Value::Number(value) = value {
                found.insert(name.to_owned(), value);
            }
        })
        .unwrap();
        found
    }

    #[test]
    fn counters_only_grow() {
        let mut before = counters(0);
        for age in (5..300).step_by(15) {
            let now = counters(age);
            for (name, value) in &before {
                assert!(now[name] >= *value, "{name} after {age} s");
            }
            before = now;
        }
        let start = counters(0);
        let later = counters(10);
        let moved = later.iter().filter(|(name, value)| start[*name] < **value);
        let moved = moved.count();
        assert!(moved > 50, "{moved} counters moved");
    }
}
