//! The mapping table: a stat in, the family and labels of its series out.
//!
//! The table is data in two layers. *Tag rules* take a stat name apart into a base name and tags;
//! the *catalogue* says what the base name is. The written form ([`table`]) and the compiled form
//! ([`Mapping`]) are two types, so that a table with a mistake cannot come to be used. Naming
//! follows the profile `native`: what Envoy's own Prometheus endpoint writes, right where Envoy is
//! wrong.
//!
//! All of this runs for a stat name that is new, and never again for it.

pub mod catalogue;
pub mod endpoints;
pub mod scopes;
pub mod table;
pub mod tags;
pub mod tokens;

use crate::names::{self, Labels};
use crate::stat::StatType;

use catalogue::{Catalogue, Entry};
use endpoints::Endpoints;
use scopes::{ScopeRules, ScopedName, Scopes};
use table::{Defaults, ExplicitTags, Table};
use tags::{Extraction, TagRules};

/// The shipped tables: file name and text.
const SHIPPED: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/mappings.rs"));

/// Stats with these first tokens come from extensions that name them in full.
const CUSTOM_NAMESPACES: [&str; 2] = ["wasmcustom.", "dynamicmodulescustom."];

/// The label that holds the text of a text readout.
const TEXT_LABEL: &str = "text_value";

/// The HELP of a stat that no entry describes.
pub const UNDESCRIBED: &str = "No entry of the mapping table describes this Envoy stat.";

/// A table that cannot be used, with every reason.
#[derive(Debug, thiserror::Error)]
#[error("{}", .reasons.join("\n"))]
pub struct Error {
    /// One line each: `file:line:column: reason` where a place is known, else `file: reason`.
    pub reasons: Vec<String>,
}

/// A compiled mapping.
#[derive(Debug)]
pub struct Mapping {
    /// The shipped tag rules, by which the catalogue's base names are cut.
    shipped_tags: TagRules,
    /// The rules that make labels, where they are not the shipped ones.
    tags: Option<TagRules>,
    explicit: Vec<ExplicitTags>,
    scopes: ScopeRules,
    catalogue: Catalogue,
}

/// What becomes of a stat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is exported.
    Mapped(Mapped),
    /// It cannot be: no legal family name comes of it.
    Invalid,
}

/// The series that a stat becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Name of the family.
    pub family: String,
    /// Envoy's type, else the table's.
    pub stat_type: Option<StatType>,
    /// Labels of the series.
    pub labels: Labels,
    /// HELP of the family.
    pub help: String,
    /// The table's unit.
    pub unit: Option<table::Unit>,
    /// Whether an entry of the catalogue describes it.
    pub described: bool,
}

/// How a name was taken apart, step by step.
#[derive(Debug)]
pub struct Explanation<'m> {
    /// The name with the dots of known scope names hidden.
    pub scoped: String,
    /// Base name and tags.
    pub extraction: Extraction,
    /// The catalogue's entry.
    pub entry: Option<&'m Entry>,
    /// The type the table expects where Envoy's is not known.
    pub stat_type: Option<StatType>,
    /// The series.
    pub verdict: Verdict,
}

impl Mapping {
    /// The shipped tables alone.
    pub fn native() -> Result<Self, Error> {
        Self::compile(&[])
    }

