//! `explain`: how a stat name is mapped, step by step, as text for a person.

use std::fmt::Write as _;

use crate::mapping::endpoints::Endpoints;
use crate::mapping::scopes::Scopes;
use crate::mapping::{Mapping, Verdict};
use crate::stat::StatType;

/// Explains one stat; the second result says whether an entry of the table describes it.
///
/// `stat_type` is what the target said of it; without a target the table's type stands in.
pub fn explain(
    mapping: &Mapping,
    scopes: &Scopes,
    name: &str,
    stat_type: Option<StatType>,
) -> (String, bool) {
    let steps = mapping.explain(scopes, &Endpoints::default(), name, stat_type, None);
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
        None => line(&mut text, "entry", "none: exported by the fallback"),
    }
    let stated = match (stat_type, steps.stat_type) {
        (Some(stat_type), _) => format!("{stat_type}, as Envoy says"),
        (None, Some(stat_type)) => format!("{stat_type}, as the table says"),
        (None, None) => "unknown: no target was asked, and the table has no entry".to_owned(),
    };
    line(&mut text, "type", &stated);
    match &steps.verdict {
        Verdict::Mapped(mapped) => {
            if let Some(unit) = mapped.unit {
                line(&mut text, "unit", unit.as_str());
            }
            line(&mut text, "help", &mapped.help);
            let block = mapped.labels.to_block();
            let series = if block.is_empty() {
                mapped.family.clone()
            } else {
                format!("{}{{{block}}}", mapped.family)
            };
            line(&mut text, "series", &series);
        }
        Verdict::Dropped => line(&mut text, "series", "none: a rule drops it"),
        Verdict::Invalid => line(
            &mut text,
            "series",
            "none: no legal metric name comes of it",
        ),
    }
    (text, steps.entry.is_some())
}

fn line(text: &mut String, what: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {what:<12} {value}");
}
