//! What is fuzzed: functions of bytes that panic where something does not hold. libFuzzer calls
//! them, and so does `tests/it/fuzz.rs`.
//!
//! None of them only looks for panics. What reads an answer as it comes is held against what reads
//! it whole, and that against a reader of JSON in general; buckets against the bins that they are
//! made of; a datagram of the kernel against its messages one by one; a poll that builds on others against one that starts afresh, and its text against a
//! reader that is written from the format's specification.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use envoy_exporter::decode::{
    self, DetailedHistogram, HistogramKind, HistogramStream, StatStream, Taker, Value,
};
use envoy_exporter::exposition::{Body, Selection, Shape, own};
use envoy_exporter::foreign::{self, Dialect};
use envoy_exporter::histogram::native::{self, NativeHistogram, Side};
use envoy_exporter::histogram::{self, Bin, Generation, Maths, Scale};
use envoy_exporter::mapping::endpoints::Endpoints;
use envoy_exporter::mapping::scopes::Scopes;
use envoy_exporter::mapping::table;
use envoy_exporter::mapping::{FamilyBounds, Mapping, Source, Verdict};
use envoy_exporter::names::{Labels, is_label_name, is_metric_name};
use envoy_exporter::negotiate::{Format, negotiate};
use envoy_exporter::relabel;
use envoy_exporter::snapshot::builder::{Builder, Settings};
use envoy_exporter::snapshot::{DropReason, Limits, Snapshot};
use envoy_exporter::sockets::{Error, Socket, wire};
use envoy_exporter::stat::StatType;
use envoy_exporter::web::LiveConfig;
use envoy_exporter::yaml;

use super::prom;

/// What panics where something does not hold.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const ALL: [(&str, Target); 9] = [
    ("decode", decode),
    ("histogram", histogram),
    ("names", names),
    ("mapping", mapping),
    ("relabel", relabel),
    ("accept", accept),
    ("foreign", foreign),
    ("web_config", web_config),
    ("sockets", sockets),
];

/// Answers of the admin interface, in pieces of several sizes.
pub fn decode(body: &[u8]) {
    let pieces = [1, 2 + body.len() % 61, 4096];
    let (want, ended) = stats_of(body);
    if ended {
        same_as_any_json(body, &want);
    }
    for piece in pieces {
        let (got, got_ended) = streamed_stats_of(body, piece);
        assert_eq!(got_ended, ended, "stats in pieces of {piece}");
        assert!(!ended || got == want, "stats in pieces of {piece}");
    }
    for kind in [HistogramKind::Detailed, HistogramKind::Cumulative] {
        let mut want = Seen::default();
        let ended = match kind {
            HistogramKind::Detailed => decode::histograms(body, |one| want.detailed(one)),
            HistogramKind::Cumulative => {
                decode::histogram_bounds(body, |name, bounds| want.bounds(name, bounds))
            }
        };
        for piece in pieces {
            let mut got = Seen::default();
            let mut stream = HistogramStream::new(kind);
            let fed = body
                .chunks(piece)
                .try_for_each(|piece| stream.feed(piece, &mut got));
            let got_ended = fed.and_then(|()| stream.finish(&mut got));
            assert_eq!(
                got_ended.is_ok(),
                ended.is_ok(),
                "{kind:?} in pieces of {piece}: {got_ended:?} {ended:?}"
            );
            assert!(
                ended.is_err() || got == want,
                "{kind:?} in pieces of {piece}"
            );
        }
    }
    let _ = decode::endpoints(body);
    let _ = decode::version(body);
}

type Stats = Vec<(String, String)>;

fn shown(value: Value<'_>) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
    }
}

fn stats_of(body: &[u8]) -> (Stats, bool) {
    let mut got = Vec::new();
    let ended = decode::stats(body, |name, value| {
        got.push((name.to_owned(), shown(value)))
    });
    (got, ended.is_ok())
}

fn streamed_stats_of(body: &[u8], piece: usize) -> (Stats, bool) {
    let mut got = Vec::new();
    let mut take = |name: &str, value: Value<'_>| got.push((name.to_owned(), shown(value)));
    let mut stream = StatStream::default();
    let fed = body
        .chunks(piece)
        .try_for_each(|piece| stream.feed(piece, &mut take));
    let ended = fed.and_then(|()| stream.finish(&mut take));
    (got, ended.is_ok())
}

