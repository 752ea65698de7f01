//! Which series there are and in what order: made when stats come or go, shared by every poll
//! until they do again.
//!
//! Here it is settled what must not happen in an exposition: two families of one name, a series
//! twice, a name that belongs to the exporter itself. The stat that comes first stays (counters
//! before gauges before text readouts before histograms, each in the target's order); the others
//! are counted as dropped.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::family::FamilyType;
use crate::mapping::table::Unit;
use crate::names::number_text;

/// Why a stat has no series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Another stat has its series already.
    Conflict,
    /// No legal family name comes of its name.
    Invalid,
    /// A limit was reached.
    Limit,
    /// Relabeling said so.
    Relabel,
    /// A rule of the mapping said so.
    Rule,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Conflict,
        Self::Invalid,
        Self::Limit,
        Self::Relabel,
        Self::Rule,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Limit => "limit",
            Self::Relabel => "relabel",
            Self::Rule => "rule",
        }
    }
}

/// What was counted while a layout was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Stats without a catalogue entry that were exported all the same.
    pub undescribed: usize,
    /// Stats without a series, by the place of the reason in [`DropReason::ALL`].
    pub dropped: [usize; DropReason::ALL.len()],
    /// Families that stats fell out of because of a conflict, at most [`Report::EXAMPLES`].
    pub conflicts: Vec<String>,
}

impl Report {
    /// How many names of families in conflict are kept.
    pub const EXAMPLES: usize = 20;

    /// Stats without a series for this reason.
    pub fn dropped(&self, reason: DropReason) -> usize {
        let at = DropReason::ALL.iter().position(|have| *have == reason);
        at.and_then(|at| self.dropped.get(at))
            .copied()
            .unwrap_or_default()
    }

    /// Counts stats without a series.
    pub(super) fn drop_stats(&mut self, reason: DropReason, count: usize) {
        let at = DropReason::ALL.iter().position(|have| *have == reason);
        if let Some(counted) = at.and_then(|at| self.dropped.get_mut(at)) {
            *counted += count;
        }
    }

    fn conflicts(&mut self, family: &str, count: usize) {
        self.drop_stats(DropReason::Conflict, count);
        let known = self.conflicts.iter().any(|have| have == family);
        if !known && self.conflicts.len() < Self::EXAMPLES {
            self.conflicts.push(family.to_owned());
        }
    }
}

/// Families and series without their values.
#[derive(Debug, Default)]
pub struct Layout {
    pub(super) families: Vec<FamilyInfo>,
    pub(super) scalar_labels: Vec<u32>,
    pub(super) histograms: Vec<HistogramPlace>,
    blocks: Arc<[Box<str>]>,
    bounds: Vec<Arc<Bounds>>,
    pub(super) report: Report,
}

#[derive(Debug)]
pub(super) struct FamilyInfo {
    pub(super) name: Box<str>,
    pub(super) family_type: FamilyType,
    pub(super) help: Arc<str>,
    pub(super) unit: Option<Unit>,
    pub(super) series: Range<usize>,
}

/// Upper bounds of buckets, rising, and their text.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) values: Box<[f64]>,
    pub(super) le: Box<[Box<str>]>,
}

impl Bounds {
    pub(super) fn new(bounds: &[f64]) -> Self {
        Self {
            values: bounds.into(),
            le: bounds
                .iter()
                .map(|bound| number_text(*bound).into())
                .collect(),
        }
    }
}

/// Where a histogram's values stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistogramPlace {
    pub(super) block: u32,
    pub(super) bounds: u32,
    pub(super) first_bucket: u32,
}

impl Layout {
    /// The label block of a number.
    pub(super) fn block(&self, at: u32) -> &str {
        self.blocks.get(at as usize).map_or("", |block| block)
    }

    /// The bounds of a number.
    pub(super) fn bounds(&self, at: u32) -> &[f64] {
        self.bounds
            .get(at as usize)
            .map_or(&[], |have| &have.values)
    }

