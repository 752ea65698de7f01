//! The text format 0.0.4: HELP and TYPE once for a family, then one line a sample.
//!
//! Counts are written as whole numbers up to 2^64-1, as Envoy itself writes them; sums and bounds
//! as the shortest text that reads back to the same double. HELP escapes `\` and line feeds, label
//! values (escaped where label blocks are made) `"` too.

use crate::family::FamilyType;
use crate::names::number_text;
use crate::snapshot::HistogramValue;

/// The content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes HELP and TYPE.
pub fn header(out: &mut Vec<u8>, name: &str, family_type: FamilyType, help: &str) {
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
pub fn integer(out: &mut Vec<u8>, name: &str, block: &str, value: u64) {
    sample(
        out,
        name,
        "",
        block,
        None,
        itoa::Buffer::new().format(value),
    );
}

/// Writes a sample with any number.
pub fn float(out: &mut Vec<u8>, name: &str, block: &str, value: f64) {
    sample(out, name, "", block, None, &number_text(value));
}

/// Writes the samples of a histogram.
pub fn histogram(out: &mut Vec<u8>, name: &str, block: &str, value: &HistogramValue<'_>) {
    let mut digits = itoa::Buffer::new();
    for (le, count) in value.le.iter().zip(value.buckets) {
        sample(out, name, "_bucket", block, Some(le), digits.format(*count));
    }
    let count = digits.format(value.count);
    sample(out, name, "_bucket", block, Some("+Inf"), count);
    sample(out, name, "_sum", block, None, &number_text(value.sum));
    sample(out, name, "_count", block, None, count);
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
            bounds: &[1.0, 2.5],
            le: &["1".into(), "2.5".into()],
            buckets: &[1, 2],
        };
        histogram(&mut out, "h", "", &value);
        histogram(&mut out, "h", "x=\"1\"", &value);
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
# HELP u U.
# TYPE u untyped
u NaN
"#;
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
