//! How families and labels are called.
//!
//! `native` writes what Envoy's own Prometheus endpoint writes. `standard` follows Prometheus'
//! naming rules: base units at the end of a name and nowhere else, `_total` on counters alone,
//! `_info` on texts, and what a catalogue entry holds as a placeholder as a label instead of a part
//! of the name. Both give a legal name or none.

use std::ops::Range;

use super::table::{Naming, Unit};
use crate::names;
use crate::stat::StatType;

/// Stats with these first tokens come from extensions that name them in full.
const CUSTOM_NAMESPACES: [&str; 2] = ["wasmcustom.", "dynamicmodulescustom."];

/// Last words that Prometheus keeps for other types, or that come back at the end.
const fn reserved(stat_type: StatType) -> &'static [&'static str] {
    match stat_type {
        StatType::Counter => &["total", "count"],
        StatType::Gauge => &["total", "count", "sum", "bucket", "info"],
        StatType::TextReadout => &["info"],
        StatType::Histogram => &["total"],
    }
}

/// `envoy_` and the base name, sanitised; the custom namespaces stand for themselves.
pub(super) fn native(base: &str) -> Option<String> {
    let mut family = String::with_capacity(base.len() + 6);
    let (prefix, rest) = namespace(base);
    family.push_str(prefix);
    names::push_sanitized(&mut family, rest);
    names::is_metric_name(&family).then_some(family)
}

/// The name by Prometheus' rules. `base` is without the `captured` spans, `last` is said instead of
/// its last token, and `unit` is a base unit.
pub(super) fn standard(
    base: &str,
    captured: &[Range<usize>],
    stat_type: Option<StatType>,
    unit: Option<Unit>,
    last: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let base = without(base, captured);
    let (prefix, rest) = namespace(&base);
    let said = rest.rsplit('.').next().and_then(last);
    let rest = match (&said, rest.rsplit_once('.')) {
        (None, _) => rest.to_owned(),
        (Some(said), Some((front, _))) => format!("{front}.{said}"),
        (Some(said), None) => said.clone(),
    };
    let mut plain = String::with_capacity(rest.len());
    names::push_sanitized(&mut plain, &rest.to_ascii_lowercase());
    let mut words: Vec<&str> = plain.split('_').filter(|word| !word.is_empty()).collect();
    if let Some(unit) = unit {
        words.retain(|word| !spellings(unit).contains(word));
    }
    let reserved = stat_type.map_or(&[][..], reserved);
    while words.len() > 1 && words.last().is_some_and(|last| reserved.contains(last)) {
        words.pop();
    }
    words.extend(unit.map(suffix));
    match stat_type {
        Some(StatType::Counter) => words.push("total"),
        Some(StatType::TextReadout) => words.push("info"),
        Some(StatType::Gauge | StatType::Histogram) | None => {}
    }
    let family = format!("{prefix}{}", words.join("_"));
    names::is_metric_name(&family).then_some(family)
}

/// The label that a tag becomes where no table says so.
pub(super) fn label(naming: Naming, tag: &str) -> String {
    match naming {
        Naming::Native => names::label_name(tag),
        Naming::Standard => names::label_name(tag.strip_prefix("envoy.").unwrap_or(tag)),
    }
}

fn namespace(base: &str) -> (&'static str, &str) {
    let custom = CUSTOM_NAMESPACES
        .iter()
        .find_map(|namespace| base.strip_prefix(namespace));
    custom.map_or(("envoy_", base), |rest| ("", rest))
}

/// Every way in which Envoy writes a unit, or one that leads to it, into a name.
const fn spellings(unit: Unit) -> &'static [&'static str] {
    match unit {
        Unit::Seconds | Unit::Milliseconds | Unit::Microseconds | Unit::Days => &[
            "s",
            "sec",
            "secs",
            "second",
            "seconds",
            "ms",
            "msec",
            "milliseconds",
            "us",
            "usec",
            "microseconds",
            "days",
        ],
        Unit::Bytes | Unit::BytesPerSecond => &["bytes"],
        Unit::Ratio | Unit::Percent => &["percent", "percentage", "ratio"],
        Unit::TimestampSeconds | Unit::TimestampMilliseconds => {
            &["timestamp", "unix", "time", "seconds", "ms", "milliseconds"]
        }
    }
}

