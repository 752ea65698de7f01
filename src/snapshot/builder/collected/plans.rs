//! Findings that differ in the values of their tags alone: 20,000 endpoints have the same twenty-odd
//! numbers each. What the table makes of one is kept as a plan, with the labels in which the values
//! come out, so that the others need no more than those values.

use hashbrown::HashMap;

use super::{Form, SEPARATOR, unescaped};
use crate::mapping::{Mapped, Mapping, Verdict};

/// Plans by the names of findings, without their values.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: HashMap<String, Plan>,
    /// The key under way: form, scope, tags, last word.
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
        self.key.push(form.letter());
        self.key.push_str(scope);
        for tag in parts.clone().step_by(2) {
            self.key.push(SEPARATOR);
            self.key.push_str(tag);
        }
        self.key.push('.');
        self.key.push_str(word);
        let values = parts.clone().skip(1).step_by(2).map(unescaped);
        let tags = || parts.clone().step_by(2).map(unescaped);
        let map = |tags| mapping.map_collected(format!("{scope}.{word}"), tags, form.stat_type());
        let plan = self.plans.entry_ref(self.key.as_str());
        let plan = plan.or_insert_with(|| {
            let tags: Vec<_> = tags()
                .enumerate()
                .map(|(at, tag)| (tag, stand_in(at)))
                .collect();
            let count = tags.len();
            Plan::new(map(tags), count)
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{FamilyBounds, Source};

    /// Whatever rules do with labels, a plan gives what mapping the finding by itself gives.
    #[test]
    fn a_plan_gives_what_the_table_gives() {
        let rules = "rules:
  - {stat: cluster.endpoint.weight, labels: {envoy_cluster_name: '', own: fixed}}
  - {stat: cluster.endpoint.rq_total, name: requests_total, labels: {envoy_endpoint_address: same}}
  - {stat: cluster.endpoint.healthy, with: envoy_endpoint_hostname, drop: true}
  - {stat: 'cluster.{any}.{word}_active', name: 'active_{word}', labels: {any: '{any}'}}";
        let table = Source::File {
            name: "rules".to_owned(),
            text: rules.to_owned(),
        };
        for profile in ["native", "standard"] {
            let sources = [Source::Profile(profile.to_owned()), table.clone()];
            let mapping = Mapping::compile(&sources, FamilyBounds::default()).unwrap();
            let mut plans = Plans::default();
            let mut compared = 0;
            for hostname in ["h", "", "\\n.\\\\"] {
                for address in ["10.0.0.1:80", "0", "\u{e9} \"1\""] {
                    for (word, form) in [
                        ("weight", Form::Gauge),
                        ("rq_total", Form::Counter),
                        ("rq_total", Form::Double),
                        ("healthy", Form::Gauge),
                        ("cx_active", Form::Gauge),
                        ("info", Form::Info),
                        ("new", Form::Counter),
                    ] {
                        let mut name = "cluster.endpoint".to_owned();
                        let mut tags = Vec::new();
                        for (tag, value) in [
                            ("envoy.cluster_name", "a.b"),
                            ("envoy.endpoint_address", address),
                            ("envoy.endpoint_hostname", hostname),
                        ] {
                            if !value.is_empty() {
                                name = format!("{name}\n{tag}\n{value}");
                                tags.push((tag.to_owned(), unescaped(value)));
                            }
                        }
                        let base = format!("cluster.endpoint.{word}");
                        let want = mapping.map_collected(base, tags, form.stat_type());
                        let name = format!("{name}.{word}");
                        assert_eq!(
                            plans.verdict(&mapping, &name, form),
                            want,
                            "{profile}: {name:?}"
                        );
                        compared += 1;
                    }
                }
            }
            assert_eq!(compared, 63);
        }
    }
}
