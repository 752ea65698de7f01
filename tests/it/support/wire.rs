//! Reads delimited messages `io.prometheus.client.MetricFamily` from the wire format's
//! specification and the field numbers of `metrics.proto`: it shares no code with the writer that
//! it checks, nor with its library.

use std::collections::BTreeMap;

use super::prom::{Series, series};

/// A family as a reader sees it.
#[derive(Debug)]
pub struct Family {
    pub name: String,
    pub help: String,
    /// The number of its type.
    pub kind: u64,
    pub unit: Option<String>,
    pub series: Vec<(BTreeMap<String, String>, Value)>,
}

#[derive(Debug)]
pub enum Value {
    Number(f64),
    Summary(Summary),
    Histogram(Histogram),
}

#[derive(Debug, Default)]
pub struct Summary {
    pub count: u64,
    pub sum: f64,
    pub quantiles: Vec<(f64, f64)>,
}

#[derive(Debug, Default)]
pub struct Histogram {
    pub count: u64,
    pub sum: f64,
    pub buckets: Vec<(f64, u64)>,
    pub schema: Option<i64>,
    pub zero_threshold: Option<f64>,
    pub zero_count: u64,
    /// Offset and length of runs of buckets below and above zero.
    pub spans: [Vec<(i64, u64)>; 2],
    pub deltas: [Vec<i64>; 2],
}

/// A field's value.
#[derive(Clone, Copy, Debug)]
enum Field<'b> {
    Varint(u64),
    Double(f64),
    Bytes(&'b [u8]),
}

impl<'b> Field<'b> {
    fn varint(self) -> u64 {
        match self {
            Field::Varint(value) => value,
            other => panic!("{other:?} is no whole number"),
        }
    }

    fn signed(self) -> i64 {
        let value = self.varint();
        (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
    }

    fn double(self) -> f64 {
        match self {
            Field::Double(value) => value,
            other => panic!("{other:?} is no double"),
        }
    }

    fn bytes(self) -> &'b [u8] {
        match self {
            Field::Bytes(value) => value,
            other => panic!("{other:?} is no message"),
        }
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

fn take<'b>(bytes: &mut &'b [u8], size: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(size);
    *bytes = rest;
    taken
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number of more than ten bytes");
}

fn message<'b>(bytes: &mut &'b [u8]) -> &'b [u8] {
    let size = usize::try_from(varint(bytes)).unwrap();
    take(bytes, size)
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => Field::Double(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => Field::Bytes(message(&mut bytes)),
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, value));
    }
    found
}

/// Every family in order; panics at what is no message of one.
pub fn read(mut bytes: &[u8]) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    while !bytes.is_empty() {
        let family = family(message(&mut bytes));
        assert!(!family.series.is_empty(), "{} has series", family.name);
        let before = families.iter().find(|before| before.name == family.name);
        assert!(before.is_none(), "{} twice", family.name);
        families.push(family);
    }
    families
}

fn family(bytes: &[u8]) -> Family {
    let mut family = Family {
        name: String::new(),
        help: String::new(),
        kind: 0,
        unit: None,
        series: Vec::new(),
    };
    let fields = fields(bytes);
    for (number, value) in &fields {
        match number {
            1 => family.name = value.text(),
            2 => family.help = value.text(),
            3 => family.kind = value.varint(),
            4 => {}
            5 => family.unit = Some(value.text()),
            other => panic!("field {other} of a family"),
        }
    }
    let series = fields.iter().filter(|(number, _)| *number == 4);
    family.series = series
        .map(|(_, value)| metric(value.bytes(), family.kind))
        .collect();
    family
}