const fn suffix(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds | Unit::Milliseconds | Unit::Microseconds | Unit::Days => "seconds",
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "bytes_per_second",
        Unit::Ratio | Unit::Percent => "ratio",
        Unit::TimestampSeconds | Unit::TimestampMilliseconds => "timestamp_seconds",
    }
}

/// `base` without the captured spans, which do not touch each other.
fn without(base: &str, captured: &[Range<usize>]) -> String {
    let mut left = String::with_capacity(base.len());
    let mut at = 0;
    for span in captured {
        left.push_str(base.get(at..span.start).unwrap_or_default());
        at = span.end;
    }
    left.push_str(base.get(at..).unwrap_or_default());
    // A token that was captured whole leaves two dots, or one at an end.
    let tokens: Vec<&str> = left.split('.').filter(|token| !token.is_empty()).collect();
    tokens.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use StatType::{Counter, Gauge, Histogram, TextReadout};

    #[test]
    fn names_by_prometheus_rules() {
        let span = |base: &str, text: &str| {
            let start = base.find(text).unwrap();
            start..start + text.len()
        };
        for (base, captured, stat_type, unit, want) in [
            (
                "cluster.upstream_cx_total",
                "",
                Counter,
                None,
                "envoy_cluster_upstream_cx_total",
            ),
            (
                "cluster.bind_errors",
                "",
                Counter,
                None,
                "envoy_cluster_bind_errors_total",
            ),
            (
                "cluster.membership_total",
                "",
                Gauge,
                None,
                "envoy_cluster_membership",
            ),
            (
                "cluster.upstream_cx_rx_bytes_total",
                "",
                Counter,
                Some(Unit::Bytes),
                "envoy_cluster_upstream_cx_rx_bytes_total",
            ),
            (
                "cluster.upstream_cx_rx_bytes_buffered",
                "",
                Gauge,
                Some(Unit::Bytes),
                "envoy_cluster_upstream_cx_rx_buffered_bytes",
            ),
            (
                "cluster.upstream_cx_connect_ms",
                "",
                Histogram,
                Some(Unit::Seconds),
                "envoy_cluster_upstream_cx_connect_seconds",
            ),
            (
                "cluster.x_budget_percent_used",
                "",
                Histogram,
                Some(Unit::Ratio),
                "envoy_cluster_x_budget_used_ratio",
            ),
            (
                "redis.command.get.total",
                "get",
                Counter,
                None,
                "envoy_redis_command_total",
            ),
            (
                "http3.downstream.tx.error_code_QUIC_X",
                "QUIC_X",
                Counter,
                None,
                "envoy_http3_downstream_tx_error_code_total",
            ),
            (
                "control_plane.identifier",
                "",
                TextReadout,
                None,
                "envoy_control_plane_identifier_info",
            ),
            ("wasmcustom.a.b", "", Counter, None, "a_b_total"),
            ("x.cxTotal", "", Gauge, None, "envoy_x_cxtotal"),
            ("total", "", Gauge, None, "envoy_total"),
        ] {
            let captured = if captured.is_empty() {
                Vec::new()
            } else {
                vec![span(base, captured)]
            };
            let got = standard(base, &captured, Some(stat_type), unit, |_| None);
            assert_eq!(got.as_deref(), Some(want), "{base}");
        }
    }

    #[test]
    fn a_table_may_say_the_last_word() {
        let last = |word: &str| (word == "upstream_rq").then(|| "upstream_responses".to_owned());
        for (base, want) in [
            (
                "cluster.upstream_rq",
                "envoy_cluster_upstream_responses_total",
            ),
            ("upstream_rq", "envoy_upstream_responses_total"),
            ("upstream_rq.x", "envoy_upstream_rq_x_total"),
        ] {
            let got = standard(base, &[], Some(Counter), None, last);
            assert_eq!(got.as_deref(), Some(want));
        }
    }

    #[test]
    fn what_gives_no_name() {
        assert_eq!(native("wasmcustom."), None);
        assert_eq!(native("wasmcustom.9"), None);
        assert_eq!(native("9").as_deref(), Some("envoy_9"));
        let got = standard("wasmcustom.9", &[], None, None, |_| None);
        assert_eq!(got, None);
    }
}
