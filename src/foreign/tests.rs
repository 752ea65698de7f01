//! Tables of what is read and what is not, and expositions that come back as they went out.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::exposition::{Body, Selection, Shape};
use crate::negotiate::Format;
use crate::snapshot::Snapshot;

const BOUNDS: Bounds = Bounds {
    series: 1000,
    label_value_bytes: 100,
    labels: 5,
};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let mut labels = Labels::new();
    for (name, value) in pairs {
        labels.set((*name).to_owned(), (*value).to_owned());
    }
    labels
}

fn written(families: Vec<MadeFamily>, format: Format) -> String {
    let snapshot = Arc::new(Snapshot::assembled(families));
    let selection = Selection::default();
    let end = match format {
        Format::OpenMetrics => b"# EOF\n".to_vec(),
        _ => Vec::new(),
    };
    let body = Body::new(vec![snapshot], &Shape::new(format), &selection, end);
    String::from_utf8(body.flatten().collect()).unwrap()
}

/// What comes of a text: as we would write it, then what is left out.
fn shown(text: &str, dialect: Dialect, attached: &Labels) -> String {
    match read(text.as_bytes(), dialect, attached, BOUNDS) {
        Err(error) => format!("error: {error}\n"),
        Ok(read) => {
            let mut shown = written(read.families, Format::Text);
            for refused in read.refused {
                let Refused {
                    family,
                    reason,
                    why,
                    series,
                } = refused;
                let reason = reason.as_str();
                let _ = writeln!(shown, "refused: {family} ({series}): {reason}: {why}");
            }
            shown
        }
    }
}

#[track_caller]
fn check(dialect: Dialect, text: &str, want: &str) {
    let got = shown(text, dialect, &Labels::new());
    assert_eq!(got, want, "{text}");
}

#[track_caller]
fn check_error(dialect: Dialect, text: &str, want: &str) {
    let got = shown(text, dialect, &Labels::new());
    assert!(
        got.starts_with("error: ") && got.contains(want),
        "{text:?}: {got}"
    );
}

#[track_caller]
fn check_refused(dialect: Dialect, text: &str, want: &str) {
    let got = shown(text, dialect, &Labels::new());
    assert!(
        got.starts_with("refused: ") && got.contains(want),
        "{text:?}: {got}"
    );
}

#[test]
fn text_of_every_type() {
    let text = r#"# A comment.
#	HELP	a_total	A \\ and \n, and \d "quoted".
# TYPE a_total counter

a_total{b="q\"\\\n",c="",} 18446744073709551615 1395066363000
	a_total{c = "1" , b = "2"}  1.5e3
a_total 0
# TYPE g gauge
g{x="1"}-0.5
g NaN
g{x="2"} +Inf
# TYPE h histogram
h_bucket{le="0.1",x="1"} 1
h_bucket{le="1e+06",x="1"} 2
h_bucket{le="+Inf",x="1"} 3
h_sum{x="1"} 1.5
h_count{x="1"} 3
# TYPE s summary
s{quantile="0.5"} 1
s{quantile="0.999"} NaN
s_sum 10
s_count 3
u:x 1
"#;
    let want = r#"# HELP a_total A \\ and \n, and \\d "quoted".
# TYPE a_total counter
a_total{b="q\"\\\n"} 18446744073709551615
a_total{b="2",c="1"} 1500
a_total 0
# HELP g Not described where it comes from.
# TYPE g gauge
g{x="1"} -0.5
g NaN
g{x="2"} +Inf
# HELP h Not described where it comes from.
# TYPE h histogram
h_bucket{x="1",le="0.1"} 1
h_bucket{x="1",le="1e+06"} 2
h_bucket{x="1",le="+Inf"} 3
h_sum{x="1"} 1.5
h_count{x="1"} 3
# HELP s Not described where it comes from.
# TYPE s summary
s{quantile="0.5"} 1
s{quantile="0.999"} NaN
s_sum 10
s_count 3
# HELP u:x Not described where it comes from.
# TYPE u:x untyped
u:x 1
"#;
    check(Dialect::Text, text, want);
    check(Dialect::Text, "", "");
    check(Dialect::Text, "# TYPE a counter\n", "");
}

