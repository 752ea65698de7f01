//! Reads `OpenMetrics` 1.0.0 strictly, from its specification alone: it shares no code with the
//! writer that it checks.

use std::collections::{BTreeMap, BTreeSet};

use super::prom::{Series, series};

/// A family as a reader sees it.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: Option<String>,
    pub unit: Option<String>,
    /// Sample name and labels, and the value as written.
    pub samples: BTreeMap<Series, String>,
}

/// Every sample with its value as the bits of a double.
pub fn samples(families: &BTreeMap<String, Family>) -> BTreeMap<Series, u64> {
    let samples = families.values().flat_map(|family| &family.samples);
    let samples =
        samples.map(|((name, labels), value)| (series(name, labels), number(value).to_bits()));
    samples.collect()
}

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total", "_created"],
        "histogram" => &["_bucket", "_sum", "_count", "_created"],
        "summary" => &["", "_sum", "_count", "_created"],
        "info" => &["_info"],
        "gauge" | "unknown" => &[""],
        other => panic!("type {other}"),
    }
}

/// Every family by name; panics with the line at anything that the format forbids.
pub fn read(text: &str) -> BTreeMap<String, Family> {
    let lines = text.strip_suffix("# EOF\n").expect("# EOF ends it");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in lines.split_terminator('\n') {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut parts = rest.splitn(3, ' ');
            let (kind, name, rest) = (
                parts.next().unwrap(),
                parts.next().expect(line),
                parts.next().expect(line),
            );
            if name != current {
                assert!(!families.contains_key(name), "in two places: {line}");
                name.clone_into(&mut current);
                families.insert(current.clone(), Family::default());
            }
            let family = families.get_mut(name).unwrap();
            assert!(family.samples.is_empty(), "after samples: {line}");
            match kind {
                "TYPE" => {
                    assert!(family.kind.is_empty(), "second: {line}");
                    rest.clone_into(&mut family.kind);
                }
                "HELP" => {
                    let before = family.help.replace(unescape(rest));
                    assert!(before.is_none(), "second: {line}");
                }
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{rest}")), "{line}");
                    let before = family.unit.replace(rest.to_owned());
                    assert!(before.is_none(), "second: {line}");
                }
                _ => panic!("{line}"),
            }
        } else {
            let family = families.get_mut(&current).expect(line);
            let (name, labels, value) = sample(line);
            let suffix = name.strip_prefix(&current).expect(line);
            assert!(suffixes(&family.kind).contains(&suffix), "{line}");
            check_value(&family.kind, suffix, number(&value), line);
            assert_eq!(
                suffix == "_bucket",
                family.kind == "histogram" && labels.contains_key("le")
            );
            let before = family.samples.insert((name, labels), value);
            assert!(before.is_none(), "a series twice: {line}");
        }
    }
    let mut names = BTreeSet::new();
    for (name, family) in &families {
        assert!(
            !family.kind.is_empty() && !family.samples.is_empty(),
            "{name}"
        );
        assert!(family.kind != "info" || family.unit.is_none(), "{name}");
        let own = suffixes(&family.kind).iter();
        let own = own.map(|suffix| format!("{name}{suffix}"));
        for taken in own.chain([name.clone()]).collect::<BTreeSet<_>>() {
            assert!(names.insert(taken.clone()), "{taken} of {name} is taken");
        }
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    families
}

fn check_value(kind: &str, suffix: &str, value: f64, line: &str) {
    let counts = ["_total", "_bucket", "_count"].contains(&suffix);
    assert!(!counts || value >= 0.0, "{line}");
    assert!(suffix != "_sum" || !value.is_nan(), "{line}");
    assert!(kind != "info" || value == 1.0, "{line}");
}

fn check_histogram(name: &str, family: &Family) {
    let mut groups: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for ((sample, labels), value) in &family.samples {
        if sample.ends_with("_bucket") {
            let mut labels = labels.clone();
            let bound = number(&labels.remove("le").unwrap());
            let group = groups.entry(labels).or_default();
            group.push((bound, number(value)));
        }
    }
    for (labels, mut buckets) in groups {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name}{labels:?}");
        let part = |suffix: &str| {
            let key = (format!("{name}{suffix}"), labels.clone());
            number(&family.samples[&key])
        };
        let (bound, count) = *buckets.last().unwrap();
        assert_eq!((bound, count), (f64::INFINITY, part("_count")), "{name}");
        assert!(buckets[0].0 >= 0.0 && !part("_sum").is_nan(), "{name}");
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, String) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    let mut rest = rest.chars();
    let mut next = rest.next();
    if next == Some('{') {
        loop {
            let label: String = rest.by_ref().take_while(|c| *c != '=').collect();
            assert_eq!(rest.next(), Some('"'), "{line}");
            let mut value = String::new();
            loop {
                match rest.next().expect(line) {
                    '"' => break,
                    '\\' => value.push(escaped(rest.next())),
                    other => value.push(other),
                }
            }
            assert!(
                labels.insert(label, value).is_none(),
                "a label twice: {line}"
            );
            match rest.next() {
                Some(',') => {}
                Some('}') => break,
                other => panic!("{other:?}: {line}"),
            }
        }
        next = rest.next();
    }
    assert_eq!(next, Some(' '), "{line}");
    (name.to_owned(), labels, rest.as_str().to_owned())
}

fn escaped(character: Option<char>) -> char {
    match character {
        Some('n') => '\n',
        Some(same @ ('"' | '\\')) => same,
        other => panic!("an escape {other:?}"),
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\\' => escaped(characters.next()),
            '"' => panic!("a bare quote in {text}"),
            other => other,
        });
    }
    out
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => {
            assert!(
                number.starts_with(|c: char| c.is_ascii_digit() || c == '-'),
                "{number}"
            );
            number.parse().expect(number)
        }
    }
}
