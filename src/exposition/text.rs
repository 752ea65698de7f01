//! The text format 0.0.4: HELP and TYPE once for a family, then one line a sample.
//!
//! Counts are written as whole numbers up to 2^64-1, as Envoy itself writes them; sums and bounds
//! as the shortest text that reads back to the same double. HELP escapes `\` and line feeds, label
//! values (escaped where label blocks are made) `"` too.

use super::plan::{Part, Sample};
use crate::family::FamilyType;
use crate::names::number_text;
use crate::snapshot::{HistogramValue, Number};

/// Writes HELP and TYPE.
pub(super) fn header(out: &mut Vec<u8>, name: &str, family_type: FamilyType, help: &str) {
    push(out, &["# HELP ", name, " "]);
    for character in help.chars() {
        match character {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    push(
        out,
        &["\n# TYPE ", name, " ", family_type.text_name(), "\n"],
    );
}

/// Writes a sample with a whole number.
pub(super) fn integer(out: &mut Vec<u8>, name: &str, block: &str, value: u64) {
    let mut digits = itoa::Buffer::new();
    sample(out, name, "", block, None, digits.format(value));
}

/// Writes a sample with a number of a snapshot: whole ones and those over a power of ten to the
/// last digit.
pub(super) fn number(out: &mut Vec<u8>, name: &str, block: &str, value: Number) {
    if value == Number::whole(value.raw) {
        integer(out, name, block, value.raw);
    } else if let Some(text) = decimal(value) {
        sample(out, name, "", block, None, &text);
    } else {
        float(out, name, block, value.as_f64());
    }
}

/// The exact text, where the number has one of a power of ten.
fn decimal(value: Number) -> Option<String> {
    let over = u128::from(value.factor.div);
    let places = over.checked_ilog10()?;
    if value.double || value.over != 1 || over != 10_u128.pow(places) {
        return None;
    }
    let times = u128::from(value.raw) * u128::from(value.factor.mul);
    let mut text = (times / over).to_string();
    let rest = times % over;
    if rest > 0 {
        let digits = format!("{rest:0width$}", width = places as usize);
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    Some(text)
}

/// Writes a sample with any number.
pub(super) fn float(out: &mut Vec<u8>, name: &str, block: &str, value: f64) {
    sample(out, name, "", block, None, &number_text(value));
}

/// Writes the sample that says since when a series counts.
pub(super) fn created(out: &mut Vec<u8>, name: &str, block: &str, unix: f64) {
    sample(out, name, "_created", block, None, &number_text(unix));
}

/// Writes the samples of a summary.
pub(super) fn summary(out: &mut Vec<u8>, name: &str, block: &str, value: &HistogramValue<'_>) {
    for (quantile, shown) in value.quantiles() {
        let label = format!("quantile=\"{}\"", number_text(quantile));
        let block = if block.is_empty() {
            label
        } else {
            format!("{block},{label}")
        };
        sample(out, name, "", &block, None, &number_text(shown));
    }
    sample(out, name, "_sum", block, None, &number_text(value.sum));
    let count = value.count.to_string();
    sample(out, name, "_count", block, None, &count);
}

/// Writes the samples of a histogram.
pub(super) fn histogram(out: &mut Vec<u8>, name: &str, block: &str, value: &HistogramValue<'_>) {
    for kind in [Part::Bucket, Part::Sum, Part::Count] {
        part(out, name, block, value, kind);
    }
}

/// Writes those of one kind.
pub(super) fn part(
    out: &mut Vec<u8>,
    name: &str,
    block: &str,
    value: &HistogramValue<'_>,
    kind: Part,
) {
    let mut digits = itoa::Buffer::new();
    kind.each(value, |le, value| match value {
        Sample::Count(count) => {
            sample(out, name, kind.suffix(), block, le, digits.format(count));
        }
        Sample::Sum(sum) => sample(out, name, kind.suffix(), block, le, &number_text(sum)),
    });
}

fn sample(out: &mut Vec<u8>, name: &str, suffix: &str, block: &str, le: Option<&str>, value: &str) {
    push(out, &[name, suffix]);
    match (block, le) {
        ("", None) => {}
        (block, None) => push(out, &["{", block, "}"]),
        ("", Some(le)) => push(out, &["{le=\"", le, "\"}"]),
        (block, Some(le)) => push(out, &["{", block, ",le=\"", le, "\"}"]),
    }
    push(out, &[" ", value, "\n"]);
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Factor;
    use crate::snapshot::Parts;

    #[test]
    fn numbers_lose_nothing() {
        let over = |raw, mul, div, over| Number {
            raw,
            double: false,
            factor: Factor { mul, div },
            over,
        };
        for (value, want) in [
            (over(u64::MAX, 1, 1, 1), "18446744073709551615"),
            (over(u64::MAX, 1, 1000, 1), "18446744073709551.615"),
            (over(1500, 1, 1000, 1), "1.5"),
            (over(1, 1, 1_000_000, 1), "0.000001"),
            (over(2000, 1, 1000, 1), "2"),
            (over(3, 86_400, 1, 1), "259200"),
            (over(10, 1, 1, 4), "2.5"),
            (over(0, 1, 100, 1), "0"),
            (
                Number {
                    double: true,
                    ..over(66.5_f64.to_bits(), 1, 100, 2)
                },
                "0.3325",
            ),
        ] {
            let mut out = Vec::new();
            number(&mut out, "a", "", value);
            assert_eq!(String::from_utf8(out).unwrap(), format!("a {want}\n"));
        }
    }

    #[test]
    fn every_form_of_sample() {
        let mut out = Vec::new();
        header(&mut out, "a", FamilyType::Counter, "Back\\slash\nline.");
        integer(&mut out, "a", "", u64::MAX);
        integer(&mut out, "a", "x=\"1\"", 0);
        header(&mut out, "h", FamilyType::Histogram, "H.");
        let value = HistogramValue {
            count: 3,
            sum: 4.5,
            parts: Parts::ALL,
            bounds: &[1.0, 2.5],
            le: &["1".into(), "2.5".into()],
            buckets: &[1, 2],
            native: None,
            percentiles: &[(50.0, 4.0), (100.0, f64::NAN)],
            factor: Factor::over(1000),
        };
        histogram(&mut out, "h", "", &value);
        histogram(&mut out, "h", "x=\"1\"", &value);
        header(&mut out, "s", FamilyType::Summary, "S.");
        summary(&mut out, "s", "x=\"1\"", &value);
        header(&mut out, "u", FamilyType::Unknown, "U.");
        float(&mut out, "u", "", f64::NAN);
        let want = r#"# HELP a Back\\slash\nline.
# TYPE a counter
a 18446744073709551615
a{x="1"} 0
# HELP h H.
# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="2.5"} 2
h_bucket{le="+Inf"} 3
h_sum 4.5
h_count 3
h_bucket{x="1",le="1"} 1
h_bucket{x="1",le="2.5"} 2
h_bucket{x="1",le="+Inf"} 3
h_sum{x="1"} 4.5
h_count{x="1"} 3
# HELP s S.
# TYPE s summary
s{x="1",quantile="0.5"} 0.004
s{x="1",quantile="1"} NaN
s_sum{x="1"} 4.5
s_count{x="1"} 3
# HELP u U.
# TYPE u untyped
u NaN
"#;
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