#[test]
fn openmetrics_of_every_type() {
    let text = r#"# TYPE a_seconds counter
# UNIT a_seconds seconds
# HELP a_seconds A "quoted\".
a_seconds_total{x="1"} 2.5 1395066363.5 # {trace_id="abc"} 0.5 1395066363
a_seconds_created{x="1"} 1395066363
# TYPE i info
i_info{v="1"} 1
# TYPE state stateset
state{state="on"} 1
state{state="off"} 0
# TYPE h histogram
h_bucket{le="1.0"} 1 # {} 0.5
h_bucket{le="+Inf"} 2
h_count 2
h_sum 3
h_created 1
# TYPE gh gaugehistogram
gh_bucket{le="+Inf"} 2
gh_gcount 2
gh_gsum 3
# TYPE u unknown
u 1
untold 2
# EOF
"#;
    let want = r#"# HELP a_seconds_total A "quoted".
# TYPE a_seconds_total counter
a_seconds_total{x="1"} 2.5
# HELP gh_bucket Not described where it comes from.
# TYPE gh_bucket untyped
gh_bucket{le="+Inf"} 2
# HELP gh_gcount Not described where it comes from.
# TYPE gh_gcount untyped
gh_gcount 2
# HELP gh_gsum Not described where it comes from.
# TYPE gh_gsum untyped
gh_gsum 3
# HELP h Not described where it comes from.
# TYPE h histogram
h_bucket{le="1.0"} 1
h_bucket{le="+Inf"} 2
h_sum 3
h_count 2
# HELP i_info Not described where it comes from.
# TYPE i_info gauge
i_info{v="1"} 1
# HELP state Not described where it comes from.
# TYPE state gauge
state{state="on"} 1
state{state="off"} 0
# HELP u Not described where it comes from.
# TYPE u untyped
u 1
# HELP untold Not described where it comes from.
# TYPE untold untyped
untold 2
"#;
    check(Dialect::OpenMetrics, text, want);
    check(Dialect::OpenMetrics, "# EOF", "");
    let read = read(
        text.as_bytes(),
        Dialect::OpenMetrics,
        &Labels::new(),
        BOUNDS,
    )
    .unwrap();
    let om = written(read.families, Format::OpenMetrics);
    let head = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n";
    assert!(om.starts_with(head), "{om}");
    assert!(om.contains("# TYPE i info\n"), "{om}");
}

#[test]
fn what_is_not_written_as_the_format_says() {
    for (text, want) in [
        ("a 1", "line 1: the last line does not end"),
        ("a 1\nb", "line 2: no space in front of the value"),
        ("a\n", "no space in front of the value"),
        ("a x\n", "'x' is no number"),
        ("a 0x1p3\n", "no number"),
        ("a 1_000\n", "no number"),
        ("a 1e999\n", "no number"),
        ("a 1 1.5\n", "'1.5' is no timestamp"),
        ("a 1 2 3\n", "something follows"),
        ("a 1\r\n", "no number"),
        ("9a 1\n", "no metric name"),
        ("a-b 1\n", "no space in front of the value"),
        ("{\"a.b\"} 1\n", "UTF-8 names"),
        ("a{\"b.c\"=\"1\"} 1\n", "UTF-8 names"),
        ("# TYPE \"a.b\" gauge\n", "UTF-8 names"),
        ("a{b=\"1\" 1\n", "labels that do not end"),
        ("a{b=\"1} 1\n", "does not end"),
        ("a{b=\"1\\\n", "an escape"),
        ("a{b=\"\\t\"} 1\n", "an escape"),
        ("a{b=1} 1\n", "without quotes"),
        ("a{b} 1\n", "a label without a value"),
        ("a{9=\"1\"} 1\n", "a label without a name"),
        ("a{,} 1\n", "a label without a name"),
        ("# TYPE a gauges\n", "'gauges' is no type"),
        ("# TYPE a\n", "nothing follows"),
        ("# TYPE a gauge x\n", "more than one word"),
        ("# TYPE a info\n", "'info' is no type"),
        ("# HELP 9a x\n", "'9a' is no metric name"),
        ("<html>\n", "no metric name"),
        ("a 1\n\0\n", "line 2: no metric name"),
    ] {
        check_error(Dialect::Text, text, want);
    }
    for (text, want) in [
        ("a 1\n", "# EOF, is missing"),
        ("", "# EOF, is missing"),
        ("a 1\n# EOF\nb 1\n", "something follows # EOF"),
        ("a 1\n# EOF\n\n", "something follows # EOF"),
        ("\n# EOF\n", "no metric name"),
        (" a 1\n# EOF\n", "no metric name"),
        ("a  1\n# EOF\n", "no number"),
        ("# A comment.\n# EOF\n", "a comment of another form"),
        ("#EOF\n", "a comment of another form"),
        ("a{b=\"1\",} 1\n# EOF\n", "a label without a name"),
        ("a{b=\"1\"}1\n# EOF\n", "no space"),
        ("a 1 NaN\n# EOF\n", "no timestamp"),
        ("a 1 # {x=\"1\"}\n# EOF\n", "the exemplar has no value"),
        ("a 1 # x\n# EOF\n", "something follows"),
        ("# TYPE a untyped\n# EOF\n", "'untyped' is no type"),
    ] {
        check_error(Dialect::OpenMetrics, text, want);
    }
    let read = read(
        b"a 1\nb{c=\"\xff\"} 1\n",
        Dialect::Text,
        &Labels::new(),
        BOUNDS,
    );
    assert_eq!(read.unwrap_err().to_string(), "line 2: not valid UTF-8");
}

