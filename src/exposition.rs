//! The exposition: snapshots and own metrics in, the bytes that a scrape gets out.
//!
//! A [`Body`] is written as it is read, some 64 KiB at a time, from shared snapshots: no scrape
//! holds a whole text, and concurrent ones share everything but their current piece. Families of
//! several targets are merged by name, own metrics come last.

pub mod own;
pub mod text;

use std::sync::Arc;

use bytes::Bytes;

use crate::family::FamilyType;
use crate::snapshot::{Family, Snapshot};

/// How much is written at a time: a body of many pieces, each far above a socket's write unit.
const PIECE: usize = 64 * 1024;

/// Which families a scrape asks for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    names: Vec<String>,
}

impl Selection {
    /// The families of these names; none: every family.
    pub fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// Whether the family is asked for.
    pub fn has(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|have| have == name)
    }
}

/// A family in one snapshot that is to be written.
#[derive(Clone, Copy, Debug)]
struct Run {
    snapshot: usize,
    family: usize,
    /// Whether HELP and TYPE come before it.
    header: bool,
}

/// The text of an exposition, in pieces.
#[derive(Debug)]
pub struct Body {
    snapshots: Vec<Arc<Snapshot>>,
    runs: Vec<Run>,
    run: usize,
    series: usize,
    own: Vec<u8>,
}

impl Body {
    /// The selected families of `snapshots`, then the text of the own metrics.
    pub fn new(snapshots: Vec<Arc<Snapshot>>, selection: &Selection, own: Vec<u8>) -> Self {
        let runs = merge(&snapshots, selection);
        Self {
            snapshots,
            runs,
            run: 0,
            series: 0,
            own,
        }
    }

    /// Writes series of the current run until the piece is full or the run ends.
    fn write_run(&mut self, run: Run, out: &mut Vec<u8>) {
        let family = self
            .snapshots
            .get(run.snapshot)
            .and_then(|snapshot| snapshot.family(run.family));
        let Some(family) = family else {
            self.next_run();
            return;
        };
        if run.header && self.series == 0 {
            text::header(out, family.name(), family.family_type(), family.help());
        }
        let before = self.series;
        match family.family_type() {
            FamilyType::Histogram => {
                for (block, value) in family.histograms(before) {
                    text::histogram(out, family.name(), block, &value);
                    self.series += 1;
                    if out.len() >= PIECE {
                        break;
                    }
                }
            }
            FamilyType::Counter | FamilyType::Gauge | FamilyType::Unknown => {
                for (block, value) in family.scalars(before) {
                    text::number(out, family.name(), block, value);
                    self.series += 1;
                    if out.len() >= PIECE {
                        break;
                    }
                }
            }
        }
        if self.series >= family.len() {
            self.next_run();
        }
    }

    fn next_run(&mut self) {
        self.run += 1;
        self.series = 0;
    }
}

impl Iterator for Body {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        // A histogram is written whole, so a piece may end a little above its size.
        let mut out = Vec::with_capacity(PIECE + PIECE / 8);
        while out.len() < PIECE {
            let Some(run) = self.runs.get(self.run).copied() else {
                out.append(&mut self.own);
                break;
            };
            self.write_run(run, &mut out);
        }
        (!out.is_empty()).then(|| out.into())
    }
}

/// The runs in the order of family names. Where targets disagree on a family's type, those of the
/// first one's type are written; one family cannot have two.
fn merge(snapshots: &[Arc<Snapshot>], selection: &Selection) -> Vec<Run> {
    let mut found: Vec<(Family<'_>, usize, usize)> = Vec::new();
    for (at, snapshot) in snapshots.iter().enumerate() {
        let families = snapshot.families().enumerate();
        found.extend(
            families
                .filter(|(_, family)| selection.has(family.name()))
                .map(|(place, family)| (family, at, place)),
        );
    }
    found.sort_by_key(|(family, at, _)| (family.name(), *at));
    let mut runs = Vec::with_capacity(found.len());
    let mut before: Option<Family<'_>> = None;
    for (family, snapshot, place) in found {
        let header = before.is_none_or(|before| before.name() != family.name());
        if header {
            before = Some(family);
        }
        if before.is_some_and(|before| before.family_type() == family.family_type()) {
            runs.push(Run {
                snapshot,
                family: place,
                header,
            });
        }
    }
    runs
}
