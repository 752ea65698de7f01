//! What is legal in a table and yet no good idea: rules that can never match, stats without HELP,
//! names that break Prometheus' naming rules. `check` tells them as warnings.

use super::catalogue::Entry;
use super::rules::Compiled;
use super::table::ScalarType;
use super::{Mapping, types};
use crate::family::FamilyType;
use crate::stat::StatType;

/// Units that Prometheus asks to be written as base units, and short forms that it takes for some.
const UNITS: [&str; 22] = [
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "minutes",
    "hours",
    "days",
    "kilobytes",
    "megabytes",
    "percent",
    "s",
    "ms",
    "us",
    "ns",
    "sec",
    "b",
    "kb",
    "mb",
    "gb",
    "tb",
    "m",
    "h",
    "d",
];

impl Mapping {
    /// A line for each thing in a user's tables that is worth a second look: `file:line:column:
    /// what`. A shipped table has its reasons.
    pub fn advice(&self) -> Vec<String> {
        self.advice_on(|rule| rule.is_users)
    }

    fn advice_on(&self, of_these: impl Fn(&Compiled) -> bool) -> Vec<String> {
        let mut advice = Vec::new();
        for rule in self.rules.iter().filter(|rule| of_these(rule)) {
            let entries: Vec<&Entry> = self
                .catalogue
                .iter()
                .filter(|entry| concerns(rule, entry))
                .collect();
            let mut note = |what: String| {
                let stat = &rule.stat;
                advice.push(format!(
                    "{}:{}: rule for '{stat}': {what}",
                    rule.file, rule.place
                ));
            };
            if entries.is_empty() && self.is_described_area(rule) {
                note("no described stat matches it; is there a slip in it?".to_owned());
            } else if entries.is_empty() && !rule.is_described() && !rule.drops() {
                note("nothing describes the stat: help is missing".to_owned());
            }
            let family_types = family_types(rule, &entries);
            for complaint in rule
                .fixed_name()
                .iter()
                .flat_map(|name| complaints(name, &family_types))
            {
                note(complaint);
            }
        }
        advice
    }

    /// Whether the catalogue has stats with the same first token.
    fn is_described_area(&self, rule: &Compiled) -> bool {
        let root = |name: &str| name.split('.').next().map(str::to_owned);
        let own = root(&rule.stat);
        self.catalogue.iter().any(|entry| root(&entry.name) == own)
    }
}

/// Whether a rule may apply to a stat that an entry describes.
fn concerns(rule: &Compiled, entry: &Entry) -> bool {
    rule.stat == entry.name
        || rule.matches(&filled(&entry.name))
        || entry.describes(&filled(&rule.stat))
}

/// A pattern with `x` in its placeholders.
fn filled(pattern: &str) -> String {
    let parts = pattern.split(['{', '}']).enumerate();
    parts
        .map(|(at, part)| if at % 2 == 0 { part } else { "x" })
        .collect()
}

/// The types that the rule's family may have.
fn family_types(rule: &Compiled, entries: &[&Entry]) -> Vec<FamilyType> {
    let said = rule.scalar_type();
    let of = |stat_type: StatType| types(Some(stat_type), said).1;
    match (entries, said) {
        ([], Some(ScalarType::Counter)) => vec![FamilyType::Counter],
        ([], Some(ScalarType::Gauge)) => vec![FamilyType::Gauge],
        _ => entries.iter().map(|entry| of(entry.stat_type)).collect(),
    }
}

/// How a family's name breaks Prometheus' naming rules.
pub fn complaints(name: &str, family_types: &[FamilyType]) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |what: &str| found.push(format!("name '{name}': {what}"));
    let words: Vec<&str> = name.split('_').collect();
    let last = words.last().copied().unwrap_or_default();
    let surely =
        |wanted| !family_types.is_empty() && family_types.iter().all(|have| *have == wanted);
    let never =
        |wanted| !family_types.is_empty() && family_types.iter().all(|have| *have != wanted);
    if surely(FamilyType::Counter) && last != "total" {
        note("a counter's name ends in _total");
    }
    if never(FamilyType::Counter) && last == "total" {
        note("only a counter's name ends in _total");
    }
    if never(FamilyType::Histogram) && ["count", "sum", "bucket"].contains(&last) {
        note("only parts of a histogram end in _count, _sum and _bucket");
    }
    if words.iter().any(|word| UNITS.contains(word)) {
        note("units are base units, written out: seconds, bytes, ratio");
    }
    if words
        .iter()
        .any(|word| ["counter", "gauge", "histogram", "summary"].contains(word))
    {
        note("a type has no place in a name");
    }
    if name.contains(':') {
        note("colons are for recording rules");
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        note("names are in lower case");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{FamilyBounds, Source};
    use super::*;

    fn advice(text: &str) -> Vec<String> {
        let source = Source::File {
            name: "f".to_owned(),
            text: text.to_owned(),
        };
        let mapping = Mapping::compile(&[source], FamilyBounds::default()).unwrap();
        mapping.advice()
    }

    #[test]
    fn shipped_tables_need_none() {
        for (profile, names) in [
            ("native", &[][..]),
            ("standard", &[]),
            ("basic", &[]),
            // As Kuscia's dashboards ask for them.
            (
                "kuscia",
                &["ss_retrans", "ss_bytes_sent", "ss_bytes_received"],
            ),
        ] {
            let source = Source::Profile(profile.to_owned());
            let mapping = Mapping::compile(&[source], FamilyBounds::default()).unwrap();
            assert_eq!(mapping.advice(), [""; 0], "{profile}");
            let advice = mapping.advice_on(|_| true);
            assert_eq!(advice.len(), names.len(), "{profile}: {advice:?}");
            for (line, name) in advice.iter().zip(names) {
                let want = format!("name '{name}': a counter's name ends in _total");
                assert!(line.ends_with(&want), "{line}");
            }
        }
    }

    #[test]
    fn what_is_worth_a_second_look() {
        for (rule, want) in [
            (
                "{stat: cluster.upstream_rq_totl, drop: true}",
                "no described stat matches it; is there a slip in it?",
            ),
            (
                "{stat: my.own.stat, labels: {a: b}}",
                "nothing describes the stat: help is missing",
            ),
            (
                "{stat: cluster.upstream_rq_total, name: my_requests}",
                "name 'my_requests': a counter's name ends in _total",
            ),
            (
                "{stat: cluster.upstream_rq_active, name: my_requests_total}",
                "name 'my_requests_total': only a counter's name ends in _total",
            ),
            (
                "{stat: cluster.upstream_rq_time, name: my_time_ms}",
                "name 'my_time_ms': units are base units, written out: seconds, bytes, ratio",
            ),
            (
                "{stat: cluster.upstream_rq_active, name: 'my:Gauge'}",
                "name 'my:Gauge': colons are for recording rules",
            ),
        ] {
            let found = advice(&format!("rules: [{rule}]"));
            let stat = rule.split([' ', ',']).nth(1).unwrap();
            assert_eq!(found[0], format!("f:1:9: rule for '{stat}': {want}"));
        }
        assert_eq!(
            advice(
                "rules: [{stat: 'cluster.circuit_breakers.{p}.cx_open', name: a, labels: {p: '{p}'}}]"
            ),
            [""; 0]
        );
    }
}
