use proptest::prelude::*;

use super::header::{MAX_ALTERNATIVES, MAX_BYTES};
use super::*;

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";
const PROTOBUF: &str = "application/vnd.google.protobuf;\
    proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// The answer as the documentation says it.
fn said(answer: Answer) -> String {
    let format = match answer.format {
        Format::Text => "text 0.0.4",
        Format::OpenMetrics => "OpenMetrics 1.0.0",
        Format::OpenMetricsDraft => "OpenMetrics 0.0.1",
        Format::Protobuf => "protobuf",
    };
    let escaping = answer.content_type().split_once("; escaping=");
    let escaping = escaping.map(|(_, escaping)| format!(", escaping={escaping}"));
    let encoding = answer.encoding.content_encoding();
    let encoding = encoding.map(|encoding| format!(", {encoding}"));
    [Some(format.to_owned()), escaping, encoding]
        .into_iter()
        .flatten()
        .collect()
}

#[track_caller]
fn check(case: &str, accept: &[&[u8]], accept_encoding: &[&[u8]], want: &str) {
    let answer = negotiate(accept.iter().copied(), accept_encoding.iter().copied());
    let asked = (
        accept.iter().map(|line| String::from_utf8_lossy(line)),
        accept_encoding
            .iter()
            .map(|line| String::from_utf8_lossy(line)),
    );
    let asked = (asked.0.collect::<Vec<_>>(), asked.1.collect::<Vec<_>>());
    assert_eq!(said(answer), want, "{case}: {asked:?}");
}

#[track_caller]
fn format_of(accept: &str, want: &str) {
    check("format", &[accept.as_bytes()], &[], want);
}

#[track_caller]
fn encoding_of(accept_encoding: &str, want: &str) {
    let want = format!("text 0.0.4{want}");
    check("encoding", &[], &[accept_encoding.as_bytes()], &want);
}

/// The tables of the documentation: what clients send, and how the choice is made.
#[test]
fn the_documented_answers() {
    let mut rows = 0;
    let page = include_str!("../../docs/formats.md");
    let (_, tables) = page.split_once("## What clients send").unwrap();
    for line in tables.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [case, accept, accept_encoding, answered] = cells[..] else {
            continue;
        };
        if accept == "Accept" {
            continue;
        }
        let header = |cell: &'static str| -> Vec<&'static [u8]> {
            let value = cell
                .strip_prefix('`')
                .and_then(|cell| cell.strip_suffix('`'));
            assert!(value.is_some() || cell == "-", "{line}");
            value.map(str::as_bytes).into_iter().collect()
        };
        check(
            case,
            &header(accept),
            &header(accept_encoding),
            answered.trim_end_matches(" |"),
        );
        rows += 1;
    }
    assert!(rows >= 50, "the tables are found: {rows}");
}

#[test]
fn content_types_are_documented() {
    let page = include_str!("../../docs/formats.md");
    for format in Format::PREFERENCE {
        assert!(page.contains(&format!("`{}`", format.content_type(None))));
    }
    let answer = Answer {
        format: Format::Protobuf,
        escaping: Some(Escaping::Values),
        encoding: Encoding::Zstd,
    };
    assert_eq!(
        answer.content_type(),
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
         encoding=delimited; escaping=values"
    );
    assert_eq!(VARY, "Accept, Accept-Encoding");
}

#[test]
fn ranges_of_formats() {
    for (accept, want) in [
        ("", "text 0.0.4"),
        (",, ,", "text 0.0.4"),
        ("text/*", "text 0.0.4"),
        ("application/*", "OpenMetrics 1.0.0"),
        ("application/*,text/*", "text 0.0.4"),
        ("application/*,text/*;q=0.9", "OpenMetrics 1.0.0"),
        ("*/*;q=0.1,application/*;q=0.2", "OpenMetrics 1.0.0"),
        // A wildcard of a higher weight is a stronger wish than a name.
        ("*/*,application/openmetrics-text;q=0.5", "text 0.0.4"),
        ("application/openmetrics-text,*/*", "OpenMetrics 1.0.0"),
        ("text/plain,application/openmetrics-text", "text 0.0.4"),
        (
            "application/openmetrics-text;version=0.0.1,*/*;q=0.1",
            "OpenMetrics 0.0.1",
        ),
        (
            "application/openmetrics-text;version=0.0.1,application/openmetrics-text;version=1.0.0",
            "OpenMetrics 0.0.1",
        ),
        (
            "application/openmetrics-text;version=1.0.0;q=0,application/openmetrics-text",
            "OpenMetrics 0.0.1",
        ),
        ("application/openmetrics-text;version=1.0", "text 0.0.4"),
        ("application/openmetrics-text;q=0,*/*", "text 0.0.4"),
        ("application/openmetrics-text;q=0,application/*", "protobuf"),
        (
            "application/openmetrics-text;q=0,text/plain;q=0,*/*;q=0.1",
            "protobuf",
        ),
        // Whoever refuses text 1.0.0 does not refuse 0.0.4.
        (
            "text/plain;version=1.0.0;q=0,text/plain;q=0.2,application/*;q=0.1",
            "text 0.0.4",
        ),
        (
            "text/plain;version=0.0.4;q=0,text/plain,application/*;q=0.1",
            "OpenMetrics 1.0.0",
        ),
        (
            "text/plain;version=1.0.0,application/*;q=0.1",
            "OpenMetrics 1.0.0",
        ),
        ("text/plain;charset=iso-8859-1", "text 0.0.4"),
        ("text/html,application/*;q=0.1", "OpenMetrics 1.0.0"),
        ("text,application,*/plain,/,//,text/", "text 0.0.4"),
        (
            "text/plain/x,application/openmetrics-text;q=0.1",
            "OpenMetrics 1.0.0",
        ),
    ] {
        format_of(accept, want);
    }
}

