//! The mapping table: a stat in, the family and labels of its series out.
//!
//! The table is data in layers. *Tag rules* take a stat name apart into a base name and tags; the
//! *catalogue* says what the base name is; a *naming* says what family and labels are called; and
//! *rules* change any of it for single stats. The written form ([`table`]) and the compiled form
//! ([`Mapping`]) are two types, so that a table with a mistake cannot come to be used.
//!
//! All of this runs for a stat name that is new, and never again for it.

mod advice;
pub mod catalogue;
mod compile;
pub mod endpoints;
mod naming;
mod push_down;
pub mod rules;
pub mod scopes;
pub mod table;
pub mod tags;
pub mod tokens;

use std::sync::Arc;

use hashbrown::HashMap;

use crate::family::{Factor, FamilyType};
use crate::names::{self, Labels};
use crate::stat::StatType;

use catalogue::{Catalogue, Entry};
use compile::UnitBounds;
use endpoints::Endpoints;
use rules::{Compiled, Rules, Said};
use scopes::{ScopeRules, ScopedName, Scopes};
use table::{ExplicitTags, HistogramForm, Join, Naming, ScalarType, Unit};
use tags::{Extraction, TagRules};
use tokens::TokenPattern;

pub use advice::complaints;
pub use compile::{Error, Source, is_profile, naming_of};

/// The HELP of a stat that no entry describes.
pub const UNDESCRIBED: &str = "No entry of the mapping table describes this Envoy stat.";

/// Bucket bounds for families by name, above what the tables say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FamilyBounds {
    /// For every family that no pattern below matches.
    pub default: Option<Arc<[f64]>>,
    /// By family name, where `*` stands for any text. The first that matches holds.
    pub by_name: Vec<(String, Arc<[f64]>)>,
}

/// A compiled mapping.
#[derive(Debug)]
pub struct Mapping {
    naming: Naming,
    /// The shipped tag rules, by which the catalogue's base names are cut.
    shipped_tags: TagRules,
    /// The rules that make labels, where they are not the shipped ones.
    tags: Option<TagRules>,
    explicit: Vec<ExplicitTags>,
    scopes: ScopeRules,
    labels: HashMap<String, String>,
    words: HashMap<String, String>,
    catalogue: Catalogue,
    rules: Rules,
    unit_bounds: UnitBounds,
    family_bounds: FamilyBounds,
    keep: Vec<TokenPattern>,
    uniform: bool,
}

/// What becomes of a stat.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is exported.
    Mapped(Mapped),
    /// A rule says that it has no series.
    Dropped,
    /// It cannot be: no legal family name comes of it.
    Invalid,
}

/// The series that a stat becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// Name of the family.
    pub family: String,
    /// Its type.
    pub family_type: FamilyType,
    /// Labels of the series.
    pub labels: Labels,
    /// HELP of the family.
    pub help: String,
    /// The unit that the family is shown in.
    pub unit: Option<Unit>,
    /// What leads from the stat's numbers to that unit.
    pub factor: Factor,
    /// The bounds of a histogram's buckets.
    pub bounds: BoundsFrom,
    /// How stats that end in this series are joined.
    pub join: Option<Join>,
    /// Whether an entry of the catalogue, or a rule, describes it.
    pub described: bool,
}

/// Where the bounds of a histogram's buckets come from.
#[derive(Clone, Debug, PartialEq)]
pub enum BoundsFrom {
    /// From Envoy, whatever it has in force.
    Envoy,
    /// From the table, in the unit that is shown.
    Table(Arc<[f64]>),
    /// From the table, unless Envoy's configuration sets others than its default ones.
    TableUnlessSet(Arc<[f64]>),
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
    /// The rules that apply, in order.
    pub rules: Vec<&'m Compiled>,
    /// The type of the stat, as far as it is known.
    pub stat_type: Option<StatType>,
    /// The series.
    pub verdict: Verdict,
}

impl Mapping {
    /// The rules that tell scope names.
    pub fn scopes(&self) -> &ScopeRules {
        &self.scopes
    }

