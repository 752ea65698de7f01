//! Durations, sizes, counts and regular expressions as people write them.

use std::time::Duration;

use regex::Regex;

use crate::yaml::{Placed, Problem};

/// Reads a duration as humantime has it, without its months and years: `1M` is a month there and
/// a slip elsewhere.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut units = text.split(|character: char| !character.is_ascii_alphabetic());
    let long = ["M", "month", "months", "y", "yr", "year", "years"];
    if let Some(unit) = units.find(|unit| long.contains(unit)) {
        return Err(format!(
            "'{text}': the unit '{unit}' is too long for a duration here"
        ));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("'{text}' is not a duration like 500ms, 5s or 2m: {error}"))
}

/// Reads a regular expression.
pub fn parse_regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        // Its last line says what is wrong; those before show where.
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        format!("'{text}' is not a regular expression: {reason}")
    })
}

/// Reads a size: a whole number of bytes with `KiB`, `MiB` or `GiB`, or bare.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("'{text}' is not a size like 64KiB or 256MiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .filter(|size| *size > 0)
        .ok_or_else(|| format!("'{text}' is not a size like 64KiB or 256MiB"))
}

/// A limit that is a number.
pub(super) fn resolve_count(
    key: &str,
    written: Option<&Placed<String>>,
    default: usize,
    problems: &mut Vec<Problem>,
) -> usize {
    let Some(written) = written else {
        return default;
    };
    let count = written.value.parse().ok().filter(|count| *count > 0);
    count.unwrap_or_else(|| {
        let value = &written.value;
        let reason = format!("limits.{key}: '{value}' is no whole number above 0");
        problems.push(written.problem(reason));
        default
    })
}

/// The limit on a body.
pub(super) fn resolve_body(
    written: Option<&Placed<String>>,
    default: u64,
    problems: &mut Vec<Problem>,
) -> u64 {
    let parsed = written.map(|written| {
        parse_size(&written.value).map_err(|reason| {
            problems.push(written.problem(format!("limits.body: {reason}")));
        })
    });
    parsed.and_then(Result::ok).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, want) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("5s", Some(Duration::from_secs(5))),
            ("1h 30m", Some(Duration::from_mins(90))),
            ("2days", Some(Duration::from_hours(48))),
            ("0s", Some(Duration::ZERO)),
            ("5", None),
            ("1M", None),
            ("1y", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("1", Some(1)),
            ("64KiB", Some(65_536)),
            ("256 MiB", Some(268_435_456)),
            ("0", None),
            ("1MB", None),
            ("x", None),
            ("99999999999999999999", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), want, "{text:?}");
        }
    }
}