#[test]
fn ranges_of_protobuf() {
    for (accept, want) in [
        (PROTOBUF, "protobuf"),
        ("application/vnd.google.protobuf", "text 0.0.4"),
        (
            "application/vnd.google.protobuf;encoding=delimited",
            "text 0.0.4",
        ),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=compact-text",
            "text 0.0.4",
        ),
        (
            "application/vnd.google.protobuf;proto=other.Message;encoding=delimited",
            "text 0.0.4",
        ),
        (
            "application/vnd.google.protobuf; encoding=\"delimited\"; \
             proto=\"io.prometheus.client.MetricFamily\"",
            "protobuf",
        ),
        // Refused without its parameters it is refused as a whole; another message is not ours.
        (
            "text/*;q=0,application/openmetrics-text;q=0,application/vnd.google.protobuf;q=0,*/*",
            "text 0.0.4",
        ),
        (
            "text/*;q=0,application/openmetrics-text;q=0,\
             application/vnd.google.protobuf;proto=other.Message;q=0,*/*",
            "protobuf",
        ),
    ] {
        format_of(accept, want);
    }
}

#[test]
fn escaping_is_that_of_the_chosen_alternative() {
    for (accept, want) in [
        ("text/plain;escaping=values", "text 0.0.4, escaping=values"),
        (
            "text/plain;version=0.0.4; escaping=allow-utf-8;",
            "text 0.0.4, escaping=allow-utf-8",
        ),
        (
            "text/plain;escaping=dots",
            "text 0.0.4, escaping=underscores",
        ),
        (
            "text/plain;escaping=\"underscores\"",
            "text 0.0.4, escaping=underscores",
        ),
        ("text/plain;escaping=rot13", "text 0.0.4"),
        ("text/plain;escaping=", "text 0.0.4"),
        ("*/*;escaping=values", "text 0.0.4, escaping=values"),
        ("application/json;escaping=values", "text 0.0.4"),
        (
            "application/json;escaping=values,text/plain;q=0.5",
            "text 0.0.4",
        ),
        (
            "application/openmetrics-text;version=0.0.1;escaping=underscores",
            "OpenMetrics 0.0.1, escaping=underscores",
        ),
    ] {
        format_of(accept, want);
    }
}

#[test]
fn codings() {
    for (accept_encoding, want) in [
        ("", ""),
        ("gzip", ", gzip"),
        ("x-gzip", ", gzip"),
        ("X-GZip;q=0.001", ", gzip"),
        ("gzip;q=0", ""),
        ("gzip;q=0,x-gzip;q=0.5", ", gzip"),
        ("gzip;q=0.0", ""),
        ("gzip;q=0.000", ""),
        ("gzip;q=0.0001", ", gzip"),
        ("gzip;q=1.", ", gzip"),
        ("gzip;q=1.001", ""),
        ("gzip;q=-1", ""),
        ("gzip;q=x", ""),
        ("gzip;q=", ""),
        ("gzip;q=.", ""),
        ("gzip;q=+1", ""),
        ("gzip;q=1e0", ""),
        ("gzip;q=NaN", ""),
        ("gzip;q=0.1.2", ""),
        ("gzip;q=\"0.5\"", ", gzip"),
        ("gzip;level=9", ", gzip"),
        ("gzip zstd", ""),
        ("gzipped, zstandard", ""),
        ("zstd,gzip", ", zstd"),
        ("gzip;q=1.0, zstd;q=0.9", ", gzip"),
        ("*", ", zstd"),
        ("*;q=0", ""),
        ("*;q=0,zstd;q=0.1", ", zstd"),
        ("zstd;q=0,*;q=0.1", ", gzip"),
        ("zstd;q=0,gzip;q=0,*", ""),
        ("identity", ""),
        ("identity,*;q=0.5", ""),
        ("identity;q=0.5,gzip;q=0.4", ""),
        ("identity;q=0.5,gzip;q=0.5", ", gzip"),
        ("identity;q=0", ""),
        ("identity;q=0,gzip", ", gzip"),
        ("identity;q=0,br", ""),
        ("identity;q=0,*;q=0", ""),
        ("br,deflate,compress", ""),
        ("br;q=1,gzip;q=0.1,*;q=0", ", gzip"),
    ] {
        encoding_of(accept_encoding, want);
    }
}

