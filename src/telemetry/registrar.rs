//! How the own metrics are made and registered.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// Makes metrics, registers them, and remembers their names.
#[derive(Default)]
pub(super) struct Registrar {
    pub(super) registry: Registry,
    pub(super) names: Vec<String>,
}

impl Registrar {
    fn register<C: Collector + Clone + 'static>(&mut self, metric: C) -> prometheus::Result<C> {
        let names = metric.desc().into_iter().map(|desc| desc.fq_name.clone());
        self.names.extend(names);
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn float_gauge(&mut self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.register(Gauge::new(name, help)?)
    }

    pub(super) fn float_gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<GaugeVec> {
        self.register(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        bounds: &[f64],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.register(HistogramVec::new(options, labels)?)
    }

    pub(super) fn build_info(&mut self) -> prometheus::Result<()> {
        let options = Opts::new(
            "envoy_exporter_build_info",
            "1, with what the exporter was built from as labels.",
        )
        .const_label("version", env!("CARGO_PKG_VERSION"))
        .const_label("revision", env!("ENVOY_EXPORTER_REVISION"))
        .const_label("rustc_version", env!("ENVOY_EXPORTER_RUSTC"));
        self.register(Gauge::with_opts(options)?)?.set(1.0);
        Ok(())
    }

    pub(super) fn process(&mut self) -> prometheus::Result<()> {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        let names = process.desc().into_iter().map(|desc| desc.fq_name.clone());
        self.names.extend(names);
        self.registry.register(Box::new(process))
    }
}
