//! The exposition: snapshots and own metrics in, the bytes that a scrape gets out.
//!
//! A [`Body`] is written as it is read, some 64 KiB at a time, from shared snapshots: no scrape
//! holds a whole text, and concurrent ones share everything but their current piece. What is
//! compressed is made once for a poll and shared ([`serve`]). Families of several targets are
//! merged by name, own metrics come last.

mod compress;
mod openmetrics;
pub mod own;
mod plan;
mod protobuf;
pub mod serve;
mod text;

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashSet;

use crate::family::FamilyType;
use crate::histogram::native::Form as Histograms;
use crate::negotiate::Format;
use crate::snapshot::{Family, Snapshot};
use plan::{Form, Run};

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

    /// Whether everything is asked for.
    pub fn is_all(&self) -> bool {
        self.names.is_empty()
    }
}

/// What bodies look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The format.
    pub format: Format,
    /// The form of histograms, where the format has both.
    pub histograms: Histograms,
    /// Names that are the own metrics'.
    pub reserved: Arc<HashSet<String>>,
}

impl Shape {
    /// A body in this format, with classic histograms and no own metrics.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            histograms: Histograms::default(),
            reserved: Arc::default(),
        }
    }
}

/// The text of an exposition, in pieces.
#[derive(Debug)]
pub struct Body {
    snapshots: Vec<Arc<Snapshot>>,
    format: Format,
    histograms: Histograms,
    runs: Vec<Run>,
    run: usize,
    series: usize,
    messages: protobuf::Writer,
    own: Vec<u8>,
}

impl Body {
    /// The selected families of `snapshots`, then the own metrics as they are written.
    pub fn new(
        snapshots: Vec<Arc<Snapshot>>,
        shape: &Shape,
        selection: &Selection,
        own: Vec<u8>,
    ) -> Self {
        Self {
            runs: plan::plan(&snapshots, shape, selection),
            snapshots,
            format: shape.format,
            histograms: shape.histograms,
            run: 0,
            series: 0,
            messages: protobuf::Writer::default(),
            own,
        }
    }

    /// Writes the next piece to the end of `out`; nothing when all is written.
    fn write(&mut self, out: &mut Vec<u8>) {
        while out.len() < PIECE {
            let Some(run) = self.runs.get(self.run).copied() else {
                out.append(&mut self.own);
                break;
            };
            self.write_run(run, out);
        }
    }

    /// Writes series of the current run until the piece is full or the run ends.
    fn write_run(&mut self, run: Run, out: &mut Vec<u8>) {
        let Some(family) = family(&self.snapshots, run) else {
            self.next_run();
            return;
        };
        let (form, before) = (run.form, self.series);
        let begins = run.header && before == 0;
        let written = match self.format {
            Format::Protobuf => {
                if begins {
                    let runs = self.runs.iter().skip(self.run);
                    let rest = runs.clone().skip(1).take_while(|run| !run.header);
                    let members = runs.take(1).chain(rest).filter_map(|run| {
                        let family = crate::exposition::family(&self.snapshots, *run)?;
                        Some((family, run.form))
                    });
                    self.messages.begin(out, members, self.histograms);
                }
                self.messages
                    .series(out, family, form, self.histograms, before)
            }
            Format::OpenMetrics | Format::OpenMetricsDraft => {
                if begins {
                    openmetrics::family(out, family, form);
                }
                write_text(out, family, form, before, true)
            }
            Format::Text => {
                if begins {
                    text::header(out, family.name(), family.family_type(), family.help());
                }
                write_text(out, family, form, before, false)
            }
        };
        self.series += written;
        if self.series >= family.len() || written == 0 {
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
        self.write(&mut out);
        (!out.is_empty()).then(|| out.into())
    }
}

fn family(snapshots: &[Arc<Snapshot>], run: Run) -> Option<Family<'_>> {
    snapshots.get(run.snapshot)?.family(run.family)
}

/// Writes series of a family from the `skip`th on until the piece is full; says how many.
fn write_text(
    out: &mut Vec<u8>,
    family: Family<'_>,
    form: Form,
    skip: usize,
    is_openmetrics: bool,
) -> usize {
    let mut count = 0;
    // Only families that are whole in OpenMetrics have a start there.
    let started = family.started().filter(|_| is_openmetrics);
    if family.family_type().is_distribution() {
        let is_summary = family.family_type() == FamilyType::Summary;
        for (block, value) in family.histograms(skip) {
            match form {
                Form::Plain if is_summary => text::summary(out, family.name(), block, &value),
                Form::Part(part) => text::part(out, family.name(), block, &value, part),
                Form::Plain | Form::Counter | Form::Info | Form::Unknown => {
                    text::histogram(out, family.name(), block, &value);
                }
            }
            if let Some(started) = started.filter(|_| form == Form::Plain) {
                text::created(out, family.name(), block, started);
            }
            count += 1;
            if out.len() >= PIECE {
                break;
            }
        }
    } else {
        for (block, value) in family.scalars(skip) {
            text::number(out, family.name(), block, value);
            if let Some(started) = started.filter(|_| form == Form::Counter) {
                text::created(out, &form.name(family.name()), block, started);
            }
            count += 1;
            if out.len() >= PIECE {
                break;
            }
        }
    }
    count
}
