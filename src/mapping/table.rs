//! The written form of a mapping table: what stands in a YAML file, before it is compiled.
//!
//! `docs/mapping.md` describes the form to its readers, `mappings/schema.json` to editors. Reading
//! is strict: an unknown or a repeated key, a wrong type or a missing value is a mistake with line
//! and column, and all of them are told at once.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::family::Factor;
use crate::stat::StatType;
use crate::yaml::{self, Attempt, Placed, Problem};

/// One file.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// How families and labels are called. Only the shipped profiles say so.
    pub naming: Option<Naming>,
    /// Tag rules.
    #[serde(default)]
    pub tags: Attempt<Option<Tags>>,
    /// Stats with tags of their own.
    #[serde(default)]
    pub explicit_tags: Vec<Attempt<Placed<ExplicitTags>>>,
    /// Where user-chosen names stand.
    #[serde(default)]
    pub scopes: Vec<Attempt<Placed<ScopeRule>>>,
    /// The label that a tag becomes.
    #[serde(default)]
    pub labels: BTreeMap<String, Placed<String>>,
    /// Another last word for the names of families, by the last token of a base name.
    #[serde(default)]
    pub words: BTreeMap<String, Placed<String>>,
    /// What stats mean.
    #[serde(default)]
    pub catalogue: Vec<Attempt<Section>>,
    /// Bucket bounds by unit, for histograms whose bounds Envoy's configuration does not set.
    #[serde(default)]
    pub buckets: Attempt<Buckets>,
    /// What is done with single stats.
    #[serde(default)]
    pub rules: Vec<Attempt<Placed<Rule>>>,
    /// Base names of the stats that stay; all others are dropped. Empty: all stay.
    #[serde(default)]
    pub keep: Vec<Placed<String>>,
}

/// How families and labels are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Naming {
    /// As Envoy's own endpoint calls them.
    #[default]
    Native,
    /// As Prometheus' naming rules ask.
    Standard,
}

/// Bucket bounds by unit, in the unit that the family is shown in.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Buckets {
    /// Of times in seconds.
    pub seconds: Option<Placed<Vec<f64>>>,
    /// Of sizes in bytes.
    pub bytes: Option<Placed<Vec<f64>>>,
    /// Of shares from 0 to 1.
    pub ratio: Option<Placed<Vec<f64>>>,
    /// Of numbers without a unit.
    pub count: Option<Placed<Vec<f64>>>,
}

/// What is done with the stats that a pattern matches. Rules apply in order; what a later one says
/// stands above what an earlier one said.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A base name; `{x}` stands for one token or a part of one, `{x*}` for one or more.
    pub stat: String,
    /// Only stats that have this label.
    pub with: Option<String>,
    /// The family's name; may hold placeholders.
    pub name: Option<String>,
    /// Labels to set, with placeholders; an empty text takes a label away.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// HELP.
    pub help: Option<String>,
    /// Type of a family that is not a histogram.
    #[serde(rename = "type")]
    pub scalar_type: Option<ScalarType>,
    /// Unit of the stat's values.
    pub unit: Option<Unit>,
    /// Bucket bounds, in the unit that the family is shown in.
    pub buckets: Option<Vec<f64>>,
    /// The form in which a histogram is shown.
    pub form: Option<HistogramForm>,
    /// Whether the stat has no series.
    pub drop: Option<bool>,
    /// How stats that end in one series are joined.
    pub join: Option<Join>,
}

/// The form in which a histogram is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HistogramForm {
    /// Counts in buckets, which can be added up over proxies.
    Histogram,
    /// The quantiles that Envoy computed, since the start of the proxy.
    Summary,
}

/// The type of a family that is not a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ScalarType {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Not known.
    Untyped,
}

/// How stats that end in one series are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Join {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their mean.
    Average,
}

/// A list of tag rules.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    pub rules: Vec<Attempt<Placed<TagRule>>>,
}

/// What becomes of the shipped tag rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplicitTags {
    /// What stands before the first tag.
    pub stat: String,
    /// Tag names in their order.
    pub tags: Vec<String>,
}

/// Where a user-chosen name stands: `learn` with `from`, or `mask`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// What stands before each stat.
    pub scope: OneOrMany,
    /// Base name behind the scope, and its description.
    pub stats: BTreeMap<String, Attempt<Placed<Stat>>>,
}

/// A string or a list of strings.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// The base unit that Prometheus' naming rules ask for, and what leads to it.
    pub const fn base(self) -> (Self, Factor) {
        match self {
            Self::Milliseconds => (Self::Seconds, Factor::over(1000)),
            Self::Microseconds => (Self::Seconds, Factor::over(1_000_000)),
            Self::Days => (
                Self::Seconds,
                Factor {
                    mul: 86_400,
                    div: 1,
                },
            ),
            Self::Percent => (Self::Ratio, Factor::over(100)),
            Self::TimestampMilliseconds => (Self::TimestampSeconds, Factor::over(1000)),
            Self::Seconds
            | Self::Bytes
            | Self::Ratio
            | Self::BytesPerSecond
            | Self::TimestampSeconds => (self, Factor::ONE),
        }
    }

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
pub fn parse(text: &str) -> (Option<Table>, Vec<Problem>) {
    yaml::read(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema that editors use. `UPDATE_GOLDEN=1` writes it.
    #[test]
    fn the_schema_for_editors_is_in_step() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/schema.json");
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Table)).unwrap() + "\n";
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        let have = std::fs::read_to_string(path).unwrap_or_default();
        assert!(have == schema, "{path} is not in step");
    }

    #[test]
    fn one_type_per_stat() {
        let table = parse(
            "catalogue: [{scope: a., stats: {x: {counter: A.}, y: {counter: A., gauge: B.}, z: {unit: bytes}}}]",
        )
        .0
        .unwrap();
        let section = table.catalogue.into_iter().next().unwrap().0.unwrap();
        let description = |name: &str| {
            let stat = section.stats[name].0.clone().unwrap();
            stat.value.description().map(|(stat_type, _)| stat_type)
        };
        assert_eq!(description("x"), Some(StatType::Counter));
        assert_eq!(description("y"), None);
        assert_eq!(description("z"), None);
    }
}
