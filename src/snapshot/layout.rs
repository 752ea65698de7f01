//! Which series there are and in what order: made when stats come or go, shared by every poll
//! until they do again.
//!
//! Here it is settled what must not happen in an exposition: two families of one name, a series
//! twice, a name that belongs to the exporter itself. The stat that comes first stays (counters
//! before gauges before text readouts before histograms, each in the target's order); the others
//! are counted as dropped. A layout may have another beside it, which comes first in all of this.

mod beside;

use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::names::Texts;
use super::report::{Limits, Report};
use crate::family::{Factor, FamilyType};
use crate::mapping::table::{Join, Unit};
use crate::names::number_text;

use beside::{Beside, Have};

/// Families and series without their values.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub(super) families: Vec<FamilyInfo>,
    pub(super) scalar_labels: Vec<u32>,
    pub(super) histograms: Vec<HistogramPlace>,
    /// Scalar series that several stats are joined in, by their place.
    pub(super) joined: HashMap<u32, Joined>,
    pub(super) blocks: Arc<Texts>,
    pub(super) bounds: Vec<Arc<Bounds>>,
    pub(super) report: Report,
}

/// How the stats of one series are joined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    pub(super) join: Join,
    /// How many there are.
    pub(super) stats: u32,
}

/// What the numbers of a family mean.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Description {
    pub(super) help: Arc<str>,
    /// The unit that is shown.
    pub(super) unit: Option<Unit>,
    /// What leads to it.
    pub(super) factor: Factor,
    /// How stats of one series are joined; nothing: they are in conflict.
    pub(super) join: Option<Join>,
    /// Whether the table has an entry for it.
    pub(super) described: bool,
    /// Whether the numbers are doubles.
    pub(super) double: bool,
}

#[derive(Clone, Debug)]
pub(super) struct FamilyInfo {
    pub(super) name: Box<str>,
    pub(super) family_type: FamilyType,
    pub(super) help: Arc<str>,
    pub(super) unit: Option<Unit>,
    pub(super) factor: Factor,
    pub(super) double: bool,
    pub(super) series: Range<usize>,
}

/// Upper bounds of buckets, rising, and their text.
#[derive(Debug, PartialEq)]
pub(super) struct Bounds {
    /// In the unit of the stat.
    pub(super) values: Box<[f64]>,
    /// In the unit that is shown.
    pub(super) shown: Box<[f64]>,
    /// The shown ones as label values.
    pub(super) le: Box<[Box<str>]>,
}

impl Bounds {
    /// Bounds that Envoy has in force.
    pub(super) fn of_stat(values: &[f64], factor: Factor) -> Self {
        let shown = values.iter().map(|bound| factor.apply(*bound)).collect();
        Self::new(values.into(), shown)
    }

    /// Bounds that a table says.
    pub(super) fn of_family(shown: &[f64], factor: Factor) -> Self {
        let values = shown.iter().map(|bound| factor.undo(*bound)).collect();
        Self::new(values, shown.into())
    }

    fn new(values: Box<[f64]>, shown: Box<[f64]>) -> Self {
        let le = shown.iter().map(|bound| number_text(*bound).into());
        Self {
            le: le.collect(),
            values,
            shown,
        }
    }

    /// Bounds with texts of somebody else's.
    pub(super) fn as_written(values: Box<[f64]>, le: Box<[Box<str>]>) -> Self {
        Self {
            shown: values.clone(),
            values,
            le,
        }
    }

    /// Only the bounds at the places that are to stay.
    pub(super) fn filtered(&self, stays: &[bool]) -> Self {
        let of = |values: &[f64]| -> Box<[f64]> {
            let kept = values.iter().zip(stays).filter(|(_, stays)| **stays);
            kept.map(|(value, _)| *value).collect()
        };
        Self::new(of(&self.values), of(&self.shown))
    }
}

/// Which samples of a histogram are written besides its buckets with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parts {
    /// The bucket without a bound.
    pub infinity: bool,
    /// The sum.
    pub sum: bool,
    /// The count.
    pub count: bool,
}

impl Parts {
    /// A whole histogram.
    pub const ALL: Self = Self {
        infinity: true,
        sum: true,
        count: true,
    };
}

/// Where a histogram's values stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistogramPlace {
    pub(super) block: u32,
    pub(super) bounds: u32,
    pub(super) first_bucket: u32,
    pub(super) parts: Parts,
}

