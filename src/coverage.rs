//! `coverage`: how much of what a target sends the table describes, as text for a person, and what
//! is left as entries that can be pasted into a table.
//!
//! Two things come in: the target's stats by name, and the snapshot that was made of the same
//! answers, which knows what was dropped and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::mapping::endpoints::Endpoints;
use crate::mapping::scopes::Scopes;
use crate::mapping::{Mapping, Verdict};
use crate::snapshot::{DropReason, Snapshot};
use crate::stat::StatType;

/// How many families are listed as the largest.
const LARGEST: usize = 10;

/// What was found out about the stats of a target.
#[derive(Debug, Default)]
pub struct Coverage {
    areas: BTreeMap<String, Area>,
    undescribed: BTreeMap<(String, StatType), Undescribed>,
}

#[derive(Debug, Default)]
struct Area {
    stats: usize,
    described: usize,
}

#[derive(Debug)]
struct Undescribed {
    stats: usize,
    /// One of them in full.
    example: String,
}

impl Coverage {
    /// Looks at every stat.
    pub fn new(mapping: &Mapping, scopes: &Scopes, stats: &BTreeMap<String, StatType>) -> Self {
        let mut coverage = Self::default();
        for (name, stat_type) in stats {
            let text = (*stat_type == StatType::TextReadout).then_some("");
            let steps =
                mapping.explain(scopes, &Endpoints::default(), name, Some(*stat_type), text);
            let area = name.split('.').next().unwrap_or_default();
            let area = coverage.areas.entry(area.to_owned()).or_default();
            area.stats += 1;
            let described = match &steps.verdict {
                Verdict::Mapped(mapped) => mapped.described,
                Verdict::Dropped | Verdict::Invalid => steps.entry.is_some(),
            };
            if described {
                area.described += 1;
                continue;
            }
            let key = (steps.extraction.base, *stat_type);
            let known = coverage.undescribed.entry(key).or_insert(Undescribed {
                stats: 0,
                example: name.clone(),
            });
            known.stats += 1;
        }
        coverage
    }

    /// Shares by area, what has no series and why, the largest families, and what is undescribed.
    pub fn report(&self, snapshot: &Snapshot) -> String {
        let mut text = String::new();
        let stats: usize = self.areas.values().map(|area| area.stats).sum();
        let described: usize = self.areas.values().map(|area| area.described).sum();
        line(
            &mut text,
            &format!(
                "{stats} stats: {described} described ({}), {} by the fallback",
                share(described, stats),
                stats - described
            ),
        );
        line(
            &mut text,
            &format!(
                "{} series in {} families",
                snapshot.series(),
                snapshot.families().len()
            ),
        );
        let report = snapshot.report();
        for reason in DropReason::ALL {
            let dropped = report.dropped(reason);
            let families = match reason {
                DropReason::Conflict => &report.conflicts,
                DropReason::Limit => &report.limited,
                DropReason::Invalid | DropReason::Relabel | DropReason::Rule => &Vec::new(),
            };
            if dropped > 0 {
                let families = if families.is_empty() {
                    String::new()
                } else {
                    format!(": {}", families.join(" "))
                };
                line(
                    &mut text,
                    &format!(
                        "{dropped} without a series, reason {}{families}",
                        reason.as_str()
                    ),
                );
            }
        }
        line(&mut text, "\narea                          stats described");
        for (name, area) in &self.areas {
            let share = share(area.described, area.stats);
            line(
                &mut text,
                &format!("{name:<28} {:>6} {share:>9}", area.stats),
            );
        }
        line(&mut text, "\nlargest families              series");
        for (series, name) in snapshot.largest().into_iter().take(LARGEST) {
            line(&mut text, &format!("{series:>6} {name}"));
        }
        if !self.undescribed.is_empty() {
            line(&mut text, "\nundescribed");
            for ((base, stat_type), found) in &self.undescribed {
                let example = &found.example;
                line(
                    &mut text,
                    &format!("{:>6} {stat_type} {base}   e.g. {example}", found.stats),
                );
            }
        }
        text
    }

    /// A table that describes what is undescribed, for a person to put better words into.
    pub fn suggestion(&self) -> String {
        let mut text = String::from(
            "# Entries for stats that no table describes. HELP says only what the name does: put in\n\
             # what you know, and unit: milliseconds, bytes, ... where the values have one.\n",
        );
        if self.undescribed.is_empty() {
            text.push_str("catalogue: []\n");
            return text;
        }
        text.push_str("catalogue:\n");
        let mut scope = None;
        for (base, stat_type) in self.undescribed.keys() {
            let (front, last) = base.rsplit_once('.').unwrap_or(("", base));
            if scope != Some(front) {
                let dotted = if front.is_empty() {
                    String::new()
                } else {
                    format!("{front}.")
                };
                line(
                    &mut text,
                    &format!("  - scope: {}\n    stats:", quoted(&dotted)),
                );
                scope = Some(front);
            }
            let words = last.replace('_', " ");
            let help = quoted(&format!("The {stat_type} {words} of {front}."));
            let key = stat_type.as_str();
            line(
                &mut text,
                &format!("      {}: {{{key}: {help}}}", quoted(last)),
            );
        }
        text
    }
}

fn share(part: usize, whole: usize) -> String {
    if part == whole {
        return "100 %".to_owned();
    }
    // Never rounded up to all of them.
    let tenths = part.saturating_mul(1000).checked_div(whole).unwrap_or(1000);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A YAML text in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{FamilyBounds, Source};

    fn stats() -> BTreeMap<String, StatType> {
        [
            ("cluster.a.upstream_rq_total", StatType::Counter),
            ("cluster.a.upstream_rq_time", StatType::Histogram),
            ("my.x.it's_here", StatType::Gauge),
            ("my.x.calls", StatType::Counter),
            ("alone", StatType::Counter),
        ]
        .into_iter()
        .map(|(name, stat_type)| (name.to_owned(), stat_type))
        .collect()
    }

    #[test]
    fn what_is_suggested_describes_everything() {
        let native = Mapping::native().unwrap();
        let coverage = Coverage::new(&native, &Scopes::default(), &stats());
        assert_eq!(coverage.undescribed.len(), 3);
        let source = Source::File {
            name: "suggested".to_owned(),
            text: coverage.suggestion(),
        };
        let mapping = Mapping::compile(&[source], FamilyBounds::default()).unwrap();
        let coverage = Coverage::new(&mapping, &Scopes::default(), &stats());
        assert!(
            coverage.undescribed.is_empty(),
            "{:?}",
            coverage.undescribed
        );
        assert!(coverage.suggestion().ends_with("catalogue: []\n"));
    }

    #[test]
    fn a_share_is_never_rounded_up_to_all() {
        for (part, whole, want) in [
            (0, 0, "100 %"),
            (2, 2, "100 %"),
            (9999, 10_000, "99.9 %"),
            (0, 3, "0.0 %"),
        ] {
            assert_eq!(share(part, whole), want);
        }
    }
}