/// A reader of JSON that knows nothing of Envoy sees the same stats. It refuses some of what may
/// stand in values that are passed over.
fn same_as_any_json(body: &[u8], stats: &Stats) {
    let Ok(any) = serde_json::from_slice::<serde_json::Value>(body) else {
        return;
    };
    let list = any.get("stats").and_then(serde_json::Value::as_array);
    let list = list.expect("a list of stats").iter();
    let want: Stats = list
        .filter_map(|one| {
            let name = one.get("name")?.as_str()?.to_owned();
            let value = one.get("value")?;
            let text = value.as_str().map(|text| format!("{text:?}"));
            Some((name, text.unwrap_or_else(|| value.to_string())))
        })
        .collect();
    assert_eq!(*stats, want);
}

#[derive(Debug, Default, PartialEq)]
struct Seen(Vec<String>);

impl Taker for Seen {
    fn detailed(&mut self, histogram: &DetailedHistogram<'_>) {
        self.0.push(format!("{histogram:?}"));
    }

    fn bounds(&mut self, name: &str, bounds: &[f64]) {
        self.0.push(format!("{name} {bounds:?}"));
    }
}

/// Bins of Envoy's shape, and of none: three flags, then nine or seventeen bytes a bin.
pub fn histogram(data: &[u8]) {
    let Some(([flags], rest)) = data.split_first_chunk() else {
        return;
    };
    let maths = Maths {
        generation: if flags & 1 == 0 {
            Generation::Legacy
        } else {
            Generation::Current
        },
        scale: if flags & 2 == 0 {
            Scale::Plain
        } else {
            Scale::Percent
        },
    };
    let is_envoys = flags & 4 == 0;
    let bins: Vec<Bin> = if is_envoys {
        rest.chunks_exact(10).map(envoys_bin).collect()
    } else {
        rest.chunks_exact(24).map(any_bin).collect()
    };
    let mut bounds = histogram::DEFAULT_BOUNDS.to_vec();
    bounds.extend(bins.iter().map(|bin| bin.lower_bound));
    bounds.retain(|bound| bound.is_finite());
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let mut buckets = Vec::new();
    let totals = histogram::buckets(&bins, &bounds, maths, &mut buckets);
    let count = bins
        .iter()
        .fold(0_u64, |sum, bin| sum.saturating_add(bin.count));
    assert_eq!(totals.count, count);
    assert_eq!(buckets.len(), bounds.len());
    assert!(buckets.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!(buckets.last().is_none_or(|last| *last <= count));
    if is_envoys {
        assert!(totals.sum.is_finite());
    }
    let percentiles: Vec<_> = bounds.iter().map(|bound| (50.0, Some(*bound))).collect();
    histogram::recognize(&bins, &percentiles, None);

    let options = native::Options {
        div: if flags & 8 == 0 { 1.0 } else { 1000.0 },
        ..native::Options::default()
    };
    let made = native::native(&bins, maths, &options, None);
    assert_eq!(made.count, count.min(i64::MAX.unsigned_abs()));
    let counted = check_native(&made, &options);
    assert_eq!(u128::from(made.count), counted, "{made:?}");
    let (front, back) = bins.split_at(bins.len() / 2);
    let joined = native::joined(&[(front, maths), (back, maths)], &options, None);
    assert_eq!((joined.schema, joined.count), (made.schema, made.count));
    assert_eq!(
        (joined.positive, joined.negative),
        (made.positive, made.negative)
    );
}

fn envoys_bin(bytes: &[u8]) -> Bin {
    let digits = i32::from(bytes[0] % 90) + 10;
    let power = i32::from(bytes[1] % 40) - 10;
    let sign = if bytes[1] & 128 == 0 { 1.0 } else { -1.0 };
    let width = 10_f64.powi(power - 1);
    let is_zero = bytes[0] == 255;
    let mut count = [0; 8];
    count.copy_from_slice(&bytes[2..10]);
    Bin {
        lower_bound: if is_zero {
            0.0
        } else {
            sign * f64::from(digits) * width
        },
        width: if is_zero { 0.0 } else { width },
        count: u64::from_le_bytes(count),
    }
}

fn any_bin(bytes: &[u8]) -> Bin {
    let eight = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    // JSON has no others.
    let finite = |bits: u64| Some(f64::from_bits(bits)).filter(|number| number.is_finite());
    Bin {
        lower_bound: finite(eight(0)).unwrap_or(1e308),
        width: finite(eight(8)).unwrap_or(-1e308),
        count: eight(16),
    }
}

/// How many samples its buckets hold.
fn check_native(made: &NativeHistogram, options: &native::Options) -> u128 {
    assert!((native::COARSEST..=native::FINEST).contains(&made.schema));
    let side = |side: &Side| {
        let mut total = 0_u128;
        let mut count = 0_i128;
        let mut index = 0_i64;
        let mut deltas = side.deltas.iter();
        for (number, span) in side.spans.iter().enumerate() {
            assert!(number == 0 || span.offset > 0, "spans are apart");
            assert!(span.length > 0, "no span is empty");
            index += i64::from(span.offset) + i64::from(span.length);
            for _ in 0..span.length {
                count += i128::from(*deltas.next().expect("a delta for each bucket"));
                assert!(count > 0, "no bucket is empty: {made:?}");
                total += count.unsigned_abs();
            }
        }
        assert_eq!(deltas.next(), None);
        assert!(i32::try_from(index).is_ok());
        total
    };
    let buckets = made.positive.deltas.len() + made.negative.deltas.len();
    assert!(buckets <= options.max_buckets || made.schema == native::COARSEST);
    u128::from(made.zero_count) + side(&made.positive) + side(&made.negative)
}

static PROFILES: LazyLock<[Arc<Mapping>; 2]> = LazyLock::new(|| {
    ["native", "standard"].map(|profile| {
        let source = Source::Profile(profile.to_owned());
        Arc::new(Mapping::compile(&[source], FamilyBounds::default()).expect("a shipped profile"))
    })
});

/// Stats, one a line: a letter for the type, the name, and for a text readout the text behind `=`.
/// A second poll sees those of every third line no more.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let fewer: Vec<&str> = (0..)
        .zip(&lines)
        .filter_map(|(number, line)| (number % 3 != 1).then_some(*line))
        .collect();
    // Both take long; either comes often.
    let mapping = &PROFILES[data.len() % 2];
    let mut builder = builder(mapping);
    let first = polled(&mut builder, &lines);
    prom::read(&first);
    let got = polled(&mut builder, &fewer);
    let fresh = polled(&mut self::builder(mapping), &fewer);
    assert_eq!(got, fresh, "a poll does not depend on those before");
    let again = polled(&mut builder, &lines);
    assert_eq!(again, first, "nor on what they forgot");
}