    /// What the catalogue says.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What is done with single stats.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether stats that differ in the name of their scope alone differ in one label's value
    /// alone. Rules of a user's own for tags and scopes may look into such names.
    pub fn reads_scopes_alike(&self) -> bool {
        self.uniform
    }

    /// The number that the series of a text readout has.
    pub fn text_number(&self) -> u64 {
        match self.naming {
            Naming::Native => 0,
            Naming::Standard => 1,
        }
    }

    /// What a stat of this base name becomes when it has no tags.
    pub fn map_base(&self, base: &str, stat_type: Option<StatType>) -> Verdict {
        let extraction = Extraction {
            base: base.to_owned(),
            tags: Vec::new(),
        };
        let entry = self.catalogue.find(base);
        let stat_type = stat_type.or(entry.map(|entry| entry.stat_type));
        self.judge(&extraction, &[base], entry, stat_type, None).0
    }

    /// Maps what a collector found: its base name and tags are known from the start. The list of the
    /// stats that stay says nothing of it: collectors are switched on and off by themselves.
    pub fn map_collected(
        &self,
        base: String,
        tags: impl IntoIterator<Item = (String, String)>,
        stat_type: StatType,
    ) -> Verdict {
        let rules = self.tags.as_ref().unwrap_or(&self.shipped_tags);
        let fixed = rules
            .fixed()
            .map(|(tag, value)| (tag.to_owned(), value.to_owned()));
        let extraction = Extraction {
            base,
            tags: fixed.chain(tags).collect(),
        };
        let entry = self.catalogue.find(&extraction.base);
        let stat_type = Some(stat_type);
        let labels = self.labels_of(&extraction, entry, stat_type, None);
        let bases = [extraction.base.as_str()];
        let name = entry.map(|entry| entry.name.as_str());
        let said = self.rules.say(&bases, name, &labels);
        if said.drop == Some(true) {
            return Verdict::Dropped;
        }
        self.mapped(&extraction.base, entry, stat_type, labels, said)
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
        let shipped_base = shipped.base.clone();
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
        let entry = entry.or_else(|| self.catalogue.find(&extraction.base));
        let stat_type = stat_type.or(entry.map(|entry| entry.stat_type));
        let mut bases = vec![extraction.base.as_str()];
        if shipped_base != extraction.base {
            bases.insert(0, &shipped_base);
        }
        let (verdict, rules) = self.judge(&extraction, &bases, entry, stat_type, text);
        Explanation {
            scoped: read.scoped().to_owned(),
            extraction,
            entry,
            rules,
            stat_type,
            verdict,
        }
    }

    /// What becomes of a stat that was taken apart, and the rules that had a say in it.
    fn judge(
        &self,
        extraction: &Extraction,
        bases: &[&str],
        entry: Option<&Entry>,
        stat_type: Option<StatType>,
        text: Option<&str>,
    ) -> (Verdict, Vec<&Compiled>) {
        let labels = self.labels_of(extraction, entry, stat_type, text);
        let said = self
            .rules
            .say(bases, entry.map(|entry| entry.name.as_str()), &labels);
        let rules = said.by.clone();
        let is_kept = |pattern: &TokenPattern| bases.iter().any(|base| pattern.matches(base));
        let kept = self.keep.is_empty() || self.keep.iter().any(is_kept);
        let verdict = if said.drop.unwrap_or(!kept) {
            Verdict::Dropped
        } else {
            self.mapped(&extraction.base, entry, stat_type, labels, said)
        };
        (verdict, rules)
    }

    fn labels_of(
        &self,
        extraction: &Extraction,
        entry: Option<&Entry>,
        stat_type: Option<StatType>,
        text: Option<&str>,
    ) -> Labels {
        let mut labels = Labels::new();
        for (tag, value) in &extraction.tags {
            let mut label = match self.labels.get(tag) {
                Some(label) => label.clone(),
                None => naming::label(self.naming, tag),
            };
            if label == "le" && stat_type == Some(StatType::Histogram) {
                // A histogram's own label; Prometheus renames what collides with its own so.
                label.insert_str(0, "exported_");
            }
            // Two tags that end in one label name: the first stays, as no reader takes both.
            if labels.value(&label).is_none() {
                labels.set(label, value.clone());
            }
        }
        if self.naming == Naming::Standard
            && let Some(entry) = entry
        {
            for (placeholder, span) in entry.captures(&extraction.base) {
                let value = extraction.base.get(span).unwrap_or_default();
                if labels.value(placeholder).is_none() {
                    labels.set(placeholder.to_owned(), value.to_owned());
                }
            }
        }
        if let Some(text) = text {
            let label = match self.naming {
                Naming::Native => "text_value",
                Naming::Standard => "value",
            };
            labels.set(label.to_owned(), text.to_owned());
        }
        labels
    }

