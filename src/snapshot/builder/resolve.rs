//! From a stat's name to the numbers of its family, labels and description.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;

use super::super::layout::{Bounds, Description, Kind, Parts, number};
use super::super::names::Interner;
use super::super::{DropReason, Limits};
use super::group::{Group, Resolved};
use super::shapes::{Plan, Ready, Shapes, Unresolved};
use crate::family::{Factor, FamilyType};
use crate::histogram::DEFAULT_BOUNDS;
use crate::mapping::endpoints::Endpoints;
use crate::mapping::scopes::{STAND_IN, Scopes};
use crate::mapping::{BoundsFrom, Mapped, Mapping, Verdict};
use crate::names::{self, Labels};
use crate::relabel;
use crate::stat::StatType;

/// Things that are there once each, by number.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    pub(super) list: Vec<T>,
    index: HashMap<T, u32>,
}

/// Names and types of families.
pub(super) type Families = Numbered<(Box<str>, FamilyType)>;

/// What numbers mean.
pub(super) type Descriptions = Numbered<Description>;

/// Kinds of series.
pub(super) type Kinds = Numbered<Kind>;

/// Sets of bounds by number. There are few: one for each that is configured.
#[derive(Debug)]
pub(super) struct BoundSets {
    pub(super) list: Vec<Arc<Bounds>>,
}

/// Maps the stats that are new, and those that read differently since a scope name came or went.
pub(super) struct Resolver<'b> {
    pub(super) mapping: &'b Mapping,
    pub(super) scopes: &'b Scopes,
    pub(super) endpoints: &'b Endpoints,
    pub(super) target_labels: &'b Labels,
    pub(super) relabel: &'b relabel::Rules,
    pub(super) limits: Limits,
    pub(super) families: &'b mut Families,
    pub(super) descriptions: &'b mut Descriptions,
    pub(super) blocks: &'b mut Interner,
    pub(super) bounds: &'b mut BoundSets,
    pub(super) kinds: &'b mut Kinds,
    pub(super) shapes: &'b mut Shapes,
    pub(super) framed: Framed,
    pub(super) changed: &'b [String],
}

/// Label blocks that differ in a scope name only. The hundred stats of a cluster come together and
/// have a few blocks among them, which are looked up here before their text is made.
#[derive(Debug, Default)]
pub(super) struct Framed {
    /// What stands before and behind the name.
    frames: Numbered<(Box<str>, Box<str>)>,
    scope: String,
    /// Numbers of frames and blocks with that name.
    recent: Vec<(u32, u32)>,
}

impl Framed {
    fn block(&mut self, frame: u32, scope: &str, blocks: &mut Interner) -> Option<u32> {
        if self.scope != scope {
            scope.clone_into(&mut self.scope);
            self.recent.clear();
        }
        if let Some((_, block)) = self.recent.iter().find(|(have, _)| *have == frame) {
            return Some(*block);
        }
        let (before, after) = self.frames.list.get(frame as usize)?;
        let mut text = String::with_capacity(before.len() + scope.len() + after.len());
        text.push_str(before);
        names::push_escaped_label_value(&mut text, scope);
        text.push_str(after);
        let block = blocks.intern(&text);
        self.recent.push((frame, block));
        Some(block)
    }
}

/// The number of bounds that are over a limit.
pub(super) const TOO_MANY: u32 = u32::MAX;

/// What a stat's value says that its name does not.
#[derive(Debug, Default)]
pub(super) struct Details<'v> {
    /// The text of a text readout.
    pub(super) text: Option<&'v str>,
    /// The number of a histogram's bounds in force.
    pub(super) bounds: u32,
}