#[test]
fn families_that_contradict_themselves_are_left_out_alone() {
    let text = "# TYPE a counter\na 1\na 2\n# TYPE b gauge\nb 1\n";
    let want = "# HELP b Not described where it comes from.\n# TYPE b gauge\nb 1\nrefused: a (2): invalid: the series {} twice\n";
    check(Dialect::Text, text, want);
    let h = "# TYPE h histogram\n";
    for (text, want) in [
        (
            "a{x=\"1\"} 1\na{x=\"1\",y=\"\"} 1\n",
            "the series {x=\"1\"} twice",
        ),
        ("a{x=\"1\",x=\"2\"} 1\n", "the label 'x' twice"),
        ("a{x=\"\0\"} 1\n", "a NUL in the label 'x'"),
        ("# HELP a \0\na 1\n", "a NUL in its HELP"),
        ("a{__name__=\"b\"} 1\n", "'__name__' is not for expositions"),
        ("# TYPE a gauge\n# TYPE a gauge\na 1\n", "a second TYPE"),
        ("# HELP a x\n# HELP a x\na 1\n", "a second HELP"),
        ("a 1\n# TYPE a gauge\n", "its TYPE comes after samples"),
        ("# TYPE a counter\na -1\n", "a counter below zero"),
        ("# TYPE a counter\na NaN\n", "a counter below zero"),
        (
            &format!("{h}h_bucket{{le=\"1\"}} 1\nh_sum 1\nh_count 1\n"),
            "no bucket +Inf in {}",
        ),
        (&format!("{h}h_sum 1\nh_count 1\n"), "no bucket +Inf in {}"),
        (
            &format!("{h}h_bucket{{le=\"x\"}} 1\n"),
            "le=\"x\" is no number",
        ),
        (
            &format!("{h}h_bucket{{le=\"NaN\"}} 1\n"),
            "le=\"NaN\" is no number",
        ),
        (&format!("{h}h_bucket 1\n"), "without the label 'le'"),
        (
            &format!("{h}h 1\n"),
            "a sample of a name that its type does not have",
        ),
        (
            &format!("{h}h_sum{{le=\"1\"}} 1\n"),
            "a sum or count with the label 'le'",
        ),
        (
            &format!("{h}h_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\nh_sum 1\nh_count 1\n"),
            "buckets that fall",
        ),
        (
            &format!(
                "{h}h_bucket{{le=\"1\"}} 1\nh_bucket{{le=\"1.0\"}} 1\nh_bucket{{le=\"+Inf\"}} 1\n"
            ),
            "a le of {} twice",
        ),
        (
            &format!("{h}h_bucket{{le=\"-Inf\"}} 1\nh_bucket{{le=\"+Inf\"}} 1\n"),
            "a bucket -Inf",
        ),
        (
            &format!("{h}h_bucket{{le=\"+Inf\"}} -1\n"),
            "a bucket below zero",
        ),
        (
            &format!("{h}h_bucket{{le=\"+Inf\"}} 1\nh_count 2\n"),
            "a count that is not",
        ),
        (
            &format!("{h}h_bucket{{le=\"+Inf\"}} 1\nh_sum 2\nh_sum 2\n"),
            "the _sum of {} twice",
        ),
        (
            "# TYPE s summary\ns{quantile=\"2\"} 1\ns_sum 1\ns_count 1\n",
            "between 0 and 1",
        ),
        (
            "# TYPE s summary\ns 1\ns_sum 1\ns_count 1\n",
            "without the label 'quantile'",
        ),
    ] {
        check_refused(Dialect::Text, text, want);
    }
    for (text, want) in [
        (
            "# TYPE a gauge\na 1\nb 1\na{x=\"1\"} 1\n# EOF\n",
            "its lines are in two places",
        ),
        ("# TYPE a info\na_info 2\n# EOF\n", "an info that is not 1"),
        (
            "# TYPE a stateset\na{a=\"x\"} 2\n# EOF\n",
            "neither 0 nor 1",
        ),
        ("# TYPE a counter\na 2\n# EOF\n", "a sample of a name"),
        (
            "# TYPE a gauge\n# UNIT a seconds\na 2\n# EOF\n",
            "does not end with its unit",
        ),
    ] {
        let got = shown(text, Dialect::OpenMetrics, &Labels::new());
        assert!(
            got.contains("refused: a (") && got.contains(want),
            "{text}: {got}"
        );
    }
}

