//! The written form of a mapping table: what stands in a YAML file, before it is compiled.
//!
//! `mappings/tags.yaml` describes the form to its readers. Reading is strict: an unknown or a
//! repeated key, a wrong type or a missing value is an [`Error`] with file, line and column.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::stat::StatType;

/// A file that cannot be read as a mapping table.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{message}")]
pub struct Error {
    /// The file as the user named it.
    pub file: String,
    /// `line:column: reason`.
    pub message: String,
}

/// One file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Tag rules.
    pub tags: Option<Tags>,
    /// Stats with tags of their own.
    #[serde(default)]
    pub explicit_tags: Vec<ExplicitTags>,
    /// Where user-chosen names stand.
    #[serde(default)]
    pub scopes: Vec<ScopeRule>,
    /// What stats mean.
    #[serde(default)]
    pub catalogue: Vec<Section>,
}

/// A list of tag rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// What becomes of the shipped rules.
    #[serde(default)]
    pub defaults: Defaults,
    /// Which form of the name the regexes read.
    #[serde(default)]
    pub names: NameForm,
    /// The rules in order.
    #[serde(default)]
    pub rules: Vec<TagRule>,
}

/// What becomes of the shipped tag rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Defaults {
    /// The file's rules come behind them.
    #[default]
    Keep,
    /// The file's rules stand in their place.
    Replace,
}

/// The form of a stat name that a regex reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameForm {
    /// As Envoy writes it.
    #[default]
    Raw,
    /// Dots inside known user-chosen names as `_`.
    Scoped,
}

/// One tag rule: exactly one of `regex`, `tokens` and `value`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagRule {
    /// Name of the tag.
    pub tag: String,
    /// Group 1 is cut, group 2 or 1 is the value.
    pub regex: Option<String>,
    /// Tokens with `$`, `*` and `**`.
    pub tokens: Option<String>,
    /// A value that every stat has.
    pub value: Option<String>,
    /// A value with which the rule does not apply.
    pub except: Option<String>,
}

/// A stat that Envoy's code gave tags of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplicitTags {
    /// What stands before the first tag.
    pub stat: String,
    /// Tag names in their order.
    pub tags: Vec<String>,
}

/// Where a user-chosen name stands: `learn` with `from`, or `mask`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeRule {
    /// Tokens before the name and `{}` for it.
    pub learn: Option<String>,
    /// Stats that tell a scope of this kind.
    #[serde(default)]
    pub from: Vec<String>,
    /// Group 1 is the name.
    pub mask: Option<String>,
}

/// Stats behind one or several scopes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// What stands before each stat.
    pub scope: OneOrMany,
    /// Base name behind the scope, and its description.
    pub stats: BTreeMap<String, Stat>,
}

/// A string or a list of strings.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// What a stat means: HELP under the key that is its type.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stat {
    /// HELP of a counter.
    pub counter: Option<String>,
    /// HELP of a gauge.
    pub gauge: Option<String>,
    /// HELP of a histogram.
    pub histogram: Option<String>,
    /// HELP of a text readout.
    pub text_readout: Option<String>,
    /// Unit of the values.
    pub unit: Option<Unit>,
}

impl Stat {
    /// Type and HELP; nothing unless exactly one type key is there.
    pub fn description(&self) -> Option<(StatType, &str)> {
        let mut found = [
            (StatType::Counter, &self.counter),
            (StatType::Gauge, &self.gauge),
            (StatType::Histogram, &self.histogram),
            (StatType::TextReadout, &self.text_readout),
        ]
        .into_iter()
        .filter_map(|(stat_type, help)| Some((stat_type, help.as_deref()?)));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}

/// The unit of a stat's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Thousandths of a second.
    Milliseconds,
    /// Millionths of a second.
    Microseconds,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// 0 to 100.
    Percent,
    /// 0 to 1.
    Ratio,
    /// Days.
    Days,
    /// Bytes in each second.
    BytesPerSecond,
    /// A point in time, in milliseconds since 1970.
    TimestampMilliseconds,
    /// A point in time, in seconds since 1970.
    TimestampSeconds,
}

impl Unit {
    /// The word used in tables and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Percent => "percent",
            Self::Ratio => "ratio",
            Self::Days => "days",
            Self::BytesPerSecond => "bytes_per_second",
            Self::TimestampMilliseconds => "timestamp_milliseconds",
            Self::TimestampSeconds => "timestamp_seconds",
        }
    }
}

/// Reads one file's text.
pub fn parse(file: &str, text: &str) -> Result<Table, Error> {
    serde_saphyr::from_str(text).map_err(|error| Error {
        file: file.to_owned(),
        message: placed(&error),
    })
}

/// `line:column: reason`, as far as the place is known.
pub fn placed(error: &serde_saphyr::Error) -> String {
    let reason = error.without_snippet().to_string();
    error.location().map_or_else(
        || format!(" {reason}"),
        |at| format!("{}:{}: {reason}", at.line(), at.column()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_placed() {
        for (text, want) in [
            ("tagz: {}", "f.yaml:1:1: "),
            ("tags:\n  rules:\n    - {tag: a, regexp: x}", "f.yaml:3:"),
            ("tags: {rules: []}\ntags: {rules: []}", "f.yaml:2:1: "),
            (
                "catalogue:\n  - scope: a.\n    stats:\n      x: {counter: A.}\n      x: {gauge: B.}",
                "f.yaml:5:",
            ),
            (
                "catalogue: [{scope: a., stats: {x: {unit: furlongs}}}]",
                "f.yaml:1:",
            ),
        ] {
            let error = parse("f.yaml", text).expect_err(text).to_string();
            assert!(error.starts_with(want), "{text:?}: {error}");
        }
    }

    #[test]
    fn one_type_per_stat() {
        let table = parse(
            "f",
            "catalogue: [{scope: a., stats: {x: {counter: A.}, y: {counter: A., gauge: B.}, z: {unit: bytes}}}]",
        )
        .unwrap();
        let stats = &table.catalogue[0].stats;
        assert_eq!(stats["x"].description(), Some((StatType::Counter, "A.")));
        assert_eq!(stats["y"].description(), None);
        assert_eq!(stats["z"].description(), None);
    }
}