/// Alternatives that cannot be read do not take others with them, but for an open quote.
#[test]
fn broken_alternatives() {
    for (accept, want) in [
        (
            "te xt/plain,application/openmetrics-text;q=0.1",
            "OpenMetrics 1.0.0",
        ),
        (
            "text/plain;q=2,application/openmetrics-text;q=0.1",
            "OpenMetrics 1.0.0",
        ),
        (
            "text/plain;x=\"y\"z,application/openmetrics-text;q=0.1",
            "OpenMetrics 1.0.0",
        ),
        (
            "text/plain;x=\"a,b;q=0\";q=0,application/*;q=0.1",
            "OpenMetrics 1.0.0",
        ),
        (
            "application/*;x=\"\\\",text/plain;q=0\"",
            "OpenMetrics 1.0.0",
        ),
        ("a/b;x=\"open,application/openmetrics-text", "text 0.0.4"),
        ("a/b;x=\"open\\", "text 0.0.4"),
        ("application/*;;x;=;x=;q=0.5;", "OpenMetrics 1.0.0"),
        ("application/* ;\tq = 0.5\t,", "OpenMetrics 1.0.0"),
        ("application/*;q=0;q=1", "text 0.0.4"),
        ("application/*;q=1;q=0", "OpenMetrics 1.0.0"),
        ("text/plain\u{a0},application/*;q=0.1", "OpenMetrics 1.0.0"),
    ] {
        format_of(accept, want);
    }
    check(
        "bytes that are no text",
        &[b"\xff\xfe/\x80;q=0.\xb2,application/*;q=0.1", b"\0"],
        &[b"\xf0\x28\x8c, gzip"],
        "OpenMetrics 1.0.0, gzip",
    );
}

#[test]
fn several_lines_are_one_list() {
    check(
        "the highest weight is on the last line",
        &[b"text/plain;q=0.5", b"", b"application/openmetrics-text"],
        &[b"gzip;q=0.5", b"zstd;q=0.4"],
        "OpenMetrics 1.0.0, gzip",
    );
    check(
        "order goes on from line to line",
        &[OPENMETRICS.as_bytes(), b"text/plain"],
        &[b"*", b"zstd;q=0"],
        "OpenMetrics 1.0.0, gzip",
    );
}

#[test]
fn what_is_read_is_bounded() {
    let many = |count: usize| format!("{}gzip", "br,".repeat(count - 1));
    encoding_of(&many(MAX_ALTERNATIVES), ", gzip");
    encoding_of(&many(MAX_ALTERNATIVES + 1), "");

    let long = |bytes: usize| format!("zstd;x={},gzip", "x".repeat(bytes - "zstd;x=,gzip".len()));
    encoding_of(&long(MAX_BYTES), ", zstd");
    // What is cut goes as a whole, the rest stays.
    let cut = format!("gzip,zstd;x={}", "x".repeat(MAX_BYTES));
    encoding_of(&cut, ", gzip");
    let excluded = format!("zstd;x={};q=0", "x".repeat(MAX_BYTES));
    encoding_of(&excluded, "");

    let half = "x".repeat(MAX_BYTES / 2);
    check(
        "the bound is that of all lines",
        &[],
        &[half.as_bytes(), half.as_bytes(), b"gzip"],
        "text 0.0.4",
    );
    let one_less = "x".repeat(MAX_BYTES / 2 - 4);
    check(
        "the last line just fits",
        &[],
        &[half.as_bytes(), one_less.as_bytes(), b"gzip"],
        "text 0.0.4, gzip",
    );
}

/// A part of a list, with its weight in thousandths.
#[derive(Clone, Debug)]
struct Part {
    name: &'static str,
    weight: u16,
}