#[test]
fn a_name_belongs_to_one_family() {
    check(
        Dialect::Text,
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n# TYPE h_count gauge\nh_count{a=\"b\"} 1\n",
        "# HELP h Not described where it comes from.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n\
         refused: h_count (1): conflict: 'h' before it has samples of that name\n",
    );
}

#[test]
fn a_histogram_without_sum_or_count_is_numbers() {
    let bucket = "# HELP h_bucket Not described where it comes from.\n# TYPE h_bucket untyped\nh_bucket{le=\"+Inf\"} 1\n";
    for more in ["", "h_sum 2\n", "h_count 1\n"] {
        let text = format!("# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} 1\n{more}");
        let got = shown(&text, Dialect::Text, &Labels::new());
        assert!(got.starts_with(bucket), "{got}");
        assert!(got.ends_with(more) && !got.contains("refused"), "{got}");
    }
}

#[test]
fn what_no_form_of_ours_holds_comes_without_a_type() {
    let text = "# TYPE s summary\ns{quantile=\"0.5\"} 1\n# TYPE h histogram\n\
                h_bucket{le=\"+Inf\"} 1.5\nh_count 1.5\n";
    let want = "# HELP h_bucket Not described where it comes from.\n# TYPE h_bucket untyped\nh_bucket{le=\"+Inf\"} 1.5\n\
                # HELP h_count Not described where it comes from.\n# TYPE h_count untyped\nh_count 1.5\n\
                # HELP s Not described where it comes from.\n# TYPE s untyped\ns{quantile=\"0.5\"} 1\n";
    check(Dialect::Text, text, want);
}

#[test]
fn limits_leave_out_whole_families() {
    let mut text = String::from("a 1\n");
    for at in 0..1000 {
        let _ = writeln!(text, "b{{x=\"{at}\"}} 1");
    }
    let _ = writeln!(text, "c 1\nd{{x=\"{}\"}} 1", "x".repeat(101));
    text += "e{a=\"1\",b=\"1\",c=\"1\",d=\"1\",e=\"1\",f=\"1\"} 1\n";
    let read = read(text.as_bytes(), Dialect::Text, &Labels::new(), BOUNDS).unwrap();
    let names: Vec<_> = read.families.iter().map(|family| &family.name).collect();
    assert_eq!(names, ["a", "c"]);
    let mut refused: Vec<_> = read
        .refused
        .iter()
        .map(|one| (one.family.as_str(), one.reason, one.series))
        .collect();
    refused.sort();
    let limit = DropReason::Limit;
    assert_eq!(
        refused,
        [("b", limit, 1000), ("d", limit, 1), ("e", limit, 1)]
    );
}

#[test]
fn labels_are_attached_as_prometheus_does() {
    let attached = labels(&[("source", "app"), ("zone", "eu")]);
    let text = "a{source=\"x\",exported_source=\"y\",zone=\"\",b=\"1\"} 1\n";
    let want = "# HELP a Not described where it comes from.\n# TYPE a untyped\na{b=\"1\",exported_exported_source=\"x\",\
                exported_source=\"y\",source=\"app\",zone=\"eu\"} 1\n";
    assert_eq!(shown(text, Dialect::Text, &attached), want);
}

