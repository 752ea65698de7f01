//! Each format against readers that were written from its specification, and against the others.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use envoy_exporter::decode::DetailedHistogram;
use envoy_exporter::exposition::serve::Server;
use envoy_exporter::exposition::{Selection, Shape, own};
use envoy_exporter::family::FamilyType;
use envoy_exporter::histogram::Bin;
use envoy_exporter::histogram::native::Form;
use envoy_exporter::mapping::{FamilyBounds, Mapping, Source};
use envoy_exporter::names::Labels;
use envoy_exporter::negotiate::{Encoding, Format};
use envoy_exporter::relabel;
use envoy_exporter::snapshot::builder::{Builder, Settings};
use envoy_exporter::snapshot::{Limits, Snapshot};
use envoy_exporter::stat::StatType;
use proptest::prelude::*;

use crate::support::{exposed, openmetrics, prom, wire};

/// Read once: it takes its time.
static MAPPING: LazyLock<Arc<Mapping>> = LazyLock::new(|| Arc::new(Mapping::native().unwrap()));

fn settings() -> Settings {
    Settings {
        mapping: Arc::clone(&MAPPING),
        target_labels: Labels::new(),
        relabel: Arc::default(),
        limits: Limits::default(),
        reserved: Arc::default(),
        native_histograms: true,
        created_timestamps: false,
    }
}

/// A snapshot of stats, each a letter for its type (c, g, h, t), a name and a value.
fn snapshot(settings: Settings, stats: &[&str]) -> Arc<Snapshot> {
    let mut builder = Builder::new(settings);
    builder.begin();
    for stat in stats {
        let parts: Vec<_> = stat.splitn(3, ' ').collect();
        let [letter, name, value] = parts[..] else {
            panic!("{stat}");
        };
        let number = || value.parse().unwrap();
        match letter {
            "c" => builder.number(Some(StatType::Counter), name, number()),
            "g" => builder.number(Some(StatType::Gauge), name, number()),
            "t" => builder.text(name, value),
            _ => builder.histogram(&DetailedHistogram {
                name,
                bins: &[Bin {
                    lower_bound: 10.0,
                    width: 1.0,
                    count: number(),
                }],
                percentiles: &[],
            }),
        }
    }
    Arc::new(builder.finish())
}

fn of_target(name: &str, stats: &[&str]) -> Arc<Snapshot> {
    let mut settings = settings();
    settings.target_labels.set("target".into(), name.into());
    snapshot(settings, stats)
}

/// What every reader makes of snapshots: the same samples of every format. Gives the families of
/// `OpenMetrics` and their types.
#[track_caller]
fn check(what: &str, snapshots: &[Arc<Snapshot>], shape: &Shape, want: Types<'_>) {
    let written = |format| {
        let shape = Shape {
            format,
            ..shape.clone()
        };
        exposed(snapshots, &shape)
    };
    let text = String::from_utf8(written(Format::Text)).unwrap();
    let samples = prom::samples_of_lines(&text);
    let om = String::from_utf8(written(Format::OpenMetrics)).unwrap();
    let families = openmetrics::read(&om);
    assert_eq!(openmetrics::samples(&families), samples, "{what}");
    assert_eq!(
        wire::samples(&wire::read(&written(Format::Protobuf))),
        samples,
        "{what}"
    );
    let got: Vec<_> = families
        .iter()
        .map(|(name, family)| (name.as_str(), family.kind.as_str()))
        .collect();
    assert_eq!(got, want, "{what}:\n{om}");
}

/// Families of `OpenMetrics` and their types.
type Types<'t> = &'t [(&'t str, &'t str)];

