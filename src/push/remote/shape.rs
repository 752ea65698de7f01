//! What all polls with one layout have in common for remote write: the labels of every series, which
//! samples it has, and what relabeling makes of them. Made once for a layout.
//!
//! Samples are numbered in the order of the exposition: families by name, series as they stand, of
//! a histogram the buckets, the sum and the count.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use hashbrown::HashSet;

use super::labels::{Block, Blocks, Labeling, Special, encode, key, relabeled, with_external};
use super::wire::Metadata;
use crate::family::FamilyType;
use crate::histogram::native::Form;
use crate::names::{Labels, number_text};
use crate::relabel::NAME;
use crate::snapshot::{Family, HistogramValue, Layout, Outline, Parts, Snapshot};

/// A layout, prepared.
#[derive(Debug)]
pub(super) struct Shape {
    layout: Arc<Layout>,
    labeling: Arc<Labeling>,
    blocks: Blocks,
    families: Vec<FamilyShape>,
    /// What becomes of each sample; none where there are no rules.
    verdicts: Vec<Verdict>,
    changed: Vec<(Box<[u8]>, u64)>,
    samples: usize,
}

/// What relabeling makes of a sample's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unchanged,
    Dropped,
    /// Another label set, by its number.
    Changed(u32),
}

#[derive(Debug)]
struct FamilyShape {
    form: FamilyForm,
    /// The name's label with each suffix, and its key.
    names: [(Vec<u8>, u64); 4],
    /// The number of its first sample.
    first: usize,
}

#[derive(Debug)]
enum FamilyForm {
    Scalar,
    Summary(Box<[f64]>),
    Histogram { classic: bool, native: bool },
}

/// Which of the samples of a series one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Value,
    Quantile(usize),
    Bucket(usize),
    Infinity,
    Sum,
    Count,
    Native,
}

impl Kind {
    const SUFFIXES: [&str; 4] = ["", "_bucket", "_sum", "_count"];

    const fn suffix(self) -> usize {
        match self {
            Self::Value | Self::Quantile(_) | Self::Native => 0,
            Self::Bucket(_) | Self::Infinity => 1,
            Self::Sum => 2,
            Self::Count => 3,
        }
    }

    const fn special(self) -> Special {
        match self {
            Self::Quantile(_) => Special::Quantile,
            Self::Bucket(_) | Self::Infinity => Special::Le,
            Self::Value | Self::Sum | Self::Count | Self::Native => Special::None,
        }
    }

    /// The value of this sample of a histogram or summary.
    #[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
    pub(super) fn of(self, value: &HistogramValue<'_>) -> f64 {
        match self {
            Self::Bucket(at) => value.buckets.get(at).map_or(0.0, |count| *count as f64),
            Self::Infinity | Self::Count => value.count as f64,
            Self::Sum => value.sum,
            Self::Quantile(at) => value
                .quantiles()
                .nth(at)
                .map_or(f64::NAN, |(_, shown)| shown),
            Self::Value | Self::Native => f64::NAN,
        }
    }
}

impl FamilyForm {
    fn of(family: Family<'_>, form: Form) -> Self {
        match family.family_type() {
            FamilyType::Counter | FamilyType::Gauge | FamilyType::Unknown => Self::Scalar,
            FamilyType::Summary => {
                let quantiles = family.histograms(0).map(|(_, value)| {
                    let quantiles = value.quantiles().map(|(quantile, _)| quantile);
                    quantiles.collect::<Box<[_]>>()
                });
                Self::Summary(quantiles.max_by_key(|all| all.len()).unwrap_or_default())
            }
            FamilyType::Histogram => {
                // What relabeling left of a histogram is shown as that.
                let is_native =
                    |value: HistogramValue<'_>| value.native.is_some() && value.parts == Parts::ALL;
                let native = form != Form::Classic
                    && family.histograms(0).all(|(_, value)| is_native(value));
                Self::Histogram {
                    classic: !native || form == Form::Both,
                    native,
                }
            }
        }
    }

