//! Findings that differ in the values of their tags alone: 20,000 endpoints have the same twenty-odd
//! numbers each. What the table makes of one is kept as a plan, with the labels in which the values
//! come out, so that the others need no more than those values.

use hashbrown::HashMap;

use super::{Form, SEPARATOR, unescaped};
use crate::mapping::{Mapped, Mapping, Verdict};

/// Plans by the names of findings, without their values.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: HashMap<(Form, String), Plan>,
    /// The look-up key under way.
    key: String,
}

#[derive(Debug)]
enum Plan {
    /// The verdict, and the label that each tag's value goes to.
    Holes(Box<Mapped>, Vec<Option<String>>),
    /// The verdict, which has no values in it.
    Same(Verdict),
    /// Each finding is mapped by itself.
    None,
}

/// What stands for the value of a tag while a plan is made: no byte of it is left in what is made a
/// part of a name.
fn stand_in(tag: usize) -> String {
    format!("\u{1}{tag}\u{2}")
}

impl Plans {
    /// What the table makes of a finding of this name.
    pub(super) fn verdict(&mut self, mapping: &Mapping, name: &str, form: Form) -> Verdict {
        let (subject, word) = name.rsplit_once('.').unwrap_or(("", name));
        let mut parts = subject.split(SEPARATOR);
        let scope = parts.next().unwrap_or_default();
        self.key.clear();
        self.key.push_str(scope);
        for tag in parts.clone().step_by(2) {
            self.key.push(SEPARATOR);
            self.key.push_str(tag);
        }
        self.key.push('.');
        self.key.push_str(word);
        let key = (form, std::mem::take(&mut self.key));
        let values = parts.clone().skip(1).step_by(2).map(unescaped);
        let tags = || parts.clone().step_by(2).map(unescaped);
        let map = |tags| mapping.map_collected(format!("{scope}.{word}"), tags, form.stat_type());
        let plan = self.plans.entry(key.clone()).or_insert_with(|| {
            let tags: Vec<_> = tags()
                .enumerate()
                .map(|(at, tag)| (tag, stand_in(at)))
                .collect();
            let count = tags.len();
            Plan::new(map(tags), count)
        });
        self.key = key.1;
        match plan {
            Plan::Holes(mapped, labels) => {
                let mut mapped = mapped.as_ref().clone();
                for (label, value) in labels.iter().zip(values) {
                    if let Some(label) = label {
                        mapped.labels.set(label.clone(), value);
                    }
                }
                Verdict::Mapped(mapped)
            }
            Plan::Same(verdict) => verdict.clone(),
            Plan::None => map(tags().zip(values).collect()),
        }
    }
}

impl Plan {
    fn new(verdict: Verdict, tags: usize) -> Self {
        let Verdict::Mapped(mapped) = verdict else {
            return Self::Same(verdict);
        };
        let has_value = |text: &str| text.contains(['\u{1}', '\u{2}']);
        let labels: Vec<_> = (0..tags)
            .map(|tag| {
                let value = stand_in(tag);
                let mut labels = mapped.labels.iter();
                let label = labels.find(|(_, have)| *have == value);
                label.map(|(label, _)| label.to_owned())
            })
            .collect();
        // Every value that is shown must be one whole label's.
        let shown = mapped.labels.iter().filter(|(_, value)| has_value(value));
        if shown.count() == labels.iter().flatten().count() {
            Self::Holes(Box::new(mapped), labels)
        } else {
            Self::None
        }
    }
}