#[test]
fn names_follow_the_rules_of_openmetrics_or_are_unknown() {
    let shape = Shape::new(Format::Text);
    let cases: [(&str, &[&str], Types<'_>); 11] = [
        (
            "counters",
            &["c a.x_total 1", "c a.y 1"],
            &[("envoy_a_x", "counter"), ("envoy_a_y", "unknown")],
        ),
        (
            "a gauge has the name",
            &["c a.x_total 1", "g a.x 1"],
            &[("envoy_a_x", "gauge"), ("envoy_a_x_total", "unknown")],
        ),
        (
            "a counter has it",
            &["c a.x_total 1", "c a.x 1"],
            &[("envoy_a_x", "unknown"), ("envoy_a_x_total", "unknown")],
        ),
        (
            "so has what is created",
            &["c a.x_total 1", "g a.x_created 1"],
            &[
                ("envoy_a_x_created", "gauge"),
                ("envoy_a_x_total", "unknown"),
            ],
        ),
        (
            "a gauge's suffix means nothing",
            &["g a.x_total 1"],
            &[("envoy_a_x_total", "gauge")],
        ),
        ("info", &["g a.x_info 1"], &[("envoy_a_x", "info")]),
        (
            "another number",
            &["g a.x_info 2"],
            &[("envoy_a_x_info", "gauge")],
        ),
        (
            "info beside its name",
            &["g a.x_info 1", "g a.x 1"],
            &[("envoy_a_x", "gauge"), ("envoy_a_x_info", "gauge")],
        ),
        (
            "a counter before an info",
            &["g a.x_info 1", "c a.x_total 1"],
            &[("envoy_a_x", "counter"), ("envoy_a_x_info", "gauge")],
        ),
        (
            "a histogram before a counter",
            &["h a.x 1", "c a.x_total 1"],
            &[("envoy_a_x", "histogram"), ("envoy_a_x_total", "unknown")],
        ),
        (
            "a histogram that has no name for itself",
            &["h a.x 1", "g a.x_created 1"],
            &[
                ("envoy_a_x_bucket", "unknown"),
                ("envoy_a_x_count", "unknown"),
                ("envoy_a_x_created", "gauge"),
                ("envoy_a_x_sum", "unknown"),
            ],
        ),
    ];
    for (what, stats, want) in cases {
        check(what, &[snapshot(settings(), stats)], &shape, want);
    }
}

#[test]
fn targets_share_families() {
    let shape = Shape::new(Format::Text);
    let one = of_target("one", &["c a.x_total 1", "g b.x_info 1", "h c.x 3"]);
    let two = of_target("two", &["c a.x_total 2", "g b.x_info 1", "h c.x 0"]);
    let want = [
        ("envoy_a_x", "counter"),
        ("envoy_b_x", "info"),
        ("envoy_c_x", "histogram"),
    ];
    check("two targets", &[one.clone(), two], &shape, &want);
    // What one target has is a name that another one's family would take.
    let other = of_target("other", &["g a.x 7", "g b.x_info 5", "g c.x_count 9"]);
    let want = [
        ("envoy_a_x", "gauge"),
        ("envoy_a_x_total", "unknown"),
        ("envoy_b_x_info", "gauge"),
        ("envoy_c_x_bucket", "unknown"),
        ("envoy_c_x_count", "unknown"),
        ("envoy_c_x_sum", "unknown"),
    ];
    check("another", &[one, other], &shape, &want);
}

#[test]
fn own_names_are_not_taken() {
    let mut shape = Shape::new(Format::Text);
    let names = ["envoy_up", "envoy_own_polls_total", "envoy_own_seconds"];
    shape.reserved = Arc::new(own::reserved(names).collect());
    let stats = ["c up_total 1", "c own.polls_total 1", "c own.x_total 1"];
    let want = [
        ("envoy_own_polls_total", "unknown"),
        ("envoy_own_x", "counter"),
        ("envoy_up_total", "unknown"),
    ];
    check(
        "beside own ones",
        &[snapshot(settings(), &stats)],
        &shape,
        &want,
    );
    // The builder, which knows the names too, gives no series to those that are own ones.
    let reserved = Settings {
        reserved: Arc::clone(&shape.reserved),
        ..settings()
    };
    let stats = [
        "c own.polls_total 1",
        "g own.polls 1",
        "g own.seconds_bucket 1",
        "g own.x 1",
    ];
    check(
        "own ones",
        &[snapshot(reserved, &stats)],
        &shape,
        &[("envoy_own_x", "gauge")],
    );
}

/// Rules that drop samples by name and bound.
fn dropping(regex: &str) -> Settings {
    let config = relabel::RuleConfig {
        source_labels: Some(vec!["__name__".into(), "le".into()]),
        regex: Some(regex.into()),
        action: "drop".into(),
        ..relabel::RuleConfig::default()
    };
    Settings {
        relabel: Arc::new(relabel::Rules::compile(&[config]).unwrap()),
        ..settings()
    }
}

#[test]
fn a_histogram_that_is_not_whole_is_unknown() {
    let parts = |names: &[&'static str]| -> Vec<(&'static str, &'static str)> {
        names.iter().map(|name| (*name, "unknown")).collect()
    };
    let (bucket, count, sum) = ("envoy_a_x_bucket", "envoy_a_x_count", "envoy_a_x_sum");
    for (regex, want) in [
        (".*_bucket;5", vec![("envoy_a_x", "histogram")]),
        (".*_bucket;[+]Inf", parts(&[bucket, count, sum])),
        (".*_bucket;.*", parts(&[count, sum])),
        (".*_(sum|count);", parts(&[bucket])),
        (".*_(bucket|sum);.*", parts(&[count])),
    ] {
        for form in [Form::Classic, Form::Both] {
            let mut shape = Shape::new(Format::Text);
            shape.histograms = form;
            let snapshot = snapshot(dropping(regex), &["h a.x 3"]);
            check(regex, &[snapshot], &shape, &want);
        }
    }
}

#[test]
fn native_histograms_travel_in_protobuf() {
    let snapshot = [snapshot(settings(), &["h a.x 3", "h a.empty 0"])];
    let read = |histograms| {
        let shape = Shape {
            histograms,
            ..Shape::new(Format::Protobuf)
        };
        wire::read(&exposed(&snapshot, &shape))
    };
    for (form, classic, native) in [
        (Form::Classic, true, false),
        (Form::Native, false, true),
        (Form::Both, true, true),
    ] {
        for family in read(form) {
            let [(labels, wire::Value::Histogram(value))] = &family.series[..] else {
                panic!("{family:?}");
            };
            assert!(labels.is_empty());
            assert_eq!(value.buckets.is_empty(), !classic, "{form:?}");
            assert_eq!(value.schema, native.then_some(7), "{form:?}");
            if native {
                assert!(
                    value.zero_threshold > Some(0.0),
                    "a reader knows it by that"
                );
                let samples: i64 = value.deltas[1].iter().sum();
                assert_eq!(value.count, samples.cast_unsigned() + value.zero_count);
                // 10.5, which stands for the bin, in the only bucket there is.
                let spans = if value.count == 0 {
                    vec![]
                } else {
                    vec![(434, 1)]
                };
                assert_eq!(value.spans[1], spans);
            }
        }
    }
}

/// A summary stands among histograms, and takes no other's place.
#[test]
fn native_histograms_beside_a_summary() {
    let table = Source::File {
        name: "table".to_owned(),
        text: "rules: [{stat: cluster.upstream_cx_connect_ms, form: summary}]".to_owned(),
    };
    let sources = [Source::Profile("native".to_owned()), table];
    let mapping = Mapping::compile(&sources, FamilyBounds::default()).unwrap();
    let settings = Settings {
        mapping: Arc::new(mapping),
        ..settings()
    };
    let stats = [
        "h cluster.a.upstream_cx_connect_ms 1",
        "h cluster.b.upstream_cx_connect_ms 2",
        "h cluster.a.upstream_rq_time 3",
        "h cluster.b.upstream_rq_time 4",
    ];
    let snapshot = snapshot(settings, &stats);
    let mut counts = Vec::new();
    for family in snapshot.families() {
        for (_, value) in family.histograms(0) {
            assert_eq!(
                value.native.unwrap().count,
                value.count,
                "{}",
                family.name()
            );
            counts.push((family.family_type(), value.count));
        }
    }
    let (summary, histogram) = (FamilyType::Summary, FamilyType::Histogram);
    let want = [(summary, 1), (summary, 2), (histogram, 3), (histogram, 4)];
    assert_eq!(counts, want);
}

#[test]
fn a_family_of_many_pieces_is_one_message() {
    let stats: Vec<_> = (0..20_000)
        .map(|at| format!("c cluster.c{at}.upstream_rq_total {at}"))
        .collect();
    let stats: Vec<_> = stats.iter().map(String::as_str).collect();
    let snapshots = [of_target("one", &stats), of_target("two", &stats)];
    let shape = Shape::new(Format::Protobuf);
    let families = wire::read(&exposed(&snapshots, &shape));
    let sizes: BTreeMap<_, _> = families
        .iter()
        .map(|family| (family.name.as_str(), family.series.len()))
        .collect();
    assert_eq!(
        sizes,
        BTreeMap::from([("envoy_cluster_upstream_rq_total", 40_000)])
    );
}

#[tokio::test]
async fn bodies_are_made_once_for_a_poll() {
    let server = Server::default();
    let stats = ["c a.x 1", "g a.y 2"];
    let (first, second) = (of_target("one", &stats), of_target("one", &stats));
    let shape = Shape::new(Format::OpenMetrics);
    let scrape = async |snapshot: &Arc<Snapshot>, shape: &Shape, names: &[&str], own: &str| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let snapshots = vec![Arc::clone(snapshot)];
        let served = server
            .serve(
                snapshots,
                shape,
                Selection::new(names),
                Encoding::Gzip,
                own.into(),
            )
            .await;
        assert_eq!(served.encoding, Encoding::Gzip);
        let size = served.size.unwrap();
        let pieces: Vec<_> = served.pieces.collect();
        assert_eq!(pieces.iter().map(bytes::Bytes::len).sum::<usize>(), size);
        pieces[0].as_ptr()
    };
    let (one, other) = tokio::join!(
        scrape(&first, &shape, &[], "own 1\n"),
        scrape(&first, &shape, &[], "own 2\n"),
    );
    assert_eq!(one, other, "both hold the same bytes");
    let draft = Shape::new(Format::OpenMetricsDraft);
    assert_eq!(
        scrape(&first, &draft, &[], "").await,
        one,
        "the draft's body is the same"
    );
    let text = Shape::new(Format::Text);
    assert_ne!(scrape(&first, &text, &[], "").await, one, "another format");
    assert_ne!(
        scrape(&first, &shape, &["envoy_a_x"], "").await,
        one,
        "another selection"
    );
    assert_eq!(scrape(&first, &shape, &[], "").await, one, "all are kept");
    // A body of the next poll takes their place; the snapshot itself is not kept.
    scrape(&second, &shape, &[], "").await;
    assert_eq!(Arc::strong_count(&first), 1);
    assert_eq!(Arc::strong_count(&second), 1);
}

