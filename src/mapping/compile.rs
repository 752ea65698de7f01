//! From written tables to a mapping: every mistake with its file, line and column, or none.

use std::sync::Arc;

use hashbrown::HashMap;

use super::catalogue::Catalogue;
use super::rules::{Rules, check_bounds};
use super::scopes::ScopeRules;
use super::table::{self, Buckets, Defaults, Naming, Table, Unit};
use super::tags::TagRules;
use super::tokens::TokenPattern;
use super::{FamilyBounds, Mapping};
use crate::names;
use crate::yaml::{self, Placed, Problem};

/// The shipped tables: file name and text.
const SHIPPED: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/mappings.rs"));

/// The shipped profiles besides `native`, which is the shipped tables alone.
const PROFILES: [(&str, &str); 3] = [
    (
        "standard",
        include_str!("../../mappings/profiles/standard.yaml"),
    ),
    ("basic", include_str!("../../mappings/profiles/basic.yaml")),
    (
        "kuscia",
        include_str!("../../mappings/profiles/kuscia.yaml"),
    ),
];

/// A table that cannot be used, with every reason.
#[derive(Debug, thiserror::Error)]
#[error("{}", .reasons.join("\n"))]
pub struct Error {
    /// One line each: `file:line:column: reason`.
    pub reasons: Vec<String>,
}

/// What a mapping is made of besides the shipped tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A shipped profile: `native`, `standard`, `basic` or `kuscia`.
    Profile(String),
    /// A user's table.
    File {
        /// Its name, for messages.
        name: String,
        /// What stands in it.
        text: String,
    },
}

/// How everything is named by a shipped profile, where one of this name says so.
pub fn naming_of(name: &str) -> Option<Naming> {
    match name {
        "native" | "kuscia" => Some(Naming::Native),
        "standard" => Some(Naming::Standard),
        _ => None,
    }
}

/// Whether a shipped profile has this name.
pub fn is_profile(name: &str) -> bool {
    name == "native" || PROFILES.iter().any(|(profile, _)| *profile == name)
}

/// Bucket bounds by the unit that is shown.
#[derive(Debug, Default)]
pub(super) struct UnitBounds {
    seconds: Option<Arc<[f64]>>,
    bytes: Option<Arc<[f64]>>,
    ratio: Option<Arc<[f64]>>,
    count: Option<Arc<[f64]>>,
}

impl Mapping {
    /// The shipped tables alone.
    pub fn native() -> Result<Self, Error> {
        Self::compile(&[], FamilyBounds::default())
    }

    /// The shipped tables with others behind them, in order.
    pub fn compile(sources: &[Source], family_bounds: FamilyBounds) -> Result<Self, Error> {
        let mut mapping = Self {
            naming: Naming::Native,
            shipped_tags: TagRules::default(),
            tags: None,
            explicit: Vec::new(),
            scopes: ScopeRules::default(),
            labels: HashMap::new(),
            words: HashMap::new(),
            catalogue: Catalogue::default(),
            rules: Rules::default(),
            unit_bounds: UnitBounds::default(),
            family_bounds,
            keep: Vec::new(),
            uniform: true,
        };
        let mut reasons = Vec::new();
        for (file, text) in SHIPPED {
            if let Some((rules, _)) = mapping.add((file, false), text, &mut reasons) {
                mapping.shipped_tags.extend(rules);
            }
        }
        for source in sources {
            let (is_users, file, text) = match source {
                Source::Profile(name) if name == "native" => continue,
                Source::Profile(name) => {
                    let found = PROFILES.iter().find(|(profile, _)| profile == name);
                    let Some((profile, text)) = found else {
                        reasons.push(format!("mapping: there is no profile '{name}'"));
                        continue;
                    };
                    (false, *profile, *text)
                }
                Source::File { name, text } => (true, name.as_str(), text.as_str()),
            };
            if let Some((rules, defaults)) = mapping.add((file, is_users), text, &mut reasons) {
                mapping.add_user_tags(rules, defaults);
            }
        }
        let catalogue = &mapping.catalogue;
        mapping
            .rules
            .bind(|name| catalogue.iter().any(|entry| entry.name == name));
        if reasons.is_empty() {
            Ok(mapping)
        } else {
            Err(Error { reasons })
        }
    }

