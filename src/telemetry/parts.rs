//! Own metrics that belong together: of the configuration, and of the lives of targets.

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::registrar::Registrar;

/// Metrics of the configuration.
#[derive(Debug)]
pub(super) struct ConfigMetrics {
    pub(super) successful: IntGauge,
    pub(super) loaded: Gauge,
    pub(super) reloads: IntCounterVec,
    pub(super) info: IntGaugeVec,
}

impl ConfigMetrics {
    pub(super) fn new(own: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            successful: own.gauge(
                "envoy_exporter_config_last_reload_successful",
                "1 when the configuration that was last read is in use, else 0.",
            )?,
            loaded: own.float_gauge(
                "envoy_exporter_config_last_reload_success_timestamp_seconds",
                "When the configuration in use was read, in seconds since 1970.",
            )?,
            reloads: own.counters(
                "envoy_exporter_config_reloads_total",
                "Reloads of the configuration, by how they ended: success, or failure, which changes nothing.",
                &["outcome"],
            )?,
            info: own.gauges(
                "envoy_exporter_config_info",
                "1, with the hash of the configuration file and mapping tables in use as a label.",
                &["sha256"],
            )?,
        })
    }
}

/// When targets started, and how often they began to count anew.
#[derive(Debug)]
pub(super) struct Lives {
    pub(super) start: GaugeVec,
    pub(super) restarts: IntCounterVec,
}

impl Lives {
    pub(super) fn new(own: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            start: own.float_gauges(
                "envoy_exporter_target_start_timestamp_seconds",
                "When the target started, by its uptime, in seconds since 1970; a hot restart goes on.",
                &["target"],
            )?,
            restarts: own.counters(
                "envoy_exporter_target_restarts_total",
                "Times that the target began to count anew, by kind: restart, hot_restart, counters_reset.",
                &["target", "kind"],
            )?,
        })
    }
}