proptest! {
    #[test]
    fn any_label_value_survives(value in any::<String>(), second in "[\\\\\"\n{}=,a]{0,8}") {
        let mut settings = settings();
        settings.limits.label_value_bytes = usize::MAX;
        settings.target_labels.set("a".into(), value.clone());
        settings.target_labels.set("b".into(), second.clone());
        let snapshots = [snapshot(settings, &["c c.x_total 1", "h h.x 2", "g g.x_info 1"])];
        let labels: BTreeMap<_, _> = [("a".to_owned(), value), ("b".to_owned(), second)].into();
        let written = |format| exposed(&snapshots, &Shape::new(format));
        let text = String::from_utf8(written(Format::Text)).unwrap();
        let samples = prom::samples(&prom::read(&text));
        for (_, have) in samples.keys() {
            let mut have = have.clone();
            have.remove("le");
            prop_assert_eq!(&have, &labels);
        }
        let om = String::from_utf8(written(Format::OpenMetrics)).unwrap();
        prop_assert_eq!(&openmetrics::samples(&openmetrics::read(&om)), &samples);
        prop_assert_eq!(&wire::samples(&wire::read(&written(Format::Protobuf))), &samples);
    }

    #[test]
    fn any_help_survives(help in any::<String>(), quoted in "[\\\\\"\n# a]{0,8}") {
        let help = format!("{help}{quoted}");
        let registry = prometheus::Registry::new();
        let counter = prometheus::IntCounter::new("x_total", help.clone());
        // The crate refuses HELP that is empty.
        prop_assume!(counter.is_ok());
        registry.register(Box::new(counter.unwrap())).unwrap();
        let write = |format| {
            let mut out = Vec::new();
            own::write(&mut out, &registry.gather(), &Selection::default(), format);
            out
        };
        let text = String::from_utf8(write(Format::Text)).unwrap();
        prop_assert_eq!(&prom::read(&text)["x_total"].help, &help);
        let om = String::from_utf8(write(Format::OpenMetrics)).unwrap();
        prop_assert_eq!(openmetrics::read(&om)["x"].help.clone(), Some(help.clone()));
        prop_assert_eq!(&wire::read(&write(Format::Protobuf))[0].help, &help);
    }
}