    /// The samples of a series, in their order, from the `skip`th on.
    fn kinds(&self, le: usize, parts: Parts, skip: usize) -> impl Iterator<Item = Kind> + use<> {
        let (quantiles, classic, native, le, parts) = match self {
            Self::Scalar => (0, false, false, 0, None),
            Self::Summary(quantiles) => (quantiles.len(), false, false, 0, Some(parts)),
            Self::Histogram { classic, native } => {
                let le = if *classic { le } else { 0 };
                (0, *classic, *native, le, Some(parts).filter(|_| *classic))
            }
        };
        let part = |is_there: fn(Parts) -> bool, kind| {
            parts.is_some_and(is_there).then_some(kind).into_iter()
        };
        let is_scalar = matches!(self, Self::Scalar);
        (is_scalar.then_some(Kind::Value).into_iter())
            .chain((0..quantiles).map(Kind::Quantile))
            .chain((0..le).map(Kind::Bucket))
            .chain(part(|parts| parts.infinity, Kind::Infinity).filter(move |_| classic))
            .chain(part(|parts| parts.sum, Kind::Sum))
            .chain(part(|parts| parts.count, Kind::Count))
            .chain(native.then_some(Kind::Native))
            .skip(skip)
    }
}

/// A place in the samples of a shape.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    family: usize,
    series: usize,
    sample: usize,
    position: usize,
}

/// A sample without its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'s> {
    pub(super) family: usize,
    pub(super) series: usize,
    pub(super) kind: Kind,
    pub(super) position: usize,
    outline: Outline<'s>,
    shape: &'s FamilyShape,
}

impl<'s> Entry<'s> {
    /// The value of its bucket or quantile label.
    fn special(&self) -> Cow<'s, str> {
        match (self.kind, &self.shape.form) {
            (Kind::Bucket(at), _) => {
                let le = self.outline.le(self.series).get(at);
                Cow::Borrowed(le.map_or("", |le| le))
            }
            (Kind::Infinity, _) => Cow::Borrowed("+Inf"),
            (Kind::Quantile(at), FamilyForm::Summary(quantiles)) => {
                let quantile = quantiles.get(at).copied().unwrap_or(f64::NAN);
                Cow::Owned(number_text(quantile))
            }
            _ => Cow::Borrowed(""),
        }
    }
}

impl Shape {
    /// Prepares the layout of a snapshot.
    pub(super) fn new(snapshot: &Snapshot, labeling: Arc<Labeling>, form: Form) -> Self {
        let layout = Arc::clone(snapshot.layout());
        let mut families = Vec::with_capacity(snapshot.families().len());
        let mut first = 0;
        for (family, outline) in snapshot.families().zip(layout.outlines()) {
            let form = FamilyForm::of(family, form);
            let names = Kind::SUFFIXES.map(|suffix| {
                let name = format!("{}{suffix}", family.name());
                let mut label = Vec::new();
                super::wire::push_label(&mut label, NAME, &name);
                (label, key(NAME, &name))
            });
            let series = 0..outline.len();
            let samples = series.map(|at| {
                let le = outline.le(at).len();
                form.kinds(le, outline.parts(at), 0).count()
            });
            let count: usize = samples.sum();
            families.push(FamilyShape { form, names, first });
            first += count;
        }
        let mut shape = Self {
            blocks: Blocks::new(layout.label_blocks(), &labeling.external),
            layout,
            labeling,
            families,
            verdicts: Vec::new(),
            changed: Vec::new(),
            samples: first,
        };
        shape.relabel();
        shape
    }

    /// How many samples a poll has.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// About how many bytes of memory it takes, with its layout.
    pub(super) fn memory(&self) -> usize {
        let changed = self.changed.iter();
        self.layout.memory()
            + self.blocks.memory()
            + size_of_val(self.verdicts.as_slice())
            + changed.map(|(labels, _)| labels.len() + 24).sum::<usize>()
    }

    /// Whether it is of this layout.
    pub(super) fn is_of(&self, layout: &Arc<Layout>) -> bool {
        Arc::ptr_eq(&self.layout, layout)
    }