impl Part {
    fn any(names: &'static [&'static str]) -> impl Strategy<Value = Vec<Self>> {
        let weight = prop_oneof![Just(0), Just(1), Just(500), Just(1000)];
        let part =
            (prop::sample::select(names), weight).prop_map(|(name, weight)| Self { name, weight });
        prop::collection::vec(part, 0..7)
    }

    fn line(parts: &[Self]) -> String {
        let texts = parts.iter().map(|Self { name, weight }| {
            format!("{name};q={}.{:03}", weight / 1000, weight % 1000)
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// The highest weight among the given names, from the closest to the widest.
    fn weight(parts: &[Self], closest_first: &[&[&str]]) -> Option<u16> {
        closest_first.iter().find_map(|names| {
            let named = parts.iter().filter(|part| names.contains(&part.name));
            named.map(|part| part.weight).max()
        })
    }
}

const RANGES: &[&str] = &[
    "*/*",
    "text/*",
    "application/*",
    "text/plain",
    "text/plain;version=0.0.4",
    "text/plain;version=1.0.0",
    "application/openmetrics-text",
    "application/openmetrics-text;version=0.0.1",
    OPENMETRICS,
    PROTOBUF,
    "application/json",
];

/// What the RFC has to say on a format, written down for the ranges above.
fn weight_of_format(parts: &[Part], format: Format) -> Option<u16> {
    let (text, application) = (&["text/*"][..], &["application/*"][..]);
    let open = &["application/openmetrics-text"][..];
    let any = &["*/*"][..];
    match format {
        Format::Text => {
            let exact = &["text/plain;version=0.0.4"][..];
            Part::weight(parts, &[exact, &["text/plain"], text, any])
        }
        Format::OpenMetrics => Part::weight(parts, &[&[OPENMETRICS], open, application, any]),
        Format::OpenMetricsDraft => {
            let exact = &["application/openmetrics-text;version=0.0.1"][..];
            Part::weight(parts, &[exact, open, application, any])
        }
        Format::Protobuf => Part::weight(parts, &[&[PROTOBUF], application, any]),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(
        accept in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4),
        codings in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4),
    ) {
        let answer = negotiate(
            accept.iter().map(Vec::as_slice),
            codings.iter().map(Vec::as_slice),
        );
        prop_assert!(answer.content_type().contains("; "));
    }

    /// As above, of bytes that mean something to the grammar.
    #[test]
    fn any_punctuation_is_answered(
        accept in "(text/plain|application/\\*|\\*|gzip|q=|[01.]|escaping=|[\",;=\\\\ \t/]){0,40}",
    ) {
        let answer = negotiate([accept.as_bytes()], [accept.as_bytes()]);
        prop_assert!(answer.content_type().contains("; "));
    }

    #[test]
    fn the_answer_has_the_highest_weight(
        ranges in Part::any(RANGES),
        codings in Part::any(&["gzip", "x-gzip", "zstd", "identity", "*", "br"]),
    ) {
        let (accept, accept_encoding) = (Part::line(&ranges), Part::line(&codings));
        let answer = negotiate([accept.as_bytes()], [accept_encoding.as_bytes()]);

        let weights = Format::PREFERENCE.map(|format| weight_of_format(&ranges, format).unwrap_or(0));
        let best = weights.into_iter().max().unwrap();
        let got = weight_of_format(&ranges, answer.format).unwrap_or(0);
        prop_assert_eq!(got, best, "{}", accept);
        prop_assert!(best > 0 || answer.format == Format::Text, "{}", accept);

        let weight = |encoding| {
            let names: &[&str] = match encoding {
                Encoding::Identity => &["identity"],
                Encoding::Gzip => &["gzip", "x-gzip"],
                Encoding::Zstd => &["zstd"],
            };
            Part::weight(&codings, &[names, &["*"]]).unwrap_or(0)
        };
        let best = Encoding::PREFERENCE.into_iter().map(weight).max().unwrap();
        prop_assert_eq!(weight(answer.encoding), best, "{}", accept_encoding);
        prop_assert!(best > 0 || answer.encoding == Encoding::Identity, "{}", accept_encoding);
    }

    #[test]
    fn case_spaces_and_lines_do_not_matter(ranges in Part::any(RANGES)) {
        let plain = Part::line(&ranges);
        let spaced = plain.replace(',', " \t,,").replace(';', " ; ");
        let lines: Vec<&str> = plain.split(',').collect();
        let want = negotiate([plain.as_bytes()], []);
        prop_assert_eq!(negotiate([spaced.as_bytes()], []), want);
        prop_assert_eq!(negotiate(lines.into_iter().map(str::as_bytes), []), want);
        let cased = plain.replace("text", "TEXT").replace("version", "Version").replace("q=", "Q=");
        prop_assert_eq!(negotiate([cased.as_bytes()], []), want);
    }
}
