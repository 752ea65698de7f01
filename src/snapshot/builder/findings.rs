//! Names of what is to be looked at: stats that no entry of the table describes, and stats without a
//! series. They are collected when a layout is made, and only a bounded number of them is kept.

use hashbrown::HashMap;

use super::super::layout::{Description, Kind};
use super::super::{DropReason, Names, Report, Undescribed};
use super::group::Group;
use crate::family::FamilyType;

/// What the numbers of resolved stats stand for, and what was found.
#[derive(Debug)]
pub(super) struct Findings<'b> {
    pub(super) families: &'b [(Box<str>, FamilyType)],
    pub(super) descriptions: &'b [Description],
    pub(super) kinds: &'b [Kind],
    pub(super) report: &'b Report,
    names: Names,
    /// Undescribed stats by the number of their family.
    undescribed: HashMap<u32, Undescribed>,
}

impl<'b> Findings<'b> {
    pub(super) fn new(
        families: &'b [(Box<str>, FamilyType)],
        descriptions: &'b [Description],
        kinds: &'b [Kind],
        report: &'b Report,
    ) -> Self {
        Self {
            families,
            descriptions,
            kinds,
            report,
            names: Names::default(),
            undescribed: HashMap::new(),
        }
    }

    /// Whether there is anything to be found.
    pub(super) fn are_there(&self) -> bool {
        self.report.undescribed > 0 || self.report.dropped.iter().any(|count| *count > 0)
    }

    /// Looks at the stats of a group, after they have their places.
    pub(super) fn look<V: Clone + Default>(&mut self, group: &Group<V>) {
        let mut name = String::new();
        for (at, stat) in group.stats.iter().enumerate() {
            let kind = stat.resolved.parts().map(|(kind, _)| kind);
            let kind = kind.and_then(|kind| self.kinds.get(kind as usize)).copied();
            if stat.slot().is_none() {
                let reason = match (stat.resolved.reason(), kind) {
                    (Some(reason), _) => reason,
                    (None, Some(kind)) => self.lost(kind),
                    (None, None) => continue,
                };
                self.note(reason, || {
                    group.names.read(at, &mut name);
                    name.clone()
                });
            } else if let Some(kind) = kind {
                let description = self.descriptions.get(kind.description as usize);
                if description.is_some_and(|description| description.described) {
                    continue;
                }
                let family = self.families.get(kind.family as usize);
                let noted = self.undescribed.entry(kind.family).or_insert_with(|| {
                    group.names.read(at, &mut name);
                    Undescribed {
                        family: family.map(|(name, _)| name.to_string()).unwrap_or_default(),
                        example: name.clone(),
                        stats: 0,
                    }
                });
                noted.stats += 1;
            }
        }
    }

    /// What was found.
    pub(super) fn finish(mut self) -> Names {
        let mut found: Vec<_> = self.undescribed.into_values().collect();
        found.sort_by(|a, b| b.stats.cmp(&a.stats).then_with(|| a.family.cmp(&b.family)));
        found.truncate(Names::UNDESCRIBED);
        self.names.undescribed = found;
        self.names
    }

    /// Why a stat that was to have a series has none.
    fn lost(&self, kind: Kind) -> DropReason {
        let family = self.families.get(kind.family as usize);
        let is_limited = family.is_some_and(|(name, _)| {
            let has = |families: &[String]| families.iter().any(|have| **have == **name);
            has(&self.report.limited) && !has(&self.report.conflicts)
        });
        if is_limited {
            DropReason::Limit
        } else {
            DropReason::Conflict
        }
    }

    fn note(&mut self, reason: DropReason, name: impl FnOnce() -> String) {
        let at = DropReason::ALL.iter().position(|have| *have == reason);
        let names = at.and_then(|at| self.names.dropped.get_mut(at));
        if let Some(names) = names
            && names.len() < Report::EXAMPLES
        {
            names.push(name());
        }
    }
}
