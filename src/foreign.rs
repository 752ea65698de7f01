//! Expositions of others: bytes in, families that can stand in ours out.
//!
//! Read are text 0.0.4, by the rules of Prometheus' own documentation, and `OpenMetrics` 1.0.0. What
//! is not written as the format says makes the whole of it worthless ([`Error`]): nobody knows what a
//! reader that guesses has missed. A family that is readable but contradicts itself (a series twice, a
//! histogram without `+Inf`, buckets that fall, a second TYPE) is left out whole and counted
//! ([`Refused`]): part of a family is a wrong number to who sums it.
//!
//! Kept are names, types, HELP, units that we have words for, labels, values to the last digit, and
//! the texts of bounds. Timestamps, exemplars and `_created` are read and let go. A family of a type
//! that we have no form for comes as numbers of which nobody knows what they are, one family for each
//! name of samples. Names outside of the old grammar, which stand in quotes, are refused.

mod distribution;
mod group;
mod line;
#[cfg(test)]
mod tests;

use hashbrown::HashMap;

use crate::family::FamilyType;
use crate::names::Labels;
use crate::snapshot::{DropReason, MadeFamily};

use group::Groups;
use line::Line;

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Text 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

/// What is asked for: text first, since the older format has all that is kept.
pub const ACCEPT: &str =
    "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5";

/// How much is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Series; a histogram is one.
    pub series: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Labels of a series.
    pub labels: usize,
}

/// What was read.
#[derive(Debug, Default, PartialEq)]
pub struct Exposition {
    /// The families that may stand in an exposition, in their order.
    pub families: Vec<MadeFamily>,
    /// Those that may not.
    pub refused: Vec<Refused>,
}

/// A family that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub family: String,
    /// Why, in a word.
    pub reason: DropReason,
    /// Why.
    pub why: String,
    /// How many series it has; where that is not known, how many samples.
    pub series: usize,
}

/// Why nothing of it is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Error {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Dialect {
    /// The format that a `Content-Type` says.
    pub fn of_content_type(text: &str) -> Result<Self, String> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut version = None;
        for parameter in parts {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim_matches('"');
            match key.to_ascii_lowercase().as_str() {
                "version" => version = Some(value.to_owned()),
                "charset" if !value.eq_ignore_ascii_case("utf-8") => {
                    return Err(format!("the charset '{value}' is not read"));
                }
                _ => {}
            }
        }
        let (dialect, known): (_, &[&str]) = match media.as_str() {
            "text/plain" => (Self::Text, &["0.0.4", "1.0.0"]),
            "application/openmetrics-text" => (Self::OpenMetrics, &["0.0.1", "1.0.0"]),
            _ => return Err(format!("'{}' is no exposition", excerpt(text))),
        };
        match version {
            Some(version) if !known.contains(&version.as_str()) => {
                Err(format!("version '{version}' of {media} is not read"))
            }
            _ => Ok(dialect),
        }
    }
}

/// Reads an exposition whose series get these labels too; what has one of them already keeps it as
/// `exported_`, as Prometheus has it.
pub fn read(
    body: &[u8],
    dialect: Dialect,
    attached: &Labels,
    bounds: Bounds,
) -> Result<Exposition, Error> {
    let error = |line, reason: &str| Error {
        line,
        reason: reason.to_owned(),
    };
    let line_at = |end: usize| {
        let front = body.get(..end).unwrap_or_default();
        1 + memchr::memchr_iter(b'\n', front).count()
    };
    let text = str::from_utf8(body)
        .map_err(|wrong| error(line_at(wrong.valid_up_to()), "not valid UTF-8"))?;
    let mut lines = text.split('\n').enumerate().peekable();
    let mut groups = Groups::new(dialect, attached, bounds);
    let mut ended = false;
    while let Some((at, line)) = lines.next() {
        let number = at + 1;
        let is_last = lines.peek().is_none();
        if is_last && line.is_empty() {
            break;
        }
        if ended {
            return Err(error(number, "something follows # EOF"));
        }
        let mistake = |reason: String| Error {
            line: number,
            reason: format!("{reason}: '{}'", excerpt(line)),
        };
        match line::parse(line, dialect).map_err(mistake)? {
            // Without its end a number may be the start of another.
            _ if is_last && dialect == Dialect::Text => {
                return Err(mistake("the last line does not end".to_owned()));
            }
            Line::Eof => ended = true,
            Line::Nothing => {}
            Line::Help(name, help) => groups.help(name, help),
            Line::Type(name, kind) => groups.kind(name, kind),
            Line::Unit(name, unit) => groups.unit(name, unit),
            Line::Sample(sample) => groups.sample(sample),
        }
    }
    if dialect == Dialect::OpenMetrics && !ended {
        return Err(error(line_at(body.len()), "the end, # EOF, is missing"));
    }
    Ok(settle(groups.finish(), bounds.series))
}

/// Leaves out what takes names of a family before it, and what is over the limit.
fn settle(read: Exposition, limit: usize) -> Exposition {
    let mut settled = Exposition {
        families: Vec::with_capacity(read.families.len()),
        refused: read.refused,
    };
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut series = 0;
    for family in read.families {
        let names: Vec<_> = sample_names(&family.name, family.family_type).collect();
        let mut others = names.iter().filter_map(|name| taken.get(name));
        let other = others.find_map(|at| settled.families.get(*at));
        let refused = if let Some(other) = other {
            Some((
                DropReason::Conflict,
                format!("'{}' before it has samples of that name", other.name),
            ))
        } else if series + family.series.len() > limit {
            Some((DropReason::Limit, format!("more than {limit} series")))
        } else {
            None
        };
        if let Some((reason, why)) = refused {
            settled.refused.push(Refused {
                family: family.name,
                reason,
                why,
                series: family.series.len(),
            });
            continue;
        }
        series += family.series.len();
        let at = settled.families.len();
        taken.extend(names.into_iter().map(|name| (name, at)));
        settled.families.push(family);
    }
    settled
}

/// The names that belong to a family: its own and those of its samples.
pub fn sample_names(name: &str, family_type: FamilyType) -> impl Iterator<Item = String> {
    let suffixes: &'static [&'static str] = match family_type {
        FamilyType::Histogram => &["", "_bucket", "_sum", "_count"],
        FamilyType::Summary => &["", "_sum", "_count"],
        FamilyType::Counter | FamilyType::Gauge | FamilyType::Unknown => &[""],
    };
    suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
}

/// The start of a text, for a message.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}