impl Layout {
    /// The label block of a number.
    pub(super) fn block(&self, at: u32) -> &str {
        self.blocks.get(at)
    }

    /// The bounds of a number, in the unit of the stat.
    pub(super) fn bounds(&self, at: u32) -> &[f64] {
        self.bounds
            .get(at as usize)
            .map_or(&[], |have| &have.values)
    }

    /// The same in the unit that is shown.
    pub(super) fn shown_bounds(&self, at: u32) -> &[f64] {
        self.bounds.get(at as usize).map_or(&[], |have| &have.shown)
    }

    /// The same as label values.
    pub(super) fn le(&self, at: u32) -> &[Box<str>] {
        self.bounds.get(at as usize).map_or(&[], |have| &have.le)
    }

    /// How many stats the mean of a scalar series is taken of, else 1.
    pub(super) fn averaged(&self, at: usize) -> u32 {
        if self.joined.is_empty() {
            return 1;
        }
        match self.joined.get(&number(at)) {
            Some(Joined {
                join: Join::Average,
                stats,
            }) => *stats,
            _ => 1,
        }
    }

    /// Where the next series of a type goes.
    fn next_slot(&self, family_type: FamilyType) -> usize {
        match family_type {
            FamilyType::Histogram | FamilyType::Summary => self.histograms.len(),
            _ => self.scalar_labels.len(),
        }
    }

    fn series(&self) -> usize {
        self.histograms.len() + self.scalar_labels.len()
    }

    fn push(&mut self, family_type: FamilyType, block: u32, kind: &Kind) {
        if family_type.is_distribution() {
            let place = HistogramPlace {
                block,
                bounds: kind.bounds,
                first_bucket: number(self.bucket_count()),
                parts: kind.parts,
            };
            self.histograms.push(place);
        } else {
            self.scalar_labels.push(block);
        }
    }

    /// Counts one more stat in a series. Histograms and counters are summed, whatever the rule
    /// says of gauges: nothing else is true of them.
    fn join(&mut self, family_type: FamilyType, slot: u32, join: Join) {
        let join = match family_type {
            FamilyType::Histogram | FamilyType::Summary => return,
            FamilyType::Counter => Join::Sum,
            FamilyType::Gauge | FamilyType::Unknown => join,
        };
        let joined = self.joined.entry(slot).or_insert(Joined { join, stats: 1 });
        joined.stats += 1;
    }

    /// How many buckets all histograms have together.
    pub(super) fn bucket_count(&self) -> usize {
        self.histograms.last().map_or(0, |place| {
            place.first_bucket as usize + self.bounds(place.bounds).len()
        })
    }
}

/// A stat that is to have a series: what the builder resolved of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Number of the kind.
    pub(super) kind: u32,
    /// Number of the label block.
    pub(super) block: u32,
}

/// What series have in common but for their labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// Number of name and type.
    pub(super) family: u32,
    /// Number of what its numbers mean.
    pub(super) description: u32,
    /// Number of the bounds, of a histogram.
    pub(super) bounds: u32,
    /// What is written of a histogram.
    pub(super) parts: Parts,
}

/// Everything that the numbers of candidates stand for.
#[derive(Debug)]
pub(super) struct Legend<'b> {
    pub(super) families: &'b [(Box<str>, FamilyType)],
    pub(super) descriptions: &'b [Description],
    pub(super) kinds: &'b [Kind],
    pub(super) blocks: Arc<Texts>,
    pub(super) bounds: Vec<Arc<Bounds>>,
    /// Family names that the exporter itself has.
    pub(super) reserved: &'b HashSet<String>,
    pub(super) limits: Limits,
    /// What is exposed beside this layout.
    pub(super) beside: Option<&'b Layout>,
}

