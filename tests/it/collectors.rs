//! Collectors: when they run, what their failures do, and that what they find is exposed once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use envoy_exporter::collectors::Name;
use envoy_exporter::config::{Config, Overrides};
use envoy_exporter::exposition::Shape;
use envoy_exporter::histogram::whole::{Counted, UpTo};
use envoy_exporter::mapping::{FamilyBounds, Mapping, Source};
use envoy_exporter::negotiate::Format;
use envoy_exporter::snapshot::builder::collected::{Collected, Finding};
use envoy_exporter::snapshot::builder::{Builder, Settings};
use envoy_exporter::snapshot::{DropReason, Snapshot};
use envoy_exporter::stat::StatType;
use envoy_exporter::telemetry::Outcome;

use crate::support::fake_envoy::{Answer, FakeEnvoy};
use crate::support::{
    demo_poller, exposed, openmetrics, poll_dir, poller_with, prom, testdata, text, wire,
};

fn only(names: &[Name]) -> Overrides {
    let said = |name: &Name| (*name, names.contains(name));
    Overrides {
        collectors: Name::ALL.iter().map(said).collect(),
        ..Overrides::default()
    }
}

#[tokio::test]
async fn a_failure_is_no_failure_of_the_poll() {
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let overrides = only(&[Name::Memory]);
    let timeout = Duration::from_millis(400);
    let mut poller = poller_with(&envoy.address, &overrides, timeout, 4096);
    for _ in 0..2 {
        // Its answer to /memory is one of stats.
        let polled = poller.poll().await.unwrap();
        let [run] = polled.runs.as_slice() else {
            panic!("{:?}", polled.runs);
        };
        let error = run.result.as_ref().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Decode);
        assert_eq!(run.name, Name::Memory);
        assert_eq!(polled.snapshot.series(), 1);
        assert_eq!(polled.collected.unwrap().series(), 0);
    }
    assert_eq!(envoy.seen.most_under_way.load(Ordering::SeqCst), 1);
    assert_eq!(envoy.seen.requests.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn what_is_off_is_not_asked_for() {
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let timeout = Duration::from_millis(400);
    let mut poller = poller_with(&envoy.address, &only(&[]), timeout, 4096);
    let polled = poller.poll().await.unwrap();
    assert!(polled.runs.is_empty() && polled.collected.is_none());
    assert_eq!(envoy.seen.requests.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn endpoints_have_a_budget_and_a_selection() {
    let overrides = Overrides {
        config_file: Some(testdata("config/collectors.yaml")),
        ..Overrides::default()
    };
    let polled = poll_dir(&testdata("golden/collectors"), &overrides).await;
    let collected = polled.unwrap().collected.unwrap();
    // Two of the clusters, with three endpoints each.
    let of = |name| {
        let mut families = collected.families();
        families.find(|family| family.name() == name).unwrap().len()
    };
    assert_eq!(of("envoy_cluster_circuit_breakers_default_max_retries"), 2);
    assert_eq!(of("envoy_cluster_endpoint_weight"), 4);
    assert_eq!(of("envoy_cluster_endpoint_health_flag"), 40);
    // Nine stats, health, weight, ten flags and the info, of two endpoints.
    assert_eq!(collected.report().dropped(DropReason::Limit), 2 * 22);
    assert_eq!(collected.series(), 4 * 22 + 2 * 8);
}

/// Stats and findings of one target.
struct Target {
    builder: Builder,
    collected: Collected,
}

impl Target {
    fn new(mapping: &str) -> Self {
        let overrides = Overrides {
            mapping: vec![mapping.to_owned()],
            ..Overrides::default()
        };
        let config = Config::load(&overrides).unwrap();
        let settings = config.settings(&config.targets[0], &Arc::default());
        Self {
            builder: Builder::new(settings.clone()),
            collected: Collected::new(settings, 2),
        }
    }

    /// The snapshots of a poll with these counters.
    fn poll(&mut self, counters: &[(&str, u64)]) -> [Arc<Snapshot>; 2] {
        self.builder.begin();
        for (name, value) in counters {
            self.builder.number(Some(StatType::Counter), name, *value);
        }
        let stats = self.builder.finish();
        let collected = self.collected.finish(stats.layout());
        [stats, collected].map(Arc::new)
    }

    fn run(&mut self, collector: usize, find: impl FnOnce(&mut Finding<'_>)) {
        find(&mut self.collected.begin(collector).unwrap());
    }
}

/// The text of both, which all formats agree on.
fn read(snapshots: &[Arc<Snapshot>; 2]) -> String {
    let written = |format| exposed(snapshots, &Shape::new(format));
    let text = String::from_utf8(written(Format::Text)).unwrap();
    prom::read(&text);
    let samples = prom::samples_of_lines(&text);
    let other = String::from_utf8(written(Format::OpenMetrics)).unwrap();
    assert_eq!(openmetrics::samples(&openmetrics::read(&other)), samples);
    assert_eq!(
        wire::samples(&wire::read(&written(Format::Protobuf))),
        samples
    );
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

fn endpoint(finding: &mut Finding<'_>, cluster: &str, address: &str) {
    let tags = [
        ("envoy.cluster_name", cluster),
        ("envoy.endpoint_address", address),
    ];
    finding.subject("cluster.endpoint", tags);
}

#[test]
fn what_the_stats_have_is_theirs() {
    let mut target = Target::new("native");
    target.run(0, |finding| {
        for address in ["10.0.0.1:80", "10.0.0.2:80"] {
            endpoint(finding, "a", address);
            finding.counter("rq_total", 5);
        }
    });
    let without = target.poll(&[]);
    assert_eq!(
        read(&without),
        "envoy_cluster_endpoint_rq_total{envoy_cluster_name=\"a\",envoy_endpoint_address=\"10.0.0.1:80\"} 5\n\
         envoy_cluster_endpoint_rq_total{envoy_cluster_name=\"a\",envoy_endpoint_address=\"10.0.0.2:80\"} 5"
    );
    // The same series from the stats: theirs is shown, and nothing is lost.
    let with = target.poll(&[("cluster.a.endpoint.10.0.0.1_80.rq_total", 4)]);
    assert_eq!(
        read(&with),
        "envoy_cluster_endpoint_rq_total{envoy_cluster_name=\"a\",envoy_endpoint_address=\"10.0.0.1:80\"} 4\n\
         envoy_cluster_endpoint_rq_total{envoy_cluster_name=\"a\",envoy_endpoint_address=\"10.0.0.2:80\"} 5"
    );
    assert_eq!(with[1].report().dropped(DropReason::Conflict), 0);
    // And back, though no collector ran.
    assert_eq!(read(&target.poll(&[])), read(&without));
}

#[test]
fn names_in_conflict_are_counted_and_written_once() {
    let mut target = Target::new("native");
    let stats = [("x.double", 1), ("x.word", 1), ("y", 1)];
    target.run(0, |finding| {
        finding.subject("x", []);
        // Another type, and another meaning of the same series.
        finding.double("double", 0.5);
        finding.counter("word", 2);
        // The same twice.
        finding.counter("twice", 3);
        finding.counter("twice", 4);
        finding.let_fall(true);
        finding.counter("fallen", 1);
        finding.let_fall(false);
        finding.gauge("kept", 6);
    });
    target.run(1, |finding| {
        finding.subject("x", []);
        finding.counter("twice", 5);
    });
    let [_, collected] = &target.poll(&stats);
    // Undescribed ones have the same HELP, so that these are taken for the same.
    assert_eq!(collected.report().dropped(DropReason::Conflict), 3);
    assert_eq!(collected.report().dropped(DropReason::Limit), 1);
    assert_eq!(
        read(&target.poll(&stats)),
        "envoy_x_double 1\nenvoy_x_kept 6\nenvoy_x_twice 3\nenvoy_x_word 1\nenvoy_y 1"
    );
}

#[test]
fn a_steady_run_only_moves_numbers_and_a_failed_one_has_none() {
    let mut target = Target::new("standard");
    let found = |value: f64, odd: &'static str| {
        move |finding: &mut Finding<'_>| {
            finding.subject("x", [("a.b", odd), ("c", "\n\\n")]);
            finding.double("share", value);
            finding.info("info");
        }
    };
    target.run(0, found(0.25, "d.e"));
    let first = target.poll(&[]);
    assert_eq!(
        read(&first),
        "envoy_x_info{a_b=\"d.e\",c=\"\\n\\\\n\"} 1\nenvoy_x_share{a_b=\"d.e\",c=\"\\n\\\\n\"} 0.25"
    );
    target.run(0, found(-1e300, "d.e"));
    assert!(read(&target.poll(&[])).ends_with("} -1e300"));
    // A label's value is another series.
    target.run(0, found(f64::NAN, "f"));
    let text = read(&target.poll(&[]));
    assert!(
        text.contains("a_b=\"f\"") && !text.contains("d.e") && text.ends_with(" NaN"),
        "{text}"
    );
    target.run(0, |finding| {
        found(1.0, "f")(finding);
        finding.clear();
    });
    assert_eq!(read(&target.poll(&[])), "");
    target.run(0, found(0.25, "d.e"));
    assert_eq!(read(&target.poll(&[])), read(&first));
}

#[test]
fn histograms_are_counted_and_joined() {
    let table = |rule: &str| {
        let text = format!(
            "catalogue: [{{scope: x., stats: {{wait_ms: {{histogram: Waiting., unit: milliseconds}}}}}}]\n\
             rules: [{{stat: x.wait_ms, buckets: [0.001, 0.002, 0.01]{rule}}}]"
        );
        Source::File {
            name: "t".to_owned(),
            text,
        }
    };
    let counted = |numbers: &[u64], sum| Counted {
        bins: numbers
            .iter()
            .map(|number| (UpTo::holding(*number), 2))
            .collect(),
        shift: 3,
        sum,
    };
    for (rule, want) in [
        ("", "a 2 2 4 4 8\nb 0 0 2 4 21"),
        (", labels: {a: ''}, join: sum", "- 2 2 6 8 29"),
    ] {
        let profile = Source::Profile("standard".to_owned());
        let mapping = Mapping::compile(&[profile, table(rule)], FamilyBounds::default()).unwrap();
        let config = Config::load(&Overrides::default()).unwrap();
        let settings = Settings {
            mapping: Arc::new(mapping),
            native_histograms: true,
            ..config.settings(&config.targets[0], &Arc::default())
        };
        let mut collected = Collected::new(settings, 1);
        let mut finding = collected.begin(0).unwrap();
        // In microseconds, and sums in milliseconds.
        for (tag, numbers, sum) in [
            ("a", [1000, 3000], 8000.0),
            ("b", [10_000, 10_001], 21_000.0),
        ] {
            finding.subject("x", [("a", tag)]);
            finding.histogram("wait_ms", counted(&numbers, sum));
        }
        drop(finding);
        let snapshot = collected.finish(&Arc::default());
        let family = snapshot.families().next().unwrap();
        assert_eq!(family.name(), "envoy_x_wait_seconds");
        let found: Vec<_> = family
            .histograms(0)
            .map(|(block, value)| {
                let native = value.native.unwrap();
                assert_eq!((native.count, native.sum), (value.count, value.sum));
                let name = block.split('"').nth(1).unwrap_or("-");
                let buckets: Vec<_> = value.buckets.iter().map(u64::to_string).collect();
                let (count, sum) = (value.count, value.sum);
                format!("{name} {} {count} {sum}", buckets.join(" "))
            })
            .collect();
        assert_eq!(found.join("\n"), want);
    }
}

#[tokio::test]
async fn the_demo_has_what_collectors_find() {
    let of_stats = text(demo_poller(&only(&[])).poll().await.unwrap());
    for name in Name::ALL {
        let polled = demo_poller(&only(&[*name])).poll().await.unwrap();
        let [run] = polled.runs.as_slice() else {
            panic!("{:?}", polled.runs);
        };
        assert!(run.result.is_ok(), "{run:?}");
        let collected = polled.collected.as_ref().unwrap();
        assert_eq!(collected.report().undescribed, 0);
        // A capture has no connections.
        let finds = *name != Name::Tcp;
        let found = text(polled).len() > of_stats.len();
        assert_eq!(found, finds, "{}", name.as_str());
    }
}
