//! The stats of one type between polls: found again by their place, forgotten when they are gone.

use hashbrown::HashSet;

use super::super::layout::{Candidate, NOWHERE, number};
use super::super::names::{NameTable, Place};
use super::super::{DropReason, Report};
use crate::stat::StatType;

/// The stats of one type.
#[derive(Debug)]
pub(super) struct Group<V> {
    pub(super) stat_type: Option<StatType>,
    pub(super) names: NameTable,
    pub(super) stats: Vec<Stat<V>>,
    /// How many stats this poll has seen.
    pub(super) seen: u32,
    /// Whether each stat seen so far stood where it stood last time.
    pub(super) in_order: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Stat<V> {
    pub(super) value: V,
    /// Place in this poll's answer from 1 on; 0: not in it.
    pub(super) position: u32,
    pub(super) resolved: Resolved,
    slot: u32,
}

/// What was found out about a stat. There are half a million of these: eight bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The number of the series' kind, or why there is no series, counted down from the top.
    kind: u32,
    /// The number of its label block.
    block: u32,
}

impl Resolved {
    /// Nothing is found out yet.
    pub(super) const NOT_YET: Self = Self {
        kind: u32::MAX,
        block: 0,
    };

    pub(super) fn series(kind: u32, block: u32) -> Self {
        Self { kind, block }
    }

    pub(super) fn dropped(reason: DropReason) -> Self {
        let at = DropReason::ALL.iter().position(|have| *have == reason);
        Self {
            kind: u32::MAX - 1 - number(at.unwrap_or_default()),
            block: 0,
        }
    }

    pub(super) fn is_not_yet(self) -> bool {
        self == Self::NOT_YET
    }

    /// Why there is no series.
    pub(super) fn reason(self) -> Option<DropReason> {
        let at = (u32::MAX - 1).checked_sub(self.kind)?;
        DropReason::ALL.get(at as usize).copied()
    }

    /// Kind and label block of the series.
    pub(super) fn parts(self) -> Option<(u32, u32)> {
        let has_series = !self.is_not_yet() && self.reason().is_none();
        has_series.then_some((self.kind, self.block))
    }
}

impl<V> Stat<V> {
    /// Where the value goes in the layout's array.
    pub(super) fn slot(&self) -> Option<u32> {
        (self.slot != NOWHERE).then_some(self.slot)
    }
}

impl<V: Clone + Default> Group<V> {
    pub(super) fn new(stat_type: Option<StatType>) -> Self {
        Self {
            stat_type,
            names: NameTable::default(),
            stats: Vec::new(),
            seen: 0,
            in_order: true,
        }
    }

    pub(super) fn begin(&mut self) {
        self.names.rewind();
        self.seen = 0;
        self.in_order = true;
        for stat in &mut self.stats {
            stat.position = 0;
        }
    }

    /// Finds or adds a stat; `None` when this poll has seen its name before.
    pub(super) fn see(&mut self, name: &str) -> Option<&mut Stat<V>> {
        let at = match self.names.place(name) {
            Place::Known(at) => at,
            Place::New(at) => {
                self.stats.push(Stat {
                    value: V::default(),
                    position: 0,
                    resolved: Resolved::NOT_YET,
                    slot: NOWHERE,
                });
                at
            }
        };
        let stat = self.stats.get_mut(at)?;
        if stat.position > 0 {
            return None;
        }
        self.in_order &= at == self.seen as usize && !stat.resolved.is_not_yet();
        self.seen += 1;
        stat.position = self.seen;
        Some(stat)
    }

    /// Whether this poll saw what the last one saw.
    pub(super) fn is_steady(&self) -> bool {
        self.in_order && self.seen as usize == self.stats.len()
    }

    /// Forgets the stats that this poll has not seen and puts the others into its order, all of it in
    /// place: there may be half a million of them, and one that is new.
    pub(super) fn settle(&mut self) {
        let mut seen = 0;
        for at in 0..self.stats.len() {
            if self.stats.get(at).is_some_and(|stat| stat.position > 0) {
                self.swap(seen, at);
                seen += 1;
            }
        }
        self.stats.truncate(seen);
        self.names.truncate(seen);
        for at in 0..seen {
            // Each swap brings one stat to where it stays.
            while let Some(place) = self.place_of(at).filter(|place| *place != at) {
                self.swap(at, place);
            }
        }
        self.names.settle();
    }

    /// Where the stat at a place belongs by its position.
    fn place_of(&self, at: usize) -> Option<usize> {
        let place = self.stats.get(at)?.position.checked_sub(1)? as usize;
        (place < self.stats.len()).then_some(place)
    }

    fn swap(&mut self, one: usize, other: usize) {
        if one != other {
            self.stats.swap(one, other);
            self.names.swap(one, other);
        }
    }

    pub(super) fn resolved(&self) -> usize {
        let resolved = |stat: &&Stat<V>| !stat.resolved.is_not_yet();
        self.stats.iter().filter(resolved).count()
    }

    pub(super) fn forget(&mut self) {
        for stat in &mut self.stats {
            stat.resolved = Resolved::NOT_YET;
        }
    }

    /// Hands over the names whose last token is among these.
    pub(super) fn visit(&self, last: &HashSet<&str>, each: &mut dyn FnMut(&str)) {
        let mut name = String::new();
        for at in self.names.ending_in(last) {
            self.names.read(at, &mut name);
            each(&name);
        }
    }

    pub(super) fn candidates(&self, candidates: &mut Vec<Candidate>, report: &mut Report) {
        for stat in &self.stats {
            if let Some((kind, block)) = stat.resolved.parts() {
                candidates.push(Candidate { kind, block });
            } else if let Some(reason) = stat.resolved.reason() {
                report.drop_stats(reason, 1);
            }
        }
    }

    /// Takes the slots of this group's candidates, in their order.
    pub(super) fn place(&mut self, slots: &mut impl Iterator<Item = u32>) {
        for stat in &mut self.stats {
            stat.slot = match stat.resolved.parts() {
                Some(_) => slots.next().unwrap_or(NOWHERE),
                None => NOWHERE,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_group_has_the_stats_and_the_order_of_the_last_poll(
            polls in proptest::collection::vec(
                proptest::collection::vec("[ab](\\.[abc]){0,2}", 0..12), 1..6),
        ) {
            let mut group: Group<u64> = Group::new(Some(StatType::Counter));
            for poll in polls {
                group.begin();
                let mut want: Vec<(String, u64)> = Vec::new();
                for (at, name) in poll.iter().enumerate() {
                    let is_new = want.iter().all(|(have, _)| have != name);
                    let stat = group.see(name);
                    prop_assert_eq!(stat.is_some(), is_new);
                    if let Some(stat) = stat {
                        stat.value = at as u64;
                        stat.resolved = Resolved::series(0, 0);
                        want.push((name.clone(), at as u64));
                    }
                }
                group.settle();
                let mut have = Vec::new();
                let mut name = String::new();
                for (at, stat) in group.stats.iter().enumerate() {
                    group.names.read(at, &mut name);
                    have.push((name.clone(), stat.value));
                }
                prop_assert_eq!(have, want);
            }
        }
    }
}