fn builder(mapping: &Arc<Mapping>) -> Builder {
    let mut target_labels = Labels::new();
    target_labels.set("zone".to_owned(), "a\"b".to_owned());
    Builder::new(Settings {
        mapping: Arc::clone(mapping),
        target_labels,
        relabel: Arc::default(),
        limits: Limits {
            series: 500,
            series_per_family: 20,
            ..Limits::default()
        },
        reserved: Arc::new(std::iter::once("envoy_up".to_owned()).collect()),
        native_histograms: true,
        created_timestamps: false,
    })
}

fn polled(builder: &mut Builder, lines: &[&str]) -> String {
    builder.begin();
    let mut fed = 0;
    for (value, line) in (7..).zip(lines) {
        let mut letters = line.chars();
        let letter = letters.next();
        let name = letters.as_str();
        match letter {
            Some('c') => builder.number(Some(StatType::Counter), name, value),
            Some('g') => builder.number(Some(StatType::Gauge), name, value),
            Some('u') => builder.number(None, name, value),
            Some('t') => {
                let (name, text) = name.split_once('=').unwrap_or((name, ""));
                builder.text(name, text);
            }
            Some('h') => builder.histogram(&DetailedHistogram {
                name,
                bins: &[Bin {
                    lower_bound: 10.0,
                    width: 1.0,
                    count: value,
                }],
                percentiles: &[(50.0, Some(10.5))],
            }),
            _ => continue,
        }
        fed += 1;
    }
    let snapshot = builder.finish();
    let dropped = DropReason::ALL.map(|reason| snapshot.report().dropped(reason));
    let dropped: usize = dropped.iter().sum();
    assert!(
        snapshot.series() + dropped <= fed,
        "no stat is counted twice"
    );
    assert!(
        fed == 0 || snapshot.series() + dropped > 0,
        "no stat is lost"
    );
    exposed(snapshot)
}