impl Resolver<'_> {
    pub(super) fn resolve<V>(&mut self, group: &mut Group<V>, details: impl Fn(&V) -> Details<'_>) {
        let mut name = String::new();
        let mut hole = None;
        let mut front = None;
        for (at, stat) in group.stats.iter_mut().enumerate() {
            if !stat.resolved.is_not_yet() && self.changed.is_empty() {
                continue;
            }
            group.names.read(at, &mut name);
            let affected = || self.changed.iter().any(|front| name.starts_with(front));
            if stat.resolved.is_not_yet() || affected() {
                if front != group.names.front_number(at) {
                    front = group.names.front_number(at);
                    hole = Shapes::hole(self.mapping, self.scopes, &name);
                }
                let unresolved = Unresolved {
                    name: &name,
                    stat_type: group.stat_type,
                    hole: hole.clone(),
                };
                stat.resolved = self.series(&unresolved, &details(&stat.value));
            }
        }
    }

    fn series(&mut self, stat: &Unresolved<'_>, details: &Details<'_>) -> Resolved {
        if details.bounds == TOO_MANY {
            return Resolved::dropped(DropReason::Limit);
        }
        if let Some(resolved) = self.ready(stat) {
            return resolved;
        }
        let verdict = self.verdict(stat, details.text);
        self.series_of(verdict, details.bounds, false)
    }

    /// The series that a verdict comes to. Of a histogram: the number of its bounds in force.
    pub(super) fn series_of(&mut self, verdict: Verdict, in_force: u32, double: bool) -> Resolved {
        let mut mapped = match verdict {
            Verdict::Mapped(mapped) => mapped,
            Verdict::Dropped => return Resolved::dropped(DropReason::Rule),
            Verdict::Invalid => return Resolved::dropped(DropReason::Invalid),
        };
        for (label, value) in self.target_labels.iter() {
            mapped.labels.set(label.to_owned(), value.to_owned());
        }
        let is_histogram = mapped.family_type == FamilyType::Histogram;
        let mut bounds = match mapped.family_type {
            FamilyType::Histogram => self.chosen_bounds(&mapped, in_force),
            FamilyType::Summary => self.bounds.intern(Bounds::of_family(&[], Factor::ONE)),
            FamilyType::Counter | FamilyType::Gauge | FamilyType::Unknown => 0,
        };
        let mut parts = Parts::ALL;
        if !self.relabel.is_empty() {
            let result = if is_histogram {
                self.relabel_histogram(&mut mapped, &mut bounds, &mut parts)
            } else {
                self.relabel_sample(&mut mapped)
            };
            if let Err(reason) = result {
                return Resolved::dropped(reason);
            }
        }
        let long = |value: &str| value.len() > self.limits.label_value_bytes;
        if mapped.labels.len() > self.limits.labels
            || mapped.labels.iter().any(|(_, value)| long(value))
        {
            return Resolved::dropped(DropReason::Limit);
        }
        let kind = Kind {
            family: self
                .families
                .intern((mapped.family.as_str().into(), mapped.family_type)),
            description: self.descriptions.intern(Description {
                double,
                ..Description::of(&mapped)
            }),
            bounds,
            parts,
        };
        let block = self.blocks.intern(&mapped.labels.to_block());
        Resolved::series(self.kinds.intern(kind), block)
    }

    /// The series of a number whose shape is known, where nothing needs to look at it: no rule of
    /// relabeling, and no limit that it might be over.
    fn ready(&mut self, stat: &Unresolved<'_>) -> Option<Resolved> {
        let is_number = matches!(stat.stat_type, Some(StatType::Counter | StatType::Gauge));
        if !is_number || !self.relabel.is_empty() {
            return None;
        }
        let found = self.shapes.plan(self.mapping, self.scopes, stat);
        let (
            Plan::Hole {
                mapped,
                label,
                ready,
            },
            scope,
        ) = found?
        else {
            return None;
        };
        if scope.len() > self.limits.label_value_bytes {
            return None;
        }
        if ready.is_none() {
            let mut labels = mapped.labels.clone();
            for (label, value) in self.target_labels.iter() {
                labels.set(label.to_owned(), value.to_owned());
            }
            let long = |value: &str| value.len() > self.limits.label_value_bytes;
            let is_whole = labels.value(label) == Some(STAND_IN);
            if !is_whole
                || labels.len() > self.limits.labels
                || labels.iter().any(|(_, value)| long(value))
            {
                return None;
            }
            let block = labels.to_block();
            let (before, after) = block.split_once(STAND_IN)?;
            *ready = Some(Ready {
                kind: self.kinds.intern(Kind {
                    family: self
                        .families
                        .intern((mapped.family.as_str().into(), mapped.family_type)),
                    description: self.descriptions.intern(Description::of(mapped)),
                    bounds: 0,
                    parts: Parts::ALL,
                }),
                frame: self.framed.frames.intern((before.into(), after.into())),
            });
        }
        let Ready { kind, frame } = (*ready)?;
        let block = self.framed.block(frame, scope, self.blocks)?;
        Some(Resolved::series(kind, block))
    }

    fn verdict(&mut self, stat: &Unresolved<'_>, text: Option<&str>) -> Verdict {
        match self.shapes.plan(self.mapping, self.scopes, stat) {
            Some((Plan::Hole { mapped, label, .. }, scope)) => {
                let mut mapped = mapped.as_ref().clone();
                mapped.labels.set(label.clone(), scope.to_owned());
                Verdict::Mapped(mapped)
            }
            Some((Plan::Same(verdict), _)) => verdict.as_ref().clone(),
            Some((Plan::None, _)) | None => {
                let (scopes, endpoints) = (self.scopes, self.endpoints);
                self.mapping
                    .map(scopes, endpoints, stat.name, stat.stat_type, text)
            }
        }
    }

    /// The bounds that the buckets of a histogram get.
    fn chosen_bounds(&mut self, mapped: &Mapped, in_force: u32) -> u32 {
        let shown = match &mapped.bounds {
            BoundsFrom::Table(shown) => Some(shown),
            // Envoy's default bounds are for milliseconds and say little of anything else.
            BoundsFrom::TableUnlessSet(shown) if in_force == 0 => Some(shown),
            BoundsFrom::TableUnlessSet(_) | BoundsFrom::Envoy => None,
        };
        match shown {
            Some(shown) => self.bounds.intern(Bounds::of_family(shown, mapped.factor)),
            None if mapped.factor == Factor::ONE => in_force,
            None => {
                let values = self.bounds.list.get(in_force as usize);
                let values = values.map_or(Box::default(), |bounds| bounds.values.clone());
                self.bounds.intern(Bounds::of_stat(&values, mapped.factor))
            }
        }
    }

    fn relabel_sample(&self, mapped: &mut Mapped) -> Result<(), DropReason> {
        let Some(labels) = self.relabeled(&mapped.family, "", mapped, None)? else {
            return Err(DropReason::Relabel);
        };
        (mapped.family, mapped.labels) = labels.series("")?;
        Ok(())
    }

    /// Relabels each sample of a histogram as Prometheus would. What comes of it must still be a
    /// histogram, though single samples may be gone.
    fn relabel_histogram(
        &mut self,
        mapped: &mut Mapped,
        bounds: &mut u32,
        parts: &mut Parts,
    ) -> Result<(), DropReason> {
        let set = self.bounds.list.get(*bounds as usize).cloned();
        let set = set.ok_or(DropReason::Invalid)?;
        let mut series: Option<(String, Labels)> = None;
        let mut one = |suffix: &str, le: Option<&str>| -> Result<bool, DropReason> {
            let Some(sample) = self.relabeled(&mapped.family, suffix, mapped, le)? else {
                return Ok(false);
            };
            if sample.0.get("le") != le.unwrap_or_default() {
                return Err(DropReason::Invalid);
            }
            let found = sample.series(suffix)?;
            match &series {
                Some(have) if *have != found => return Err(DropReason::Invalid),
                Some(_) => {}
                None => series = Some(found),
            }
            Ok(true)
        };
        let stays = set
            .le
            .iter()
            .map(|le| one("_bucket", Some(le)))
            .collect::<Result<Vec<_>, _>>()?;
        *parts = Parts {
            infinity: one("_bucket", Some("+Inf"))?,
            sum: one("_sum", None)?,
            count: one("_count", None)?,
        };
        let (family, labels) = series.ok_or(DropReason::Relabel)?;
        (mapped.family, mapped.labels) = (family, labels);
        if stays.contains(&false) {
            *bounds = self.bounds.intern(set.filtered(&stays));
        }
        Ok(())
    }

    /// The labels of a sample once the rules have seen it; none: it is dropped.
    fn relabeled(
        &self,
        family: &str,
        suffix: &str,
        mapped: &Mapped,
        le: Option<&str>,
    ) -> Result<Option<Sample>, DropReason> {
        let mut labels: relabel::Labels = mapped.labels.iter().collect();
        labels.set(relabel::NAME, format!("{family}{suffix}"));
        if let Some(le) = le {
            labels.set("le", le);
        }
        match self.relabel.apply(&mut labels) {
            relabel::Verdict::Drop => Ok(None),
            relabel::Verdict::Keep if relabel::is_valid_result(&labels) => Ok(Some(Sample(labels))),
            relabel::Verdict::Keep => Err(DropReason::Invalid),
        }
    }
}

