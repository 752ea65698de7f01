//! `explain`: how a stat name is mapped, step by step, as text for a person.

use std::fmt::Write as _;

use crate::family::{Factor, FamilyType};
use crate::mapping::endpoints::Endpoints;
use crate::mapping::scopes::Scopes;
use crate::mapping::{BoundsFrom, Mapped, Mapping, Verdict};
use crate::names::{Labels, number_text};
use crate::relabel;
use crate::stat::StatType;

/// By what stats are explained.
#[derive(Clone, Copy, Debug)]
pub struct Explainer<'e> {
    /// The table.
    pub mapping: &'e Mapping,
    /// Scope names that are known.
    pub scopes: &'e Scopes,
    /// Labels of the target.
    pub target_labels: &'e Labels,
    /// Rules that every series goes through.
    pub relabel: &'e relabel::Rules,
}

impl Explainer<'_> {
    /// Explains one stat; the second result says whether the table describes it.
    ///
    /// `stat_type` is what the target said of it; without a target the table's type stands in.
    pub fn explain(&self, name: &str, stat_type: Option<StatType>) -> (String, bool) {
        let steps = self
            .mapping
            .explain(self.scopes, &Endpoints::default(), name, stat_type, None);
        let mut text = format!("{name}\n");
        if steps.scoped != name {
            line(&mut text, "scoped name", &steps.scoped);
        }
        for (tag, value) in &steps.extraction.tags {
            line(&mut text, "tag", &format!("{tag} = {value:?}"));
        }
        line(&mut text, "base name", &steps.extraction.base);
        match steps.entry {
            Some(entry) => line(&mut text, "entry", &entry.name),
            None => line(&mut text, "entry", "none"),
        }
        for rule in &steps.rules {
            let place = format!("{} ({}:{})", rule.stat, rule.file, rule.place);
            line(&mut text, "rule", &place);
        }
        let stated = match (stat_type, steps.stat_type) {
            (Some(stat_type), _) => format!("{stat_type}, as Envoy says"),
            (None, Some(stat_type)) => format!("{stat_type}, as the table says"),
            (None, None) => "unknown: no target was asked, and the table has no entry".to_owned(),
        };
        line(&mut text, "type", &stated);
        match steps.verdict {
            Verdict::Mapped(mut mapped) => {
                for (label, value) in self.target_labels.iter() {
                    mapped.labels.set(label.to_owned(), value.to_owned());
                }
                self.write_series(&mut text, &mapped);
                (text, mapped.described)
            }
            Verdict::Dropped => {
                line(&mut text, "series", "none: the table drops it");
                (text, true)
            }
            Verdict::Invalid => {
                line(
                    &mut text,
                    "series",
                    "none: no legal metric name comes of it",
                );
                (text, false)
            }
        }
    }

    fn write_series(&self, text: &mut String, mapped: &Mapped) {
        if let Some(unit) = mapped.unit {
            let Factor { mul, div } = mapped.factor;
            let factor = match (mul, div) {
                (1, 1) => String::new(),
                (1, div) => format!(", Envoy's numbers divided by {div}"),
                (mul, _) => format!(", Envoy's numbers times {mul}"),
            };
            line(text, "unit", &format!("{}{factor}", unit.as_str()));
        }
        line(text, "help", &mapped.help);
        if mapped.family_type == FamilyType::Histogram {
            let list = |bounds: &[f64]| {
                let bounds: Vec<_> = bounds.iter().map(|bound| number_text(*bound)).collect();
                bounds.join(" ")
            };
            let bounds = match &mapped.bounds {
                BoundsFrom::Envoy => "those that Envoy has in force".to_owned(),
                BoundsFrom::Table(bounds) => list(bounds),
                BoundsFrom::TableUnlessSet(bounds) => {
                    format!("{}, unless Envoy's configuration sets some", list(bounds))
                }
            };
            line(text, "buckets", &bounds);
        }
        line(text, "series", &series(&mapped.family, &mapped.labels));
        if self.relabel.is_empty() {
            return;
        }
        let suffixes: &[&str] = match mapped.family_type {
            FamilyType::Histogram => &["_bucket", "_sum", "_count"],
            FamilyType::Summary => &["_sum", "_count"],
            _ => &[""],
        };
        for suffix in suffixes {
            let mut labels: relabel::Labels = mapped.labels.iter().collect();
            labels.set(relabel::NAME, format!("{}{suffix}", mapped.family));
            let becomes = match self.relabel.apply(&mut labels) {
                relabel::Verdict::Drop => "dropped".to_owned(),
                relabel::Verdict::Keep if !relabel::is_valid_result(&labels) => {
                    "dropped: no legal name or labels are left".to_owned()
                }
                relabel::Verdict::Keep => {
                    let name = labels.remove(relabel::NAME).unwrap_or_default();
                    let mut left = Labels::new();
                    for (label, value) in labels {
                        left.set(label, value);
                    }
                    series(&name, &left)
                }
            };
            let what = if suffix.is_empty() {
                becomes
            } else {
                format!("{suffix}: {becomes}")
            };
            line(text, "relabeled", &what);
        }
    }
}

fn series(family: &str, labels: &Labels) -> String {
    let block = labels.to_block();
    if block.is_empty() {
        family.to_owned()
    } else {
        format!("{family}{{{block}}}")
    }
}

fn line(text: &mut String, what: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {what:<12} {value}");
}