/// The place of a value that goes nowhere.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Lays candidates out. The second result says for each candidate where its value goes, in the
/// array of its family's type, or [`NOWHERE`] when it has no series.
pub(super) fn lay_out(
    candidates: &[Candidate],
    legend: Legend<'_>,
    mut report: Report,
) -> (Layout, Vec<u32>) {
    let by_family = group(candidates, &legend);
    let order = ordered_families(&by_family, legend.families);
    let taken = taken_names(&order, legend.families);
    let beside = Beside(legend.beside);
    let room = legend.limits.series.saturating_sub(beside.series());
    let mut layout = Layout {
        bounds: legend.bounds.clone(),
        ..Layout::default()
    };
    let mut slots = vec![NOWHERE; candidates.len()];
    // For each label block the last family that it was seen in, and its slot there.
    let mut seen = vec![(u32::MAX, 0); legend.blocks.len()];
    let mut before: Option<&str> = None;
    for family in order {
        let Some((name, family_type)) = legend.families.get(family as usize) else {
            continue;
        };
        let members = by_family.of(family);
        let refused = before == Some(name)
            || legend.reserved.contains(&**name)
            || taken.contains(&(&**name, *family_type))
            || beside.takes(name, *family_type);
        if refused {
            report.conflicts(name, members.len());
            continue;
        }
        before = Some(name);
        let start = layout.next_slot(*family_type);
        let Some(description) = legend.described(members, candidates) else {
            continue;
        };
        let theirs = beside.series_of(name, description);
        for member in members {
            let Some(candidate) = candidates.get(*member as usize) else {
                continue;
            };
            let Some(kind) = legend.kind(*candidate) else {
                continue;
            };
            let own = legend.descriptions.get(kind.description as usize);
            let Some((last, slot)) = seen.get_mut(candidate.block as usize) else {
                continue;
            };
            // Numbers of two units are no family.
            if own.is_none_or(|own| own.is_other_number(description)) {
                report.conflicts(name, 1);
                continue;
            }
            match theirs.have(legend.block(*candidate)) {
                Have::Nothing => {}
                Have::Same => continue,
                Have::Other => {
                    report.conflicts(name, 1);
                    continue;
                }
            }
            if *last == family {
                // Quantiles of several cannot be told from theirs.
                let may_join = *family_type != FamilyType::Summary;
                let Some(join) = description.join.filter(|_| may_join) else {
                    report.conflicts(name, 1);
                    continue;
                };
                layout.join(*family_type, *slot, join);
            } else {
                let here = layout.next_slot(*family_type);
                if here - start >= legend.limits.series_per_family || layout.series() >= room {
                    report.limits(name, 1);
                    continue;
                }
                (*last, *slot) = (family, number(here));
                layout.push(*family_type, candidate.block, kind);
            }
            report.undescribed += usize::from(own.is_some_and(|own| !own.described));
            if let Some(place) = slots.get_mut(*member as usize) {
                *place = *slot;
            }
        }
        let end = layout.next_slot(*family_type);
        if end == start {
            continue;
        }
        layout.families.push(FamilyInfo {
            name: name.clone(),
            family_type: *family_type,
            help: Arc::clone(&description.help),
            unit: description.unit,
            factor: description.factor,
            double: description.double,
            series: start..end,
        });
    }
    layout.blocks = legend.blocks;
    layout.report = report;
    (layout, slots)
}

impl Description {
    /// Whether these numbers cannot stand in one family with those.
    fn is_other_number(&self, other: &Self) -> bool {
        self.factor != other.factor || self.double != other.double
    }
}

impl<'b> Legend<'b> {
    fn block(&self, candidate: Candidate) -> &str {
        self.blocks.get(candidate.block)
    }

    fn kind(&self, candidate: Candidate) -> Option<&'b Kind> {
        self.kinds.get(candidate.kind as usize)
    }

    /// What the family's numbers mean: the first of its stats that the table describes says so.
    fn described(&self, members: &[u32], candidates: &[Candidate]) -> Option<&'b Description> {
        let mut all = members
            .iter()
            .filter_map(|member| candidates.get(*member as usize))
            .filter_map(|candidate| self.kind(*candidate))
            .filter_map(|kind| self.descriptions.get(kind.description as usize));
        let first = all.next()?;
        if first.described {
            return Some(first);
        }
        all.find(|description| description.described)
            .or(Some(first))
    }
}

/// Candidates by family, in their order.
#[derive(Debug)]
struct ByFamily {
    starts: Vec<u32>,
    members: Vec<u32>,
}

impl ByFamily {
    fn of(&self, family: u32) -> &[u32] {
        let at = family as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(start), Some(end)) => self
                .members
                .get(*start as usize..*end as usize)
                .unwrap_or_default(),
            _ => &[],
        }
    }
}