    /// What its families are.
    pub(super) fn metadata(&self) -> impl Iterator<Item = Metadata> {
        self.layout
            .outlines()
            .map(|family| Metadata::new(family.name(), family.family_type(), family.help()))
    }

    fn relabel(&mut self) {
        if self.labeling.rules.is_empty() {
            return;
        }
        let mut verdicts = Vec::with_capacity(self.samples);
        let mut changed = Vec::new();
        let mut seen = HashSet::new();
        let (mut dropped, mut twice) = (0, 0);
        let texts: Vec<_> = self.layout.label_blocks().collect();
        let _ = self.walk(&mut Cursor::default(), |entry| {
            let block = texts.get(entry.outline.block(entry.series));
            let labels = Labels::from_block(block.copied().unwrap_or_default());
            let labels = with_external(&labels, &self.labeling.external);
            let suffix = Kind::SUFFIXES.get(entry.kind.suffix()).copied();
            let name = format!("{}{}", entry.outline.name(), suffix.unwrap_or_default());
            let special = entry.special();
            let special = Some((entry.kind.special().name(), &*special));
            let special = special.filter(|_| entry.kind.special() != Special::None);
            let after = relabeled(&name, &labels, special, &self.labeling.rules);
            let verdict = after.map_or(Verdict::Dropped, |after| {
                let (message, key) = encode(&after);
                if !seen.insert(key) {
                    twice += 1;
                    Verdict::Dropped
                } else if Some(key) == self.key(entry) {
                    Verdict::Unchanged
                } else {
                    changed.push((message, key));
                    let number = u32::try_from(changed.len() - 1);
                    number.map_or(Verdict::Dropped, Verdict::Changed)
                }
            });
            dropped += usize::from(verdict == Verdict::Dropped);
            verdicts.push(verdict);
            ControlFlow::Continue(())
        });
        if twice > 0 {
            tracing::warn!(
                samples = twice,
                "write_relabel_configs make one series of several; all but the first are left out"
            );
        }
        (self.verdicts, self.changed) = (verdicts, changed);
        self.samples -= dropped;
    }

    /// Hands out the samples from a place on, until `each` breaks off: the cursor then stands at the
    /// sample that it broke off at.
    pub(super) fn walk<'s>(
        &'s self,
        cursor: &mut Cursor,
        mut each: impl FnMut(&Entry<'s>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let families = self.families.iter().zip(self.layout.outlines());
        for (shape, outline) in families.skip(cursor.family) {
            while cursor.series < outline.len() {
                let le = outline.le(cursor.series).len();
                let parts = outline.parts(cursor.series);
                for kind in shape.form.kinds(le, parts, cursor.sample) {
                    each(&Entry {
                        family: cursor.family,
                        series: cursor.series,
                        kind,
                        position: cursor.position,
                        outline,
                        shape,
                    })?;
                    cursor.sample += 1;
                    cursor.position += 1;
                }
                cursor.series += 1;
                cursor.sample = 0;
            }
            cursor.family += 1;
            cursor.series = 0;
        }
        ControlFlow::Continue(())
    }