    /// The shipped tables with the user's behind them: file name and text each.
    pub fn compile(user: &[(String, String)]) -> Result<Self, Error> {
        let mut reasons = Vec::new();
        let mut mapping = Self {
            shipped_tags: TagRules::default(),
            tags: None,
            explicit: Vec::new(),
            scopes: ScopeRules::default(),
            catalogue: Catalogue::default(),
        };
        for (file, text) in SHIPPED {
            match table::parse(file, text) {
                Ok(table) => {
                    let tags = mapping.add(file, &table, &mut reasons);
                    if let Some((rules, _)) = tags {
                        mapping.shipped_tags.extend(rules);
                    }
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        for (file, text) in user {
            match table::parse(file, text) {
                Ok(table) => {
                    if let Some((rules, defaults)) = mapping.add(file, &table, &mut reasons) {
                        mapping.add_user_tags(rules, defaults);
                    }
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if reasons.is_empty() {
            Ok(mapping)
        } else {
            Err(Error { reasons })
        }
    }

    /// Takes in all of a table but its tag rules, which it gives back compiled.
    fn add(
        &mut self,
        file: &str,
        table: &Table,
        reasons: &mut Vec<String>,
    ) -> Option<(TagRules, Defaults)> {
        self.explicit.extend(table.explicit_tags.iter().cloned());
        match ScopeRules::compile(&table.scopes) {
            Ok(rules) => self.scopes.extend(rules),
            Err(errors) => reasons.extend(errors.iter().map(|error| format!("{file}: {error}"))),
        }
        if let Err(errors) = self.catalogue.extend(&table.catalogue) {
            reasons.extend(errors.iter().map(|error| format!("{file}: {error}")));
        }
        let tags = table.tags.as_ref()?;
        match TagRules::compile(&tags.rules, tags.names) {
            Ok(rules) => Some((rules, tags.defaults)),
            Err(errors) => {
                reasons.extend(errors.iter().map(|error| format!("{file}: {error}")));
                None
            }
        }
    }

    fn add_user_tags(&mut self, rules: TagRules, defaults: Defaults) {
        let mut base = match (defaults, self.tags.take()) {
            (Defaults::Replace, _) => TagRules::default(),
            (Defaults::Keep, Some(before)) => before,
            (Defaults::Keep, None) => self.shipped_tags.clone(),
        };
        base.extend(rules);
        self.tags = Some(base);
    }

    /// The rules that tell scope names.
    pub fn scopes(&self) -> &ScopeRules {
        &self.scopes
    }

    /// What the catalogue says.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The type that the catalogue expects of a stat whose type Envoy did not say.
    pub fn expected_type(&self, scopes: &Scopes, name: &str) -> Option<StatType> {
        let (_, _, entry) = self.describe(scopes, name);
        entry.map(|entry| entry.stat_type)
    }

    /// Maps a stat; `text` is the value of a text readout.
    pub fn map(
        &self,
        scopes: &Scopes,
        endpoints: &Endpoints,
        name: &str,
        stat_type: Option<StatType>,
        text: Option<&str>,
    ) -> Verdict {
        self.explain(scopes, endpoints, name, stat_type, text)
            .verdict
    }

    /// Maps a stat and keeps the steps.
    pub fn explain(
        &self,
        scopes: &Scopes,
        endpoints: &Endpoints,
        name: &str,
        stat_type: Option<StatType>,
        text: Option<&str>,
    ) -> Explanation<'_> {
        let (read, shipped, entry) = self.describe(scopes, name);
        let mut extraction = match self.explicit_tags(name) {
            Some(explicit) => explicit,
            None => match &self.tags {
                None => shipped,
                Some(rules) => rules.extract(&read),
            },
        };
        if let Some(endpoint) = endpoints::split(&read, endpoints) {
            // Envoy makes these labels itself and adds none but the fixed ones.
            let rules = self.tags.as_ref().unwrap_or(&self.shipped_tags);
            let fixed = rules
                .fixed()
                .map(|(tag, value)| (tag.to_owned(), value.to_owned()));
            extraction = Extraction {
                base: endpoint.base,
                tags: fixed.chain(endpoint.tags).collect(),
            };
        }
        let stat_type = stat_type.or(entry.map(|entry| entry.stat_type));
        let verdict = verdict(&extraction, entry, stat_type, text);
        Explanation {
            scoped: read.scoped().to_owned(),
            extraction,
            entry,
            stat_type,
            verdict,
        }
    }

    /// The scoped name, what the shipped rules make of it, and its entry. Where no scope name is
    /// known the shortest one is taken with which an entry describes the rest.
    fn describe<'n>(
        &self,
        scopes: &Scopes,
        name: &'n str,
    ) -> (ScopedName<'n>, Extraction, Option<&Entry>) {
        let first = self.scopes.scope(scopes, name);
        let extraction = self.shipped_tags.extract(&first);
        let entry = self.catalogue.find(&extraction.base);
        if entry.is_none() {
            for guess in self.scopes.guesses(scopes, &first) {
                let extraction = self.shipped_tags.extract(&guess);
                if let Some(entry) = self.catalogue.find(&extraction.base) {
                    return (guess, extraction, Some(entry));
                }
            }
        }
        (first, extraction, entry)
    }

    /// `stat.tag1.value1.tag2.value2`; values may hold dots and be empty.
    fn explicit_tags(&self, name: &str) -> Option<Extraction> {
        self.explicit.iter().find_map(|rule| {
            let mut rest = name.strip_prefix(rule.stat.as_str())?;
            let mut tags = Vec::with_capacity(rule.tags.len());
            let mut following = rule.tags.iter().skip(1);
            for tag in &rule.tags {
                rest = rest.strip_prefix('.')?.strip_prefix(tag.as_str())?;
                rest = rest.strip_prefix('.')?;
                let end = match following.next() {
                    Some(next) => rest.find(&format!(".{next}."))?,
                    None => rest.len(),
                };
                let (value, behind) = rest.split_at_checked(end)?;
                tags.push((tag.clone(), value.to_owned()));
                rest = behind;
            }
            Some(Extraction {
                base: rule.stat.clone(),
                tags,
            })
        })
    }
}

/// Names the series as the profile `native` does.
fn verdict(
    extraction: &Extraction,
    entry: Option<&Entry>,
    stat_type: Option<StatType>,
    text: Option<&str>,
) -> Verdict {
    let Some(family) = native_family(&extraction.base) else {
        return Verdict::Invalid;
    };
    let mut labels = Labels::new();
    for (tag, value) in &extraction.tags {
        let mut label = names::label_name(tag);
        if label == "le" && stat_type == Some(StatType::Histogram) {
            // A histogram's own label; Prometheus renames what collides with its own labels so.
            label.insert_str(0, "exported_");
        }
        // Two tags that end in one label name: the first stays, as no reader takes both.
        if labels.value(&label).is_none() {
            labels.set(label, value.clone());
        }
    }
    if let Some(text) = text {
        labels.set(TEXT_LABEL.to_owned(), text.to_owned());
    }
    Verdict::Mapped(Mapped {
        family,
        stat_type,
        labels,
        help: entry.map_or(UNDESCRIBED, |entry| &entry.help).to_owned(),
        unit: entry.and_then(|entry| entry.unit),
        described: entry.is_some(),
    })
}

/// `envoy_` and the base name, sanitised; the custom namespaces stand for themselves.
fn native_family(base: &str) -> Option<String> {
    let custom = CUSTOM_NAMESPACES
        .iter()
        .find_map(|namespace| base.strip_prefix(namespace));
    let mut family = String::with_capacity(base.len() + 6);
    if let Some(rest) = custom {
        names::push_sanitized(&mut family, rest);
    } else {
        family.push_str("envoy_");
        names::push_sanitized(&mut family, base);
    }
    names::is_metric_name(&family).then_some(family)
}
