//! Reads the text format 0.0.4 strictly, from its specification alone: it shares no code with the
//! writer that it checks.

use std::collections::BTreeMap;

/// A family as a reader sees it.
#[derive(Debug, Default, PartialEq)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Sample name and labels, and the value as written.
    pub samples: BTreeMap<(String, BTreeMap<String, String>), String>,
}

impl Family {
    /// The value of a sample, with its labels written as `a=x,b=y`.
    pub fn value(&self, name: &str, labels: &str) -> Option<&str> {
        let labels = labels
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        self.samples
            .get(&(name.to_owned(), labels))
            .map(String::as_str)
    }
}

/// Name and labels of a sample, bounds as the number that they are.
pub type Series = (String, BTreeMap<String, String>);

/// The same with bounds as one text for each number.
pub fn series(name: &str, labels: &BTreeMap<String, String>) -> Series {
    let mut labels = labels.clone();
    if let Some(le) = labels.get_mut("le").filter(|le| is_number(le)) {
        *le = format!("{:e}", parse_value(le));
    }
    (name.to_owned(), labels)
}

/// Every sample with its value as the bits of a double.
pub fn samples(families: &BTreeMap<String, Family>) -> BTreeMap<Series, u64> {
    let samples = families.values().flat_map(|family| &family.samples);
    let samples =
        samples.map(|((name, labels), value)| (series(name, labels), parse_value(value).to_bits()));
    samples.collect()
}

/// The same without a look at families: histograms need not be whole.
pub fn samples_of_lines(text: &str) -> BTreeMap<Series, u64> {
    let mut found = BTreeMap::new();
    let lines = text.split_terminator('\n');
    for line in lines.filter(|line| !line.starts_with('#')) {
        let (name, labels, value) = sample(line);
        let before = found.insert(series(&name, &labels), parse_value(&value).to_bits());
        assert!(before.is_none(), "a series twice: {line}");
    }
    found
}

fn is_number(text: &str) -> bool {
    matches!(text, "+Inf" | "-Inf" | "NaN") || text.parse::<f64>().is_ok()
}

/// Every family by name; panics with the line at anything that the format forbids, and at a
/// histogram that is not whole.
pub fn read(text: &str) -> BTreeMap<String, Family> {
    let families = read_parts(text);
    for (name, family) in &families {
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    families
}

/// The same, where relabeling may have taken parts of histograms.
pub fn read_parts(text: &str) -> BTreeMap<String, Family> {
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line ends"
    );
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.split_terminator('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            assert!(!families.contains_key(name), "second HELP: {line}");
            current = name.to_owned();
            families.entry(current.clone()).or_default().help = unescape(help, false);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            let kinds = ["counter", "gauge", "histogram", "summary", "untyped"];
            assert!(kinds.contains(&kind), "{line}");
            let family = families.entry(name.to_owned()).or_default();
            assert!(
                family.kind.is_empty() && family.samples.is_empty(),
                "late TYPE: {line}"
            );
            family.kind = kind.to_owned();
            current = name.to_owned();
        } else if !line.is_empty() && !line.starts_with('#') {
            let (name, labels, value) = sample(line);
            let family = families
                .get_mut(&current)
                .unwrap_or_else(|| panic!("no family: {line}"));
            assert!(
                belongs(&name, &current, &family.kind),
                "another family's: {line}"
            );
            parse_value(&value);
            let before = family.samples.insert((name, labels), value);
            assert!(before.is_none(), "a series twice: {line}");
        }
    }
    for (name, family) in &families {
        assert!(is_name(name, true), "{name}");
        assert!(!family.samples.is_empty(), "{name} has no samples");
    }
    families
}

fn belongs(sample: &str, family: &str, kind: &str) -> bool {
    if kind == "histogram" {
        let suffix = sample.strip_prefix(family);
        matches!(suffix, Some("_bucket" | "_sum" | "_count"))
    } else if kind == "summary" {
        let suffix = sample.strip_prefix(family);
        matches!(suffix, Some("" | "_sum" | "_count"))
    } else {
        sample == family
    }
}

fn check_histogram(name: &str, family: &Family) {
    type Buckets = Vec<(f64, f64)>;
    let mut series: BTreeMap<BTreeMap<String, String>, Buckets> = BTreeMap::new();
    for ((sample, labels), value) in &family.samples {
        let mut labels = labels.clone();
        if sample.ends_with("_bucket") {
            let le = labels.remove("le").expect("a bucket has le");
            series
                .entry(labels)
                .or_default()
                .push((parse_value(&le), parse_value(value)));
        } else {
            assert!(!labels.contains_key("le"), "{sample} has le");
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(
            buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
            "{name}{labels:?} falls"
        );
        let last = buckets.last().expect("a bucket");
        assert_eq!(last.0, f64::INFINITY, "{name}{labels:?} has +Inf");
        let part = |suffix: &str| {
            family
                .samples
                .get(&(format!("{name}{suffix}"), labels.clone()))
        };
        let count = part("_count").unwrap_or_else(|| panic!("{name}{labels:?} has a count"));
        assert_eq!(parse_value(count), last.1, "{name}{labels:?}");
        assert!(part("_sum").is_some(), "{name}{labels:?} has a sum");
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, String) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(block) = rest.strip_prefix('{') {
        rest = block;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(label, false), "label of {line}");
            let mut escaped = false;
            let close = after.find(|character| {
                let closes = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                closes
            });
            let (value, after) = after.split_at(close.expect(line));
            let before = labels.insert(label.to_owned(), unescape(value, true));
            assert!(before.is_none(), "a label twice: {line}");
            rest = after.strip_prefix('"').expect(line);
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = rest.strip_prefix('}').expect(line);
    }
    let value = rest.strip_prefix(' ').expect(line);
    assert!(!value.contains(' '), "no timestamps: {line}");
    (name.to_owned(), labels, value.to_owned())
}

fn unescape(text: &str, quotes: bool) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            assert!(!(quotes && character == '"'), "a bare quote in {text}");
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if quotes => out.push('"'),
            other => panic!("an escape {other:?} in {text}"),
        }
    }
    out
}

fn parse_value(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => number
            .parse()
            .unwrap_or_else(|_| panic!("a value {number}")),
    }
}

fn is_name(text: &str, colon: bool) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
    text.starts_with(start) && text.chars().all(|c| start(c) || c.is_ascii_digit())
}