/// A counting sort: linear, and stable.
fn group(candidates: &[Candidate], legend: &Legend<'_>) -> ByFamily {
    let family_of =
        |candidate: &Candidate| legend.kind(*candidate).map(|kind| kind.family as usize);
    let mut starts = vec![0_u32; legend.families.len() + 1];
    for candidate in candidates {
        let count = family_of(candidate).and_then(|family| starts.get_mut(family + 1));
        if let Some(count) = count {
            *count += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut next = starts.clone();
    let mut members = vec![0_u32; candidates.len()];
    for (at, candidate) in candidates.iter().enumerate() {
        let place = family_of(candidate).and_then(|family| next.get_mut(family));
        if let Some(place) = place {
            if let Some(member) = members.get_mut(*place as usize) {
                *member = number(at);
            }
            *place += 1;
        }
    }
    ByFamily { starts, members }
}

/// Families that have candidates, by name, then by type.
fn ordered_families(by_family: &ByFamily, families: &[(Box<str>, FamilyType)]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..number(families.len()))
        .filter(|family| !by_family.of(*family).is_empty())
        .collect();
    order.sort_by_key(|family| families.get(*family as usize));
    order
}

/// Names of scalar families that a histogram's `_bucket`, `_sum` and `_count` need.
fn taken_names<'f>(
    order: &[u32],
    families: &'f [(Box<str>, FamilyType)],
) -> HashSet<(&'f str, FamilyType)> {
    let present: HashMap<&str, FamilyType> = order
        .iter()
        .filter_map(|family| families.get(*family as usize))
        .map(|(name, family_type)| (&**name, *family_type))
        .collect();
    present
        .iter()
        .filter(|(_, family_type)| !family_type.is_distribution())
        .filter(|(name, _)| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .filter_map(|base| present.get(base))
                .any(|of| of.is_distribution())
        })
        .map(|(name, family_type)| (*name, *family_type))
        .collect()
}

/// Numbers of stats fit 32 bits: that many stats fit no answer that the body limit lets through.
pub(super) fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::report::DropReason;
    use super::*;

    fn description(join: Option<Join>) -> Description {
        Description {
            help: "Help.".into(),
            unit: None,
            factor: Factor::ONE,
            join,
            described: true,
            double: false,
        }
    }

    #[track_caller]
    fn check(
        families: &[(&str, FamilyType)],
        candidates: &[(u32, u32)],
        want: &[(&str, usize)],
        conflicts: usize,
    ) {
        let families: Vec<_> = families
            .iter()
            .map(|(name, family_type)| (Box::from(*name), *family_type))
            .collect();
        let kind = |family| Kind {
            family,
            description: 0,
            bounds: 0,
            parts: Parts::ALL,
        };
        let kinds: Vec<_> = (0..number(families.len())).map(kind).collect();
        let candidates: Vec<_> = candidates
            .iter()
            .map(|(kind, block)| Candidate {
                kind: *kind,
                block: *block,
            })
            .collect();
        let legend = Legend {
            families: &families,
            descriptions: &[description(None)],
            kinds: &kinds,
            blocks: Arc::new(["", "a=\"1\""].into_iter().collect()),
            bounds: vec![Arc::new(Bounds::of_stat(&[1.0], Factor::ONE))],
            reserved: &std::iter::once("envoy_up".to_owned()).collect(),
            limits: Limits::default(),
            beside: None,
        };
        let (layout, slots) = lay_out(&candidates, legend, Report::default());
        let got: Vec<_> = layout
            .families
            .iter()
            .map(|info| (&*info.name, info.series.len()))
            .collect();
        assert_eq!(got, want);
        assert_eq!(layout.report.dropped(DropReason::Conflict), conflicts);
        let series: usize = want.iter().map(|(_, series)| series).sum();
        assert_eq!(
            slots.iter().filter(|slot| **slot != NOWHERE).count(),
            series
        );
    }

    #[test]
    fn families_are_sorted_and_series_unique() {
        use FamilyType::{Counter, Gauge, Histogram};
        // Sorted by name, the second of two equal series dropped.
        check(
            &[("b", Counter), ("a", Gauge)],
            &[(0, 0), (1, 0), (0, 1), (0, 0)],
            &[("a", 1), ("b", 2)],
            1,
        );
        // One name, two types: the counter stays.
        check(
            &[("a", Gauge), ("a", Counter)],
            &[(0, 0), (1, 1)],
            &[("a", 1)],
            1,
        );
        // A histogram's own names are its own.
        check(
            &[("a", Histogram), ("a_count", Counter), ("b_count", Counter)],
            &[(0, 0), (1, 1), (2, 1)],
            &[("a", 1), ("b_count", 1)],
            1,
        );
        // The exporter's names are not the target's.
        check(&[("envoy_up", Gauge)], &[(0, 0)], &[], 1);
    }
}