#[test]
fn content_types() {
    let text = Ok(Dialect::Text);
    let om = Ok(Dialect::OpenMetrics);
    for (content_type, want) in [
        (
            "text/plain; version=0.0.4; charset=utf-8; escaping=values",
            text,
        ),
        ("text/plain", text),
        ("TEXT/PLAIN;Version=\"0.0.4\"", text),
        (
            "application/openmetrics-text; version=1.0.0; charset=UTF-8",
            om,
        ),
        ("text/plain; version=0.0.3", Err("version '0.0.3'")),
        (
            "application/openmetrics-text; version=2.0.0",
            Err("version '2.0.0'"),
        ),
        ("text/plain; charset=latin-1", Err("charset 'latin-1'")),
        ("text/html", Err("'text/html' is no exposition")),
        ("application/json", Err("no exposition")),
        ("", Err("no exposition")),
    ] {
        match (Dialect::of_content_type(content_type), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{content_type}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "{content_type}: {got}"),
            (got, want) => panic!("{content_type}: {got:?}, not {want:?}"),
        }
    }
}

/// Families as others could have them: what is written of them is read back the same.
fn families() -> impl Strategy<Value = Vec<MadeFamily>> {
    use crate::snapshot::{Amount, Distribution, MadeSeries};
    let value = prop_oneof![
        any::<u64>().prop_map(Amount::Whole),
        (0_u64..10).prop_map(Amount::Whole),
        prop::num::f64::ANY
            .prop_filter("whole ones are told otherwise", |value| value.fract()
                != 0.0)
            .prop_map(|value| Amount::Double(if value.is_nan() { f64::NAN } else { value })),
    ];
    let block =
        prop::collection::btree_map("[a-df-k][a-z0-9_]{0,3}", "\\PC{1,8}|[\"\\\\\n]{1,3}", 0..3)
            .prop_map(|pairs| {
                let mut labels = Labels::new();
                for (name, value) in pairs {
                    labels.set(name, value);
                }
                labels.to_block()
            });
    let numbers = prop::collection::btree_map(block.clone(), value, 1..4)
        .prop_map(|series| MadeSeries::Numbers(series.into_iter().collect()));
    let distribution = (
        prop::collection::btree_map(-50_i32..50, 0_u64..100, 0..4),
        prop::num::f64::NORMAL,
        0_u64..100,
    )
        .prop_map(|(steps, sum, more)| {
            let mut count = 0;
            let buckets = steps.into_iter().map(|(bound, samples)| {
                count += samples;
                (f64::from(bound), bound.to_string().into(), count)
            });
            let buckets = buckets.collect();
            Distribution {
                count: count + more,
                sum,
                buckets,
                percentiles: Vec::new(),
            }
        });
    let distributions = prop::collection::btree_map(block, distribution, 1..3)
        .prop_map(|series| MadeSeries::Distributions(series.into_iter().collect()));
    let family = prop_oneof![
        (Just(FamilyType::Gauge), numbers.clone()),
        (Just(FamilyType::Unknown), numbers),
        (Just(FamilyType::Histogram), distributions),
    ];
    prop::collection::btree_map("[a-z]{1,4}", (family, "[a-z][ -~]{0,9}"), 0..5).prop_map(
        |families| {
            let made = families
                .into_iter()
                .map(|(name, ((family_type, series), help))| MadeFamily {
                    name,
                    family_type,
                    help,
                    unit: None,
                    series,
                });
            made.collect()
        },
    )
}

proptest! {
    #[test]
    fn what_we_write_is_read_back(families in families()) {
        for (format, dialect) in [
            (Format::Text, Dialect::Text),
            (Format::OpenMetrics, Dialect::OpenMetrics),
        ] {
            let first = written(families.clone(), format);
            let read = read(first.as_bytes(), dialect, &Labels::new(), BOUNDS);
            let read = read.map_err(|error| TestCaseError::fail(format!("{error}\n{first}")))?;
            prop_assert_eq!(&read.refused, &[], "{}", first);
            let again = written(read.families, format);
            prop_assert_eq!(again, first);
        }
    }

    #[test]
    fn nothing_makes_it_panic(text in "[#{}=\"\\\\ \nA-Za-z_0-9.,]{0,80}") {
        for dialect in [Dialect::Text, Dialect::OpenMetrics] {
            if let Ok(read) = read(text.as_bytes(), dialect, &labels(&[("a", "1")]), BOUNDS) {
                drop(written(read.families, Format::OpenMetrics));
            }
        }
    }
}