    /// The parts of a sample's labels; nothing where it is dropped. `special` is used for one.
    pub(super) fn labels<'a>(
        &'a self,
        entry: &Entry<'a>,
        special: &'a mut Vec<u8>,
    ) -> Option<[&'a [u8]; 5]> {
        special.clear();
        match self.verdicts.get(entry.position) {
            Some(Verdict::Dropped) => return None,
            Some(Verdict::Changed(at)) => {
                let (labels, _) = self.changed.get(*at as usize)?;
                return Some([labels, &[], &[], &[], &[]]);
            }
            Some(Verdict::Unchanged) | None => {}
        }
        let which = entry.kind.special();
        if which != Special::None {
            super::wire::push_label(special, which.name(), &entry.special());
        }
        let block = self.block(entry)?;
        let (name, _) = entry.shape.names.get(entry.kind.suffix())?;
        let [first, second, third] = self.blocks.parts(block, which);
        Some([first, name, second, special, third])
    }

    fn block(&self, entry: &Entry<'_>) -> Option<&Block> {
        self.blocks.get(entry.outline.block(entry.series))
    }

    /// What tells a sample's label set from others; nothing where it is dropped.
    fn key(&self, entry: &Entry<'_>) -> Option<u64> {
        match self.verdicts.get(entry.position) {
            Some(Verdict::Dropped) => None,
            Some(Verdict::Changed(at)) => self.changed.get(*at as usize).map(|(_, key)| *key),
            Some(Verdict::Unchanged) | None => {
                let (_, name) = entry.shape.names.get(entry.kind.suffix())?;
                let sum = self.block(entry)?.key.wrapping_add(*name);
                let which = entry.kind.special();
                Some(if which == Special::None {
                    sum
                } else {
                    sum.wrapping_add(key(which.name(), &entry.special()))
                })
            }
        }
    }

    /// Number and key of the samples of a family, or of all.
    fn keys(&self, family: Option<usize>) -> Vec<(usize, u64)> {
        let first = family.and_then(|at| self.families.get(at));
        let mut cursor = Cursor {
            family: family.unwrap_or_default(),
            position: first.map_or(0, |family| family.first),
            ..Cursor::default()
        };
        let mut keys = Vec::new();
        let _ = self.walk(&mut cursor, |entry| {
            if family.is_some_and(|family| family != entry.family) {
                return ControlFlow::Break(());
            }
            keys.extend(self.key(entry).map(|key| (entry.position, key)));
            ControlFlow::Continue(())
        });
        keys
    }

    /// The numbers of samples that none of other shapes has, in rising order.
    pub(super) fn missing_in(&self, others: &[&Self]) -> Vec<usize> {
        let Some((first, rest)) = others.split_first() else {
            return self.keys(None).into_iter().map(|(at, _)| at).collect();
        };
        let mut missing = self.missing_in_one(first);
        for other in rest {
            if !missing.is_empty() {
                let there: HashSet<_> = self.missing_in_one(other).into_iter().collect();
                missing.retain(|at| there.contains(at));
            }
        }
        missing
    }

    fn missing_in_one(&self, other: &Self) -> Vec<usize> {
        let mut missing = Vec::new();
        let is_alike = Arc::ptr_eq(&self.labeling, &other.labeling);
        if !is_alike || !self.labeling.rules.is_empty() {
            // A series may have moved from one family to another.
            find_missing(&self.keys(None), &other.keys(None), &mut missing);
            return missing;
        }
        // Families are sorted by name in both.
        let mut others = other.layout.outlines().enumerate().peekable();
        for (at, family) in self.layout.outlines().enumerate() {
            while others
                .next_if(|(_, other)| other.name() < family.name())
                .is_some()
            {}
            let same = others.next_if(|(_, other)| other.name() == family.name());
            let theirs = same.map(|(at, _)| other.keys(Some(at)));
            find_missing(
                &self.keys(Some(at)),
                &theirs.unwrap_or_default(),
                &mut missing,
            );
        }
        missing
    }
}

/// What is in one list of keys and not in another. Layouts keep the order of series, so that most of
/// both is the same at the start and at the end.
pub(super) fn find_missing(
    have: &[(usize, u64)],
    other: &[(usize, u64)],
    missing: &mut Vec<usize>,
) {
    let is_same = |(one, other): &(&(usize, u64), &(usize, u64))| one.1 == other.1;
    let start = have.iter().zip(other).take_while(is_same).count();
    let have = have.get(start..).unwrap_or_default();
    let other = other.get(start..).unwrap_or_default();
    let end = have
        .iter()
        .rev()
        .zip(other.iter().rev())
        .take_while(is_same)
        .count();
    let have = have.get(..have.len() - end).unwrap_or_default();
    let other = other.get(..other.len() - end).unwrap_or_default();
    let other: HashSet<u64> = other.iter().map(|(_, key)| *key).collect();
    missing.extend(
        have.iter()
            .filter(|(_, key)| !other.contains(key))
            .map(|(at, _)| *at),
    );
}