fn metric(bytes: &[u8], kind: u64) -> (BTreeMap<String, String>, Value) {
    let mut labels = BTreeMap::new();
    let mut found = None;
    for (number, value) in fields(bytes) {
        match (number, kind) {
            (1, _) => {
                let pair = fields(value.bytes());
                let part = |number| {
                    let found = pair.iter().find(|(at, _)| *at == number);
                    found.expect("name and value").1.text()
                };
                let before = labels.insert(part(1), part(2));
                assert!(before.is_none(), "a label twice");
            }
            (2, 1) | (3, 0) | (5, 3) => {
                let number = fields(value.bytes());
                assert!(found.is_none() && number.len() == 1 && number[0].0 == 1);
                found = Some(Value::Number(number[0].1.double()));
            }
            (4, 2) => found = Some(Value::Summary(summary(value.bytes()))),
            (7, 4) => found = Some(Value::Histogram(histogram(value.bytes()))),
            (number, kind) => panic!("field {number} of a series of type {kind}"),
        }
    }
    (labels, found.expect("a series has a value"))
}

fn summary(bytes: &[u8]) -> Summary {
    let mut found = Summary::default();
    for (number, value) in fields(bytes) {
        match number {
            1 => found.count = value.varint(),
            2 => found.sum = value.double(),
            3 => {
                let quantile = fields(value.bytes());
                assert_eq!((quantile[0].0, quantile[1].0), (1, 2));
                let pair = (quantile[0].1.double(), quantile[1].1.double());
                found.quantiles.push(pair);
            }
            other => panic!("field {other} of a summary"),
        }
    }
    found
}

fn histogram(bytes: &[u8]) -> Histogram {
    let mut found = Histogram::default();
    for (number, value) in fields(bytes) {
        match number {
            1 => found.count = value.varint(),
            2 => found.sum = value.double(),
            3 => {
                let bucket = fields(value.bytes());
                assert_eq!((bucket[0].0, bucket[1].0), (1, 2));
                found
                    .buckets
                    .push((bucket[1].1.double(), bucket[0].1.varint()));
            }
            5 => found.schema = Some(value.signed()),
            6 => found.zero_threshold = Some(value.double()),
            7 => found.zero_count = value.varint(),
            9 | 12 => {
                let span = fields(value.bytes());
                assert_eq!((span[0].0, span[1].0), (1, 2));
                let side = &mut found.spans[usize::from(number == 12)];
                side.push((span[0].1.signed(), span[1].1.varint()));
            }
            10 | 13 => found.deltas[usize::from(number == 13)].push(value.signed()),
            other => panic!("field {other} of a histogram"),
        }
    }
    found
}

/// Every sample with its value as the bits of a double, as the text formats have them.
#[expect(clippy::cast_precision_loss, reason = "as the text is read too")]
pub fn samples(families: &[Family]) -> BTreeMap<Series, u64> {
    let mut found = BTreeMap::new();
    let mut add = |name: &str, labels: &BTreeMap<String, String>, value: f64| {
        let before = found.insert(series(name, labels), value.to_bits());
        assert!(before.is_none(), "{name} twice");
    };
    for Family { name, series, .. } in families {
        for (labels, value) in series {
            let histogram = match value {
                Value::Number(number) => {
                    add(name, labels, *number);
                    continue;
                }
                Value::Summary(summary) => {
                    for (quantile, value) in &summary.quantiles {
                        let mut labels = labels.clone();
                        labels.insert("quantile".to_owned(), quantile.to_string());
                        add(name, &labels, *value);
                    }
                    add(&format!("{name}_sum"), labels, summary.sum);
                    add(&format!("{name}_count"), labels, summary.count as f64);
                    continue;
                }
                Value::Histogram(histogram) => histogram,
            };
            let last = (f64::INFINITY, histogram.count);
            for (bound, count) in histogram.buckets.iter().chain([&last]) {
                let mut labels = labels.clone();
                let le = if bound.is_infinite() {
                    "+Inf".to_owned()
                } else {
                    bound.to_string()
                };
                labels.insert("le".to_owned(), le);
                add(&format!("{name}_bucket"), &labels, *count as f64);
            }
            add(&format!("{name}_sum"), labels, histogram.sum);
            add(&format!("{name}_count"), labels, histogram.count as f64);
        }
    }
    found
}
