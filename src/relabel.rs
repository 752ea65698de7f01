//! Relabeling of series by the rules of Prometheus' `metric_relabel_configs`.
//!
//! In come [`RuleConfig`]s as they stand in a file, and then the [`Labels`] of one series with its
//! name as `__name__`; out come the changed labels and a [`Verdict`]. A rule that Prometheus would
//! refuse does not compile, so that [`Rules::apply`] has no errors; what it leaves may still be no
//! series at all, which [`is_valid_result`] tells.
//!
//! The rules are those of Prometheus with names in the legacy charset:
//! <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>.
//! Where versions differ it is as in 3.x: a `.` matches a line feed, so that the regex is anchored
//! as `^(?s:...)$`; only `replace` takes a target with groups in it; and `labelmap` comes last to
//! the labels that rules before it have set.

use md5::{Digest, Md5};
use regex::Regex;

use crate::names::{is_label_name, is_metric_name};

mod case;
mod config;
mod labels;
mod pattern;
mod template;

pub use config::{Error, Problem, RuleConfig};
pub use labels::{Labels, NAME};
use template::Template;

/// What becomes of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It goes on with its labels as they are now.
    Keep,
    /// It goes no further; its labels are in no particular state.
    Drop,
}

/// Compiled rules in their order.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Compiles all rules, or gives every mistake in them.
    pub fn compile(configs: &[RuleConfig]) -> Result<Self, Vec<Error>> {
        let mut errors = Vec::new();
        let rules = (1..)
            .zip(configs)
            .filter_map(|(number, config)| config.compile(number, &mut errors))
            .collect();
        if errors.is_empty() {
            Ok(Self(rules))
        } else {
            Err(errors)
        }
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies one rule after the other, up to the first that drops the series. A series without
    /// any label left is dropped too, as Prometheus has it.
    pub fn apply(&self, labels: &mut Labels) -> Verdict {
        let mut edit = Edit::new(labels);
        for rule in &self.0 {
            if rule.apply(&mut edit) == Verdict::Drop {
                return Verdict::Drop;
            }
        }
        if labels.is_empty() {
            Verdict::Drop
        } else {
            Verdict::Keep
        }
    }
}

/// Whether relabeled labels are a series: a metric name and label names of the legacy charset.
///
/// Labels that start with `__`, such as a `__tmp` that a later rule was to read, are left alone.
/// Prometheus strips those of a target at the end of `relabel_configs`, but not those of a sample
/// after `metric_relabel_configs` (`mutateSampleLabels` in its `scrape.go`): there a rule has to
/// drop them. Where this is false Prometheus fails the whole scrape.
pub fn is_valid_result(labels: &Labels) -> bool {
    is_metric_name(labels.get(NAME)) && labels.iter().all(|(name, _)| is_label_name(name))
}

/// A compiled rule.
#[derive(Clone, Debug)]
struct Rule {
    source_labels: Vec<String>,
    separator: String,
    action: Action,
}

/// What a rule does, with what it needs for it. Targets that are strings are label names.
#[derive(Clone, Debug)]
enum Action {
    Replace {
        regex: Regex,
        target: Template,
        replacement: Template,
    },
    Keep(Regex),
    Drop(Regex),
    KeepEqual(String),
    DropEqual(String),
    HashMod {
        modulus: u64,
        target: String,
    },
    LabelMap {
        regex: Regex,
        replacement: Template,
    },
    LabelDrop(Regex),
    LabelKeep(Regex),
    Lowercase(String),
    Uppercase(String),
}

impl Rule {
    fn apply(&self, edit: &mut Edit<'_>) -> Verdict {
        let value = self.source(edit.labels);
        let keep = match &self.action {
            Action::Keep(regex) => regex.is_match(&value),
            Action::Drop(regex) => !regex.is_match(&value),
            Action::KeepEqual(target) => edit.labels.get(target) == value,
            Action::DropEqual(target) => edit.labels.get(target) != value,
            Action::Replace {
                regex,
                target,
                replacement,
            } => {
                if let Some(captures) = regex.captures(&value) {
                    let target = target.expand(&captures);
                    if is_label_name(&target) {
                        edit.set(target, replacement.expand(&captures));
                    }
                }
                true
            }
            Action::HashMod { modulus, target } => {
                edit.set(target.clone(), hash_mod(&value, *modulus));
                true
            }
            Action::Lowercase(target) => {
                edit.set(target.clone(), case::lower(&value));
                true
            }
            Action::Uppercase(target) => {
                edit.set(target.clone(), case::upper(&value));
                true
            }
            Action::LabelMap { regex, replacement } => {
                for (name, value) in edit.snapshot(regex) {
                    let name = regex.replace_all(&name, |captures: &regex::Captures<'_>| {
                        replacement.expand(captures)
                    });
                    edit.set(name.into_owned(), value);
                }
                true
            }
            Action::LabelDrop(regex) => {
                edit.retain(|name| !regex.is_match(name));
                true
            }
            Action::LabelKeep(regex) => {
                edit.retain(|name| regex.is_match(name));
                true
            }
        };
        if keep { Verdict::Keep } else { Verdict::Drop }
    }

    /// The values of the source labels, joined.
    fn source(&self, labels: &Labels) -> String {
        let mut joined = String::new();
        for (index, name) in self.source_labels.iter().enumerate() {
            if index > 0 {
                joined.push_str(&self.separator);
            }
            joined.push_str(labels.get(name));
        }
        joined
    }
}

/// The last eight bytes of the MD5 sum as a big-endian number, modulo `modulus`. Zero, which does
/// not compile, counts as one.
fn hash_mod(text: &str, modulus: u64) -> String {
    let sum = u128::from_be_bytes(Md5::digest(text).into());
    ((sum & u128::from(u64::MAX)) % u128::from(modulus.max(1))).to_string()
}

/// Labels while rules work on them.
///
/// Where `labelmap` gives two labels one name, the later wins, and Prometheus goes through those
/// that came with the series by name and then through those that rules have set, in the order in
/// which they were set.
#[derive(Debug)]
struct Edit<'a> {
    labels: &'a mut Labels,
    /// Names that rules have set and not removed since.
    set: Vec<String>,
}

impl<'a> Edit<'a> {
    fn new(labels: &'a mut Labels) -> Self {
        Self {
            labels,
            set: Vec::new(),
        }
    }

    fn set(&mut self, name: String, value: String) {
        if value.is_empty() {
            self.set.retain(|have| *have != name);
        } else if !self.set.contains(&name) {
            self.set.push(name.clone());
        }
        self.labels.set(name, value);
    }

    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.labels.retain(&keep);
        self.set.retain(|name| keep(name));
    }

    /// Labels whose name matches, in the order described above.
    fn snapshot(&self, regex: &Regex) -> Vec<(String, String)> {
        let came = self
            .labels
            .iter()
            .filter(|(name, _)| !self.set.iter().any(|set| set == name));
        let set = self
            .set
            .iter()
            .map(|name| (name.as_str(), self.labels.get(name)));
        came.chain(set)
            .filter(|(name, _)| regex.is_match(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests;