    /// The same as label values.
    pub(super) fn le(&self, at: u32) -> &[Box<str>] {
        self.bounds.get(at as usize).map_or(&[], |have| &have.le)
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
    /// Number of name and type.
    pub(super) family: u32,
    /// Number of the label block.
    pub(super) block: u32,
    /// Number of HELP and unit; 0 is the one of undescribed stats.
    pub(super) description: u32,
    /// Number of the bounds, of a histogram.
    pub(super) bounds: u32,
}

/// Everything that the numbers of candidates stand for.
#[derive(Debug)]
pub(super) struct Legend<'b> {
    pub(super) families: &'b [(Box<str>, FamilyType)],
    pub(super) descriptions: &'b [(Arc<str>, Option<Unit>)],
    pub(super) blocks: Arc<[Box<str>]>,
    pub(super) bounds: Vec<Arc<Bounds>>,
    /// Family names that the exporter itself has.
    pub(super) reserved: &'b HashSet<String>,
}

/// Lays candidates out. The second result says for each candidate where its value goes, in the
/// array of its family's type, or nothing when it has no series.
pub(super) fn lay_out(
    candidates: &[Candidate],
    legend: Legend<'_>,
    mut report: Report,
) -> (Layout, Vec<Option<u32>>) {
    let by_family = group(candidates, legend.families.len());
    let order = ordered_families(&by_family, legend.families);
    let taken = taken_names(&order, legend.families);
    let mut layout = Layout {
        bounds: legend.bounds,
        ..Layout::default()
    };
    let mut slots = vec![None; candidates.len()];
    // For each label block the last family that it was seen in.
    let mut seen = vec![u32::MAX; legend.blocks.len()];
    let mut before: Option<&str> = None;
    for family in order {
        let Some((name, family_type)) = legend.families.get(family as usize) else {
            continue;
        };
        let members = by_family.of(family);
        let refused = before == Some(name)
            || legend.reserved.contains(&**name)
            || taken.contains(&(&**name, *family_type));
        if refused {
            report.conflicts(name, members.len());
            continue;
        }
        before = Some(name);
        let is_histogram = *family_type == FamilyType::Histogram;
        let start = if is_histogram {
            layout.histograms.len()
        } else {
            layout.scalar_labels.len()
        };
        let mut description = 0;
        for member in members {
            let Some(candidate) = candidates.get(*member as usize) else {
                continue;
            };
            let Some(last) = seen.get_mut(candidate.block as usize) else {
                continue;
            };
            if *last == family {
                report.conflicts(name, 1);
                continue;
            }
            *last = family;
            report.undescribed += usize::from(candidate.description == 0);
            if description == 0 {
                description = candidate.description;
            }
            let slot = if is_histogram {
                let place = HistogramPlace {
                    block: candidate.block,
                    bounds: candidate.bounds,
                    first_bucket: number(layout.bucket_count()),
                };
                layout.histograms.push(place);
                layout.histograms.len() - 1
            } else {
                layout.scalar_labels.push(candidate.block);
                layout.scalar_labels.len() - 1
            };
            if let Some(place) = slots.get_mut(*member as usize) {
                *place = Some(number(slot));
            }
        }
        let end = if is_histogram {
            layout.histograms.len()
        } else {
            layout.scalar_labels.len()
        };
        let described = legend.descriptions.get(description as usize);
        let (help, unit) = described.cloned().unwrap_or_else(|| ("".into(), None));
        layout.families.push(FamilyInfo {
            name: name.clone(),
            family_type: *family_type,
            help,
            unit,
            series: start..end,
        });
    }
    layout.blocks = legend.blocks;
    layout.report = report;
    (layout, slots)
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
fn group(candidates: &[Candidate], families: usize) -> ByFamily {
    let mut starts = vec![0_u32; families + 1];
    for candidate in candidates {
        if let Some(count) = starts.get_mut(candidate.family as usize + 1) {
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
        if let Some(place) = next.get_mut(candidate.family as usize) {
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
        .filter(|(_, family_type)| **family_type != FamilyType::Histogram)
        .filter(|(name, _)| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .any(|base| present.get(base) == Some(&FamilyType::Histogram))
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
    use super::*;

    fn candidate(family: u32, block: u32) -> Candidate {
        Candidate {
            family,
            block,
            description: 0,
            bounds: 0,
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
        let candidates: Vec<_> = candidates
            .iter()
            .map(|(family, block)| candidate(*family, *block))
            .collect();
        let legend = Legend {
            families: &families,
            descriptions: &[],
            blocks: vec!["".into(), "a=\"1\"".into()].into(),
            bounds: vec![Arc::new(Bounds::new(&[1.0]))],
            reserved: &std::iter::once("envoy_up".to_owned()).collect(),
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
        assert_eq!(slots.iter().flatten().count(), series);
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