    fn mapped(
        &self,
        base: &str,
        entry: Option<&Entry>,
        stat_type: Option<StatType>,
        mut labels: Labels,
        said: Said<'_>,
    ) -> Verdict {
        let (stat_type, mut family_type) = types(stat_type, said.scalar_type);
        if family_type == FamilyType::Histogram && said.form == Some(HistogramForm::Summary) {
            family_type = FamilyType::Summary;
            if let Some(value) = labels.remove("quantile") {
                // A summary's own label.
                labels.set("exported_quantile".to_owned(), value);
            }
        }
        let unit = said.unit.or(entry.and_then(|entry| entry.unit));
        let (unit, factor) = match (self.naming, unit) {
            (Naming::Standard, Some(unit)) => {
                let (base, factor) = unit.base();
                (Some(base), factor)
            }
            (Naming::Native, _) | (_, None) => (unit, Factor::ONE),
        };
        let family = said.name.or_else(|| match self.naming {
            Naming::Native => naming::native(base),
            Naming::Standard => {
                let captures = entry.map(|entry| entry.captures(base)).unwrap_or_default();
                let spans: Vec<_> = captures.into_iter().map(|(_, span)| span).collect();
                let last = |word: &str| self.words.get(word).cloned();
                naming::standard(base, &spans, stat_type, unit, last)
            }
        });
        let Some(family) = family else {
            return Verdict::Invalid;
        };
        if !names::is_metric_name(&family) {
            return Verdict::Invalid;
        }
        for (label, value) in said.labels {
            if value.is_empty() {
                labels.remove(label);
            } else {
                labels.set(label.to_owned(), value);
            }
        }
        let help = said.help.or(entry.map(|entry| entry.help.as_str()));
        Verdict::Mapped(Mapped {
            bounds: self.bounds(&family, unit, said.buckets),
            family,
            family_type,
            labels,
            help: help.unwrap_or(UNDESCRIBED).to_owned(),
            unit,
            factor,
            join: said.join,
            described: help.is_some(),
        })
    }

    fn bounds(&self, family: &str, unit: Option<Unit>, said: Option<&Arc<[f64]>>) -> BoundsFrom {
        let configured = self.family_bounds.by_name.iter();
        let configured = configured
            .filter(|(pattern, _)| names::glob_matches(pattern, family))
            .map(|(_, bounds)| bounds);
        let table = configured
            .chain(said)
            .chain(&self.family_bounds.default)
            .next();
        if let Some(bounds) = table {
            return BoundsFrom::Table(Arc::clone(bounds));
        }
        match self.unit_bounds.of(unit) {
            Some(bounds) => BoundsFrom::TableUnlessSet(Arc::clone(bounds)),
            None => BoundsFrom::Envoy,
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

/// The type by which a family is named, and its own.
fn types(stat_type: Option<StatType>, said: Option<ScalarType>) -> (Option<StatType>, FamilyType) {
    let is_scalar = !matches!(stat_type, Some(StatType::Histogram | StatType::TextReadout));
    match said.filter(|_| is_scalar) {
        Some(ScalarType::Counter) => (Some(StatType::Counter), FamilyType::Counter),
        Some(ScalarType::Gauge) => (Some(StatType::Gauge), FamilyType::Gauge),
        Some(ScalarType::Untyped) => (None, FamilyType::Unknown),
        None => (
            stat_type,
            stat_type.map_or(FamilyType::Unknown, FamilyType::of),
        ),
    }
}