/// The relabeled labels of a sample, its name among them.
struct Sample(relabel::Labels);

impl Sample {
    /// Family and labels, when the name still ends as it must.
    fn series(&self, suffix: &str) -> Result<(String, Labels), DropReason> {
        let family = self.0.get(relabel::NAME).strip_suffix(suffix);
        let family = family.filter(|family| names::is_metric_name(family));
        let family = family.ok_or(DropReason::Invalid)?;
        let mut labels = Labels::new();
        for (label, value) in self.0.iter() {
            if label != relabel::NAME && (suffix.is_empty() || label != "le") {
                labels.set(label.to_owned(), value.to_owned());
            }
        }
        Ok((family.to_owned(), labels))
    }
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            index: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn intern(&mut self, thing: T) -> u32 {
        if let Some(at) = self.index.get(&thing) {
            return *at;
        }
        let at = number(self.list.len());
        self.list.push(thing.clone());
        self.index.insert(thing, at);
        at
    }
}

impl Description {
    fn of(mapped: &Mapped) -> Self {
        Self {
            help: mapped.help.as_str().into(),
            unit: mapped.unit,
            factor: mapped.factor,
            join: mapped.join,
            described: mapped.described,
            double: false,
        }
    }
}

impl BoundSets {
    /// Number 0 is Envoy's default ones.
    pub(super) fn new() -> Self {
        Self {
            list: vec![Arc::new(Bounds::of_stat(&DEFAULT_BOUNDS, Factor::ONE))],
        }
    }

    pub(super) fn intern(&mut self, bounds: Bounds) -> u32 {
        let known = self.list.iter().position(|have| **have == bounds);
        number(known.unwrap_or_else(|| {
            self.list.push(Arc::new(bounds));
            self.list.len() - 1
        }))
    }
}
