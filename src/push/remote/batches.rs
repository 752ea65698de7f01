//! What is sent of one poll, as requests of bounded size: each is made when the ones before it are
//! on their way, so that a poll of half a million series is never held twice.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::own::{Own, OwnShape};
use super::shape::{Cursor, Kind, Shape};
use super::wire::{Batch, BatchLimit, Full, Metadata, Sample};
use crate::snapshot::{HistogramValue, Snapshot};

/// Samples of one kind that are to be sent.
#[derive(Debug)]
pub(super) enum Source {
    /// The ends of series, in their order.
    Gone {
        shape: Arc<Shape>,
        positions: Vec<usize>,
        done: usize,
        cursor: Cursor,
    },
    /// The ends of own series.
    OwnGone {
        shape: Arc<OwnShape>,
        series: Vec<usize>,
        done: usize,
    },
    /// A poll.
    Values {
        shape: Arc<Shape>,
        snapshot: Arc<Snapshot>,
        cursor: Cursor,
    },
    /// The own metrics.
    Own { own: Own, done: usize },
    /// What families are.
    Metadata {
        families: Vec<Metadata>,
        done: usize,
    },
}

impl Source {
    /// The ends of all series of a shape that none of others has.
    pub(super) fn gone(shape: &Arc<Shape>, others: &[&Shape]) -> Self {
        Self::Gone {
            positions: shape.missing_in(others),
            shape: Arc::clone(shape),
            done: 0,
            cursor: Cursor::default(),
        }
    }

    /// The same of own series.
    pub(super) fn own_gone(shape: &Arc<OwnShape>, other: Option<&OwnShape>) -> Self {
        let all = || (0..shape.len()).collect();
        Self::OwnGone {
            series: other.map_or_else(all, |other| shape.missing_in(other)),
            shape: Arc::clone(shape),
            done: 0,
        }
    }

    /// Writes into a request until it is full or nothing is left.
    fn fill(&mut self, batch: &mut Batch) -> Result<(), Full> {
        match self {
            Self::Gone {
                shape,
                positions,
                done,
                cursor,
            } => fill_gone(batch, shape, positions, done, cursor),
            Self::OwnGone {
                shape,
                series,
                done,
            } => {
                let labels: Vec<_> = shape.series().collect();
                for at in series.iter().skip(*done) {
                    if let Some(labels) = labels.get(*at) {
                        batch.push(&[labels], Sample::Stale)?;
                    }
                    *done += 1;
                }
                Ok(())
            }
            Self::Values {
                shape,
                snapshot,
                cursor,
            } => fill_values(batch, shape, snapshot, cursor),
            Self::Own { own, done } => {
                let series = own.shape.series().zip(&*own.values);
                for (labels, value) in series.skip(*done) {
                    batch.push(&[labels], Sample::Number(*value))?;
                    *done += 1;
                }
                Ok(())
            }
            Self::Metadata { families, done } => {
                for family in families.iter().skip(*done) {
                    batch.push_metadata(family)?;
                    *done += 1;
                }
                Ok(())
            }
        }
    }
}

fn fill_gone(
    batch: &mut Batch,
    shape: &Shape,
    positions: &[usize],
    done: &mut usize,
    cursor: &mut Cursor,
) -> Result<(), Full> {
    let mut special = Vec::new();
    let broken = shape.walk(cursor, |entry| {
        let Some(next) = positions.get(*done) else {
            // None is left: what is behind needs no look.
            return ControlFlow::Break(());
        };
        if *next != entry.position {
            return ControlFlow::Continue(());
        }
        let sample = match entry.kind {
            Kind::Native => Sample::StaleNative,
            _ => Sample::Stale,
        };
        let pushed = match shape.labels(entry, &mut special) {
            Some(labels) => batch.push(&labels, sample),
            None => Ok(()),
        };
        match pushed {
            Ok(()) => {
                *done += 1;
                ControlFlow::Continue(())
            }
            Err(Full) => ControlFlow::Break(()),
        }
    });
    if broken.is_break() && *done < positions.len() {
        Err(Full)
    } else {
        Ok(())
    }
}

fn fill_values(
    batch: &mut Batch,
    shape: &Shape,
    snapshot: &Snapshot,
    cursor: &mut Cursor,
) -> Result<(), Full> {
    let mut special = Vec::new();
    // The value of a histogram is needed for each of its samples.
    let mut histogram: Option<((usize, usize), HistogramValue<'_>)> = None;
    let mut family = None;
    let broken = shape.walk(cursor, |entry| {
        if family.is_none_or(|(at, _)| at != entry.family) {
            family = snapshot
                .family(entry.family)
                .map(|found| (entry.family, found));
        }
        let Some((_, family)) = family else {
            return ControlFlow::Continue(());
        };
        let Some(labels) = shape.labels(entry, &mut special) else {
            return ControlFlow::Continue(());
        };
        let sample = if entry.kind == Kind::Value {
            family
                .scalar(entry.series)
                .map(|value| Sample::Number(value.as_f64()))
        } else {
            let place = (entry.family, entry.series);
            if histogram.is_none_or(|(at, _)| at != place) {
                histogram = family.histogram(entry.series).map(|value| (place, value));
            }
            histogram.and_then(|(_, value)| match entry.kind {
                Kind::Native => value.native.map(Sample::Native),
                kind => Some(Sample::Number(kind.of(&value))),
            })
        };
        let Some(sample) = sample else {
            return ControlFlow::Continue(());
        };
        match batch.push(&labels, sample) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Full) => ControlFlow::Break(()),
        }
    });
    if broken.is_break() { Err(Full) } else { Ok(()) }
}

/// The requests of one poll.
#[derive(Debug)]
pub(super) struct Batches {
    sources: Vec<Source>,
    at: usize,
    limit: BatchLimit,
    timestamp: i64,
}

impl Batches {
    pub(super) fn new(sources: Vec<Source>, limit: BatchLimit, timestamp: i64) -> Self {
        Self {
            sources,
            at: 0,
            limit,
            timestamp,
        }
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch::new(self.limit, self.timestamp);
        while let Some(source) = self.sources.get_mut(self.at) {
            match source.fill(&mut batch) {
                Ok(()) => self.at += 1,
                Err(Full) => break,
            }
        }
        (!batch.message().is_empty()).then_some(batch)
    }
}