fn exposed(snapshot: Snapshot) -> String {
    let shape = Shape::new(Format::Text);
    let selection = Selection::default();
    let mut end = Vec::new();
    own::write(&mut end, &[], &selection, shape.format);
    let body = Body::new(vec![Arc::new(snapshot)], &shape, &selection, end);
    let bytes: Vec<u8> = body.flatten().collect();
    String::from_utf8(bytes).expect("an exposition is UTF-8")
}

/// An exposition of somebody else's: a letter for the format, then its text.
pub fn foreign(data: &[u8]) {
    let Some((letter, body)) = data.split_first() else {
        return;
    };
    let dialect = if *letter == b'o' {
        Dialect::OpenMetrics
    } else {
        Dialect::Text
    };
    let mut attached = Labels::new();
    attached.set("source".to_owned(), "a\"b".to_owned());
    let bounds = foreign::Bounds {
        series: 500,
        label_value_bytes: 64,
        labels: 8,
    };
    let Ok(read) = foreign::read(body, dialect, &attached, bounds) else {
        return;
    };
    let series: usize = read.families.iter().map(|family| family.series.len()).sum();
    assert!(series <= bounds.series);
    let text = exposed(Snapshot::assembled(read.families));
    prom::read(&text);
    let wider = foreign::Bounds {
        labels: 9,
        ..bounds
    };
    let again = foreign::read(text.as_bytes(), Dialect::Text, &Labels::new(), wider);
    let again = again.expect("what we write is read");
    assert_eq!(again.refused, [], "{text}");
    assert_eq!(exposed(Snapshot::assembled(again.families)), text);
}

/// A mapping table.
pub fn mapping(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (table, problems) = table::parse(text);
    check_problems(text, &problems);
    if table.is_none() || !problems.is_empty() {
        return;
    }
    let source = Source::File {
        name: "table".to_owned(),
        text: text.to_owned(),
    };
    let compiled = match Mapping::compile(&[source], FamilyBounds::default()) {
        Ok(compiled) => compiled,
        Err(error) => {
            assert!(!error.reasons.is_empty());
            return;
        }
    };
    let names = [
        ("cluster.a.b.upstream_cx_total", StatType::Counter),
        ("http.in.downstream_rq_2xx", StatType::Counter),
        ("server.uptime", StatType::Gauge),
        ("app.queue.length.max", StatType::Gauge),
        ("cluster.a.b.upstream_rq_time", StatType::Histogram),
        ("", StatType::Counter),
        ("9.\u{e9}", StatType::Gauge),
    ];
    let learned = compiled
        .scopes()
        .learn(&|_, each| names.iter().for_each(|(name, _)| each(name)));
    for scopes in [&Scopes::default(), &learned] {
        for (name, stat_type) in names {
            let verdict = compiled.map(scopes, &Endpoints::default(), name, Some(stat_type), None);
            if let Verdict::Mapped(mapped) = verdict {
                assert!(is_metric_name(&mapped.family), "{}", mapped.family);
                check_labels(mapped.labels.iter());
            }
        }
    }
    let mut builder = builder(&Arc::new(compiled));
    builder.begin();
    for (name, stat_type) in names {
        match stat_type {
            StatType::Histogram => builder.histogram(&DetailedHistogram {
                name,
                bins: &[],
                percentiles: &[],
            }),
            _ => builder.number(Some(stat_type), name, 3),
        }
    }
    prom::read(&exposed(builder.finish()));
}

fn check_problems(text: &str, problems: &[yaml::Problem]) {
    // To YAML, a carriage return ends a line too.
    let lines = text.split(['\n', '\r']).count();
    for problem in problems {
        let shown = problem.to_string();
        let line = shown.split(':').next().and_then(|line| line.parse().ok());
        // A place may be the line behind the last.
        assert!(line.is_none_or(|line: usize| line <= lines + 1), "{shown}");
    }
}

