//! The written form of a rule, and what makes one that can be applied.
//!
//! What is refused is what Prometheus refuses, field by field. As in Prometheus, a field that is
//! written as null is empty, which is not the same as its default.

use regex::Regex;
use serde::{Deserialize, Deserializer};

use super::template::{self, Template};
use super::{Action, Rule, pattern};
use crate::names::is_label_name;

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// A mistake in a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}: {field}: {problem}")]
pub struct Error {
    /// The rule's number, from one.
    pub rule: usize,
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No action has this name.
    #[error("unknown action '{0}'")]
    UnknownAction(String),
    /// The action does not work without it.
    #[error("action {0} needs it")]
    Missing(&'static str),
    /// The action works without it, and it is not the default.
    #[error("action {0} does not take it")]
    NotTaken(&'static str),
    /// Not a label name.
    #[error("'{0}' is not a label name")]
    LabelName(String),
    /// Not a label name that may have groups of the regex in it.
    #[error("'{0}' is not a label name, also not with groups put in")]
    LabelTemplate(String),
    /// The regex does not compile.
    #[error("'{regex}': {reason}")]
    Regex {
        /// The regex as it is written.
        regex: String,
        /// Why it does not.
        reason: String,
    },
}

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleConfig {
    /// Labels whose values the rule reads.
    pub source_labels: Option<Vec<String>>,
    /// What stands between those values.
    #[serde(deserialize_with = "null_is_empty")]
    pub separator: String,
    /// The label that the rule sets or compares with.
    #[serde(deserialize_with = "null_is_empty")]
    pub target_label: String,
    /// What the values, or label names, have to match as a whole; `(.*)` if it is not written.
    #[serde(deserialize_with = "written")]
    pub regex: Option<String>,
    /// The modulus of `hashmod`.
    #[serde(deserialize_with = "null_is_empty")]
    pub modulus: u64,
    /// The value, or label name, that is set; groups of the regex may stand in it.
    #[serde(deserialize_with = "null_is_empty")]
    pub replacement: String,
    /// What is done, in letters of either case.
    #[serde(deserialize_with = "null_is_empty")]
    pub action: String,
}

impl Default for RuleConfig {
    fn default() -> Self {
        Self {
            source_labels: None,
            separator: DEFAULT_SEPARATOR.to_owned(),
            target_label: String::new(),
            regex: None,
            modulus: 0,
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: Name::Replace.as_str().to_owned(),
        }
    }
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    field: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(field)?.unwrap_or_default())
}

fn written<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    null_is_empty(field).map(Some)
}

impl RuleConfig {
    /// The compiled rule; nothing if anything was added to `errors`.
    pub(super) fn compile(&self, number: usize, errors: &mut Vec<Error>) -> Option<Rule> {
        let before = errors.len();
        let mut report = |field, problem| {
            errors.push(Error {
                rule: number,
                field,
                problem,
            });
        };
        for name in self.source_labels.iter().flatten() {
            if !is_label_name(name) {
                report("source_labels", Problem::LabelName(shortened(name)));
            }
        }
        let regex = pattern::compile(self.regex.as_deref().unwrap_or(DEFAULT_REGEX))
            .map_err(|reason| {
                let regex = shortened(self.regex.as_deref().unwrap_or_default());
                report("regex", Problem::Regex { regex, reason });
            })
            .ok();
        let name = Name::parse(&self.action);
        match name {
            Some(name) => self.check(name, report),
            None => report("action", Problem::UnknownAction(shortened(&self.action))),
        }
        (errors.len() == before).then_some(Rule {
            source_labels: self.source_labels.clone().unwrap_or_default(),
            separator: self.separator.clone(),
            action: self.action(name?, regex?),
        })
    }

    /// Reports the fields that do not fit the action.
    fn check(&self, name: Name, mut report: impl FnMut(&'static str, Problem)) {
        let action = name.as_str();
        if name == Name::HashMod && self.modulus == 0 {
            report("modulus", Problem::Missing(action));
        }
        if name.needs_target() {
            let target = &self.target_label;
            if target.is_empty() {
                report("target_label", Problem::Missing(action));
            } else if name == Name::Replace && target.contains('$') {
                if !template::may_name_label(target) {
                    report("target_label", Problem::LabelTemplate(shortened(target)));
                }
            } else if !is_label_name(target) {
                report("target_label", Problem::LabelName(shortened(target)));
            }
        }
        if name == Name::LabelMap && !template::may_name_label(&self.replacement) {
            report(
                "replacement",
                Problem::LabelTemplate(shortened(&self.replacement)),
            );
        }
        // What is written as its default counts as not written, except for lists and regexes, of
        // which Prometheus can tell.
        for (field, is_written) in [
            ("source_labels", self.source_labels.is_some()),
            ("target_label", !self.target_label.is_empty()),
            ("regex", self.regex.is_some()),
            ("modulus", self.modulus != 0),
            ("separator", self.separator != DEFAULT_SEPARATOR),
            ("replacement", self.replacement != DEFAULT_REPLACEMENT),
        ] {
            if is_written && name.refuses().contains(&field) {
                report(field, Problem::NotTaken(action));
            }
        }
    }

    fn action(&self, name: Name, regex: Regex) -> Action {
        let target = self.target_label.clone();
        match name {
            Name::Replace => Action::Replace {
                target: Template::new(&target, &regex),
                replacement: Template::new(&self.replacement, &regex),
                regex,
            },
            Name::Keep => Action::Keep(regex),
            Name::Drop => Action::Drop(regex),
            Name::KeepEqual => Action::KeepEqual(target),
            Name::DropEqual => Action::DropEqual(target),
            Name::HashMod => Action::HashMod {
                modulus: self.modulus,
                target,
            },
            Name::LabelMap => Action::LabelMap {
                replacement: Template::new(&self.replacement, &regex),
                regex,
            },
            Name::LabelDrop => Action::LabelDrop(regex),
            Name::LabelKeep => Action::LabelKeep(regex),
            Name::Lowercase => Action::Lowercase(target),
            Name::Uppercase => Action::Uppercase(target),
        }
    }
}

/// An action by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Name {
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    fn parse(text: &str) -> Option<Self> {
        let lower = super::case::lower(text);
        Self::ALL.into_iter().find(|name| name.as_str() == lower)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    const fn needs_target(self) -> bool {
        matches!(
            self,
            Self::Replace
                | Self::HashMod
                | Self::KeepEqual
                | Self::DropEqual
                | Self::Lowercase
                | Self::Uppercase
        )
    }

    /// Fields that may not be written. Others that do nothing are let pass, as Prometheus does.
    const fn refuses(self) -> &'static [&'static str] {
        match self {
            Self::LabelDrop | Self::LabelKeep => &[
                "source_labels",
                "target_label",
                "modulus",
                "separator",
                "replacement",
            ],
            Self::KeepEqual | Self::DropEqual => &["regex", "modulus", "separator", "replacement"],
            Self::Lowercase | Self::Uppercase => &["replacement"],
            Self::Replace | Self::Keep | Self::Drop | Self::HashMod | Self::LabelMap => &[],
        }
    }
}

/// As much of `text` as a message shows.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
