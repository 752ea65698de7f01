//! `OpenMetrics` 1.0.0: TYPE, UNIT and HELP once for a family, samples in the words of text 0.0.4,
//! `# EOF` at the end.
//!
//! HELP escapes double quotes too. UNIT is written where the name ends with it, as the standard
//! asks, and not of an info, which has none. Bounds keep the text that they have in text 0.0.4
//! (`le="5"`, where Go's library writes `le="5.0"`): another text would be another series to every
//! reader that takes both formats. No `_created`, no timestamps, no exemplars: Envoy has none.

use super::plan::Form;
use crate::family::FamilyType;
use crate::mapping::table::Unit;
use crate::snapshot::Family;

/// What ends a body.
pub(super) const EOF: &str = "# EOF\n";

/// Writes what comes before the series of a family in this form.
pub(super) fn family(out: &mut Vec<u8>, family: Family<'_>, form: Form) {
    let name = form.name(family.name());
    let unit = unit_of(form, &name, family.unit());
    let type_name = type_name(form, family.family_type());
    header(out, &name, type_name, unit, family.help());
}

/// Writes TYPE, UNIT and HELP of a family; `name` is the one it goes by.
pub(super) fn header(
    out: &mut Vec<u8>,
    name: &str,
    type_name: &str,
    unit: Option<&str>,
    help: &str,
) {
    let mut push = |parts: &[&str]| {
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
    };
    push(&["# TYPE ", name, " ", type_name, "\n"]);
    if let Some(unit) = unit {
        push(&["# UNIT ", name, " ", unit, "\n"]);
    }
    push(&["# HELP ", name, " "]);
    for character in help.chars() {
        match character {
            '\\' => push(&["\\\\"]),
            '\n' => push(&["\\n"]),
            '"' => push(&["\\\""]),
            other => push(&[other.encode_utf8(&mut [0; 4])]),
        }
    }
    push(&["\n"]);
}

/// The word for a family in this form.
pub(super) const fn type_name(form: Form, family_type: FamilyType) -> &'static str {
    match (form, family_type) {
        (Form::Counter, _) | (Form::Plain, FamilyType::Counter) => "counter",
        (Form::Info, _) => "info",
        (Form::Plain, FamilyType::Gauge) => "gauge",
        (Form::Plain, FamilyType::Histogram) => "histogram",
        (Form::Plain, FamilyType::Summary) => "summary",
        (Form::Unknown | Form::Part(_), _) | (Form::Plain, FamilyType::Unknown) => "unknown",
    }
}

/// The unit that is said of a family.
pub(super) fn unit_of(form: Form, name: &str, unit: Option<Unit>) -> Option<&'static str> {
    if form == Form::Info {
        return None;
    }
    unit.map(word).filter(|word| ends_with_unit(name, word))
}

/// The unit that an own metric's name says.
pub(super) fn unit_of_name(form: Form, name: &str) -> Option<&'static str> {
    if form == Form::Info {
        return None;
    }
    let mut units = ["seconds", "bytes"].into_iter();
    units.find(|word| ends_with_unit(name, word))
}

fn ends_with_unit(name: &str, unit: &str) -> bool {
    name.strip_suffix(unit)
        .is_some_and(|front| front.len() > 1 && front.ends_with('_'))
}

/// How a name ends that says this unit.
const fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds | Unit::TimestampSeconds => "seconds",
        Unit::Milliseconds | Unit::TimestampMilliseconds => "milliseconds",
        Unit::Microseconds => "microseconds",
        Unit::Bytes => "bytes",
        Unit::Percent => "percent",
        Unit::Ratio => "ratio",
        Unit::Days => "days",
        Unit::BytesPerSecond => "bytes_per_second",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let mut out = Vec::new();
        header(
            &mut out,
            "a",
            "counter",
            None,
            "Back\\slash, \"quote\"\nline.",
        );
        header(&mut out, "b_seconds", "gauge", Some("seconds"), "B.");
        let want = r#"# TYPE a counter
# HELP a Back\\slash, \"quote\"\nline.
# TYPE b_seconds gauge
# UNIT b_seconds seconds
# HELP b_seconds B.
"#;
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn a_unit_is_said_where_the_name_says_it() {
        for (form, name, unit, want) in [
            (
                Form::Plain,
                "a_seconds",
                Some(Unit::Seconds),
                Some("seconds"),
            ),
            (
                Form::Plain,
                "a_timestamp_seconds",
                Some(Unit::TimestampSeconds),
                Some("seconds"),
            ),
            (Form::Counter, "a_bytes", Some(Unit::Bytes), Some("bytes")),
            (Form::Unknown, "a_bytes_total", Some(Unit::Bytes), None),
            (Form::Plain, "a_time", Some(Unit::Milliseconds), None),
            (Form::Plain, "seconds", Some(Unit::Seconds), None),
            (Form::Plain, "aseconds", Some(Unit::Seconds), None),
            (Form::Info, "a_seconds", Some(Unit::Seconds), None),
            (Form::Plain, "a_seconds", None, None),
        ] {
            assert_eq!(unit_of(form, name, unit), want, "{name} {form:?}");
        }
    }
}