fn check_labels<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) {
    let names: Vec<&str> = labels.map(|(name, _)| name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    assert!(names.iter().all(|name| is_label_name(name)), "{names:?}");
}

/// Rules of relabeling as YAML, and behind a line `---` labels as lines `name=value`.
pub fn relabel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (rules, labels) = text.split_once("\n---\n").unwrap_or((text, ""));
    let (configs, problems) = yaml::read::<Vec<relabel::RuleConfig>>(rules);
    check_problems(rules, &problems);
    let Some(configs) = configs.filter(|_| problems.is_empty()) else {
        return;
    };
    let compiled = match relabel::Rules::compile(&configs) {
        Ok(compiled) => compiled,
        Err(errors) => {
            assert!(errors.iter().all(|error| error.rule <= configs.len()));
            return;
        }
    };
    let mut given: relabel::Labels = labels
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    given.set(relabel::NAME, "envoy_cluster_upstream_rq");
    let mut once = given.clone();
    let mut again = given.clone();
    let verdict = compiled.apply(&mut once);
    assert_eq!(verdict, compiled.apply(&mut again));
    if verdict == relabel::Verdict::Drop {
        return;
    }
    assert_eq!(once, again);
    assert!(!once.is_empty());
    let pairs: Vec<_> = once.iter().collect();
    assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(pairs.iter().all(|(_, value)| !value.is_empty()));
    if relabel::is_valid_result(&once) {
        check_labels(once.iter());
    }
}

/// `Accept`, a line feed, and `Accept-Encoding`.
pub fn accept(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n');
    let (accept, encoding) = data.split_at(at.unwrap_or(data.len()));
    let encoding = encoding.get(1..).unwrap_or_default();
    let answer = negotiate([accept], [encoding]);
    assert!(answer.content_type().is_ascii());
    // Several lines of a header are one, with commas between them.
    if accept.len() < 4096
        && !accept.contains(&b'"')
        && accept.iter().filter(|b| **b == b',').count() < 60
    {
        let lines: Vec<&[u8]> = accept.split(|byte| *byte == b',').collect();
        assert_eq!(negotiate(lines, [encoding]), answer);
    }
    // Names of types, parameters and encodings are the same in either case.
    let upper = negotiate(
        [&*accept.to_ascii_uppercase()],
        [&*encoding.to_ascii_uppercase()],
    );
    let lower = negotiate(
        [&*accept.to_ascii_lowercase()],
        [&*encoding.to_ascii_lowercase()],
    );
    assert_eq!(upper.encoding, lower.encoding);
}

/// A file for a reader that wants one, of this process and thread alone.
fn file(name: &str, data: &[u8]) -> PathBuf {
    let dir = std::env::temp_dir();
    let path = dir.join(format!("envoy-exporter-fuzz-{}-{name}", std::process::id()));
    let mut file = std::fs::File::create(&path).expect("a file for the input");
    file.write_all(data).expect("a file for the input");
    path
}

/// A web configuration file.
pub fn web_config(data: &[u8]) {
    match LiveConfig::open(&file("web", data)) {
        Ok(live) => {
            live.is_tls();
            live.warnings();
        }
        Err(error) => assert!(!error.0.is_empty() && error.0.iter().all(|line| !line.is_empty())),
    }
}

/// A datagram with sockets, as a whole and message by message.
pub fn sockets(bytes: &[u8]) {
    let read = |part: &[u8], found: &mut Vec<Socket>| {
        let ended = wire::datagram(part, 1, |socket| found.push(socket));
        ended.map_err(|error: Error| error.to_string())
    };
    let mut whole = Vec::new();
    let ended = read(bytes, &mut whole);
    let (mut parts, mut left) = (Vec::new(), bytes);
    let mut parts_ended = Ok(false);
    while parts_ended == Ok(false) && !left.is_empty() {
        let length = left
            .first_chunk()
            .map_or(0, |size| u32::from_ne_bytes(*size)) as usize;
        let next = length.next_multiple_of(4).clamp(1, left.len());
        let (part, rest) = left.split_at(next);
        parts_ended = read(part, &mut parts);
        left = rest;
    }
    assert_eq!(ended, parts_ended);
    assert!(whole == parts);
    for socket in whole {
        assert_eq!(socket.remote.ip, socket.remote.ip.to_canonical());
    }
}