    /// Takes in all of a table but its tag rules, which it gives back compiled. The table comes with
    /// whether it is a user's.
    fn add(
        &mut self,
        (file, is_users): (&str, bool),
        text: &str,
        reasons: &mut Vec<String>,
    ) -> Option<(TagRules, Defaults)> {
        let (table, mut problems) = table::parse(text);
        let tags = table.and_then(|table| self.take((file, is_users), table, &mut problems));
        problems.sort();
        reasons.extend(problems.iter().map(|problem| format!("{file}:{problem}")));
        tags
    }

    fn take(
        &mut self,
        (file, is_users): (&str, bool),
        table: Table,
        problems: &mut Vec<Problem>,
    ) -> Option<(TagRules, Defaults)> {
        self.naming = table.naming.unwrap_or(self.naming);
        let has_own = !table.explicit_tags.is_empty() || !table.scopes.is_empty();
        let is_shipped = SHIPPED.iter().any(|(shipped, _)| *shipped == file);
        self.uniform &= is_shipped || !has_own;
        let explicit = yaml::take_all(table.explicit_tags, problems);
        self.explicit
            .extend(explicit.into_iter().map(|rule| rule.value));
        let scopes = yaml::take_all(table.scopes, problems);
        self.scopes.extend(ScopeRules::compile(&scopes, problems));
        for (tag, label) in table.labels {
            if names::is_label_name(&label.value) && !label.value.starts_with("__") {
                self.labels.insert(tag, label.value);
            } else {
                problems.push(label.problem(format!("'{}' is not a label name", label.value)));
            }
        }
        for (word, said) in table.words {
            self.words.insert(word, said.value);
        }
        let sections = yaml::take_all(table.catalogue, problems);
        self.catalogue.extend(sections, problems);
        if let Some(buckets) = table.buckets.take(problems) {
            self.unit_bounds.take(buckets, problems);
        }
        let rules = yaml::take_all(table.rules, problems);
        self.rules.extend((file, is_users), &rules, problems);
        for pattern in table.keep {
            match TokenPattern::from_base_name(&pattern.value) {
                Ok((compiled, _)) => self.keep.push(compiled),
                Err(reason) => problems.push(pattern.problem(reason)),
            }
        }
        let tags = table.tags.take(problems)??;
        let rules = yaml::take_all(tags.rules, problems);
        let compiled = TagRules::compile(&rules, tags.names, problems);
        Some((compiled, tags.defaults))
    }

    fn add_user_tags(&mut self, rules: TagRules, defaults: Defaults) {
        self.uniform = false;
        let mut base = match (defaults, self.tags.take()) {
            (Defaults::Replace, _) => TagRules::default(),
            (Defaults::Keep, Some(before)) => before,
            (Defaults::Keep, None) => self.shipped_tags.clone(),
        };
        base.extend(rules);
        self.tags = Some(base);
    }
}

impl UnitBounds {
    fn take(&mut self, buckets: Buckets, problems: &mut Vec<Problem>) {
        let mut checked = |bounds: Option<Placed<Vec<f64>>>, place: &mut Option<Arc<[f64]>>| {
            let Some(bounds) = bounds else { return };
            match check_bounds(&bounds.value) {
                Ok(()) => *place = Some(bounds.value.into()),
                Err(reason) => problems.push(bounds.problem(reason)),
            }
        };
        checked(buckets.seconds, &mut self.seconds);
        checked(buckets.bytes, &mut self.bytes);
        checked(buckets.ratio, &mut self.ratio);
        checked(buckets.count, &mut self.count);
    }

    pub(super) fn of(&self, unit: Option<Unit>) -> Option<&Arc<[f64]>> {
        match unit {
            Some(Unit::Seconds) => self.seconds.as_ref(),
            Some(Unit::Bytes) => self.bytes.as_ref(),
            Some(Unit::Ratio) => self.ratio.as_ref(),
            None => self.count.as_ref(),
            Some(_) => None,
        }
    }
}
