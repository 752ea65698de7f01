//! What stats without a series are counted by, and how much is let through.

use std::sync::Arc;

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
    /// Families that stats fell out of because of a limit, as many.
    pub limited: Vec<String>,
    /// Names to look at.
    pub names: Arc<Names>,
}

/// Names of stats to look at, the first ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Families of undescribed stats, the largest first, at most [`Names::UNDESCRIBED`].
    pub undescribed: Vec<Undescribed>,
    /// Stats without a series, by the place of the reason, at most [`Report::EXAMPLES`] of each.
    pub(super) dropped: [Vec<String>; DropReason::ALL.len()],
}

/// A family of stats that no entry describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undescribed {
    /// Its name.
    pub family: String,
    /// The name of a stat of it.
    pub example: String,
    /// How many there are.
    pub stats: usize,
}

fn note(families: &mut Vec<String>, family: &str) {
    let known = families.iter().any(|have| have == family);
    if !known && families.len() < Report::EXAMPLES {
        families.push(family.to_owned());
    }
}

impl Names {
    /// How many families of undescribed stats are kept.
    pub const UNDESCRIBED: usize = 100;

    /// Some of the stats without a series for this reason.
    pub fn dropped(&self, reason: DropReason) -> &[String] {
        let at = DropReason::ALL.iter().position(|have| *have == reason);
        let found = at.and_then(|at| self.dropped.get(at));
        found.map(Vec::as_slice).unwrap_or_default()
    }
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

    /// What both have counted; names are those of this one.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.undescribed += other.undescribed;
        for (sum, more) in both.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
        for family in &other.conflicts {
            note(&mut both.conflicts, family);
        }
        for family in &other.limited {
            note(&mut both.limited, family);
        }
        both
    }

    /// Counts stats without a series.
    pub(super) fn drop_stats(&mut self, reason: DropReason, count: usize) {
        let at = DropReason::ALL.iter().position(|have| *have == reason);
        if let Some(counted) = at.and_then(|at| self.dropped.get_mut(at)) {
            *counted += count;
        }
    }

    pub(super) fn conflicts(&mut self, family: &str, count: usize) {
        self.drop_stats(DropReason::Conflict, count);
        note(&mut self.conflicts, family);
    }

    pub(super) fn limits(&mut self, family: &str, count: usize) {
        self.drop_stats(DropReason::Limit, count);
        note(&mut self.limited, family);
    }
}

/// How much is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Stats of a target.
    pub stats: usize,
    /// Bytes of a stat's name, and of the text of a text readout.
    pub stat_bytes: usize,
    /// Series of a target.
    pub series: usize,
    /// Series of a family.
    pub series_per_family: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
    /// Labels of a series.
    pub labels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Those that relabeling drops are among them.
            stats: 4_000_000,
            stat_bytes: 16 * 1024,
            series: 2_000_000,
            series_per_family: 200_000,
            label_value_bytes: 2048,
            labels: 64,
        }
    }
}
