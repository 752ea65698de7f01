//! What is written of each family, in which order and as what: decided once for a body.
//!
//! In text 0.0.4 every family stands as it is. `OpenMetrics` has rules about suffixes, and no two of
//! its families may be able to have a sample of one name; a series keeps its name in every format,
//! so what does not fit the rules is exposed as `unknown` there, never renamed and never left out:
//!
//! - a counter whose name has no `_total`, or whose name without it is taken;
//! - the samples of a histogram that relabeling left incomplete, as one family for each suffix.
//!   Protobuf, which has no words for such a histogram, does the same.
//!
//! Where targets disagree on a family's type, those of the first one's type are written.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::{Selection, Shape};
use crate::family::FamilyType;
use crate::names::is_metric_name;
use crate::negotiate::Format;
use crate::snapshot::{Family, HistogramValue, Number, Parts, Snapshot};

/// As what a family is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Under its own name and type.
    Plain,
    /// As a counter of `OpenMetrics`: the family's name is without `_total`.
    Counter,
    /// As an info: the family's name is without `_info`.
    Info,
    /// As numbers of which nobody knows what they are.
    Unknown,
    /// One kind of a histogram's samples, as such numbers.
    Part(Part),
}

/// A kind of a histogram's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Bucket,
    Sum,
    Count,
}

impl Part {
    const ALL: [Self; 3] = [Self::Bucket, Self::Sum, Self::Count];

    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Bucket => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }

    /// Hands out these samples of a histogram, those of buckets with their bound.
    pub(super) fn each(
        self,
        value: &HistogramValue<'_>,
        mut each: impl FnMut(Option<&str>, Sample),
    ) {
        match self {
            Self::Bucket => {
                for (le, count) in value.le.iter().zip(value.buckets) {
                    each(Some(le), Sample::Count(*count));
                }
                if value.parts.infinity {
                    each(Some("+Inf"), Sample::Count(value.count));
                }
            }
            Self::Sum if value.parts.sum => each(None, Sample::Sum(value.sum)),
            Self::Count if value.parts.count => each(None, Sample::Count(value.count)),
            Self::Sum | Self::Count => {}
        }
    }

    fn has_samples(self, value: &HistogramValue<'_>) -> bool {
        let mut found = false;
        self.each(value, |_, _| found = true);
        found
    }
}

/// The value of a histogram's sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sample {
    Count(u64),
    Sum(f64),
}

impl Sample {
    /// The nearest double.
    #[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Count(count) => count as f64,
            Self::Sum(sum) => sum,
        }
    }
}

impl Form {
    /// The name that the family goes by.
    pub(super) fn name(self, name: &str) -> Cow<'_, str> {
        let without = |suffix| Cow::Borrowed(name.strip_suffix(suffix).unwrap_or(name));
        match self {
            Self::Plain | Self::Unknown => Cow::Borrowed(name),
            Self::Counter => without("_total"),
            Self::Info => without("_info"),
            Self::Part(part) => Cow::Owned(format!("{name}{}", part.suffix())),
        }
    }
}

/// A family in one snapshot that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) snapshot: usize,
    pub(super) family: usize,
    pub(super) form: Form,
    /// Whether a family begins with it; the next ones without a header belong to it too.
    pub(super) header: bool,
}

/// A family of one name and type in every snapshot that has it.
struct Merged<'s> {
    members: Vec<(Family<'s>, usize, usize)>,
}

impl<'s> Merged<'s> {
    fn first(&self) -> Option<Family<'s>> {
        self.members.first().map(|(family, ..)| *family)
    }

    fn families(&self) -> impl Iterator<Item = Family<'s>> {
        self.members.iter().map(|(family, ..)| *family)
    }
}

/// The selected families in the order of the names that they go by.
pub(super) fn plan(snapshots: &[Arc<Snapshot>], shape: &Shape, selection: &Selection) -> Vec<Run> {
    let merged = merge(snapshots);
    let mut claims = Claims::new(&merged, shape);
    let mut forms = vec![vec![Form::Plain]; merged.len()];
    // What is lost by being unknown: a histogram loses most, an info least.
    for wanted in [
        FamilyType::Histogram,
        FamilyType::Summary,
        FamilyType::Counter,
        FamilyType::Gauge,
    ] {
        for (merged, forms) in merged.iter().zip(&mut forms) {
            if merged.first().map(|family| family.family_type()) == Some(wanted) {
                *forms = claims.forms(merged, shape.format);
            }
        }
    }
    let mut found = Vec::new();
    for (merged, forms) in merged.iter().zip(forms) {
        for form in forms {
            found.extend(runs(merged, form, selection));
        }
    }
    if shape.format != Format::Text {
        found.sort_by(|(name, _), (other, _)| name.cmp(other));
    }
    number_headers(found)
}

/// One after the other by name, those of the first one's type.
fn merge(snapshots: &[Arc<Snapshot>]) -> Vec<Merged<'_>> {
    let mut found: Vec<(Family<'_>, usize, usize)> = Vec::new();
    for (at, snapshot) in snapshots.iter().enumerate() {
        let families = snapshot.families().enumerate();
        found.extend(families.map(|(place, family)| (family, at, place)));
    }
    found.sort_by_key(|(family, at, _)| (family.name(), *at));
    let same_name =
        |one: &(Family<'_>, _, _), other: &(Family<'_>, _, _)| one.0.name() == other.0.name();
    let groups = found.chunk_by(same_name);
    groups
        .map(|group| {
            let first = group.first().map(|(family, ..)| family.family_type());
            let is_same =
                |member: &&(Family<'_>, usize, usize)| Some(member.0.family_type()) == first;
            Merged {
                members: group.iter().filter(is_same).copied().collect(),
            }
        })
        .collect()
}

/// The runs of a family in one form, with the name that it goes by.
fn runs<'s>(merged: &Merged<'s>, form: Form, selection: &Selection) -> Vec<(Cow<'s, str>, Run)> {
    let has_samples = |family: &Family<'_>| match form {
        Form::Part(part) => family
            .histograms(0)
            .any(|(_, value)| part.has_samples(&value)),
        Form::Plain | Form::Counter | Form::Info | Form::Unknown => true,
    };
    let members = merged.members.iter();
    members
        .filter(|(family, ..)| selection.has(family.name()) && has_samples(family))
        .map(|(family, snapshot, place)| {
            let run = Run {
                snapshot: *snapshot,
                family: *place,
                form,
                header: false,
            };
            (form.name(family.name()), run)
        })
        .collect()
}

/// Marks where families begin. One that several forms came together in is unknown.
fn number_headers(mut found: Vec<(Cow<'_, str>, Run)>) -> Vec<Run> {
    for group in found.chunk_by_mut(|(name, _), (other, _)| name == other) {
        let first = group.first().map(|(_, run)| run.form);
        let mixed = group.iter().any(|(_, run)| Some(run.form) != first);
        for (at, (_, run)) in group.iter_mut().enumerate() {
            run.header = at == 0;
            if mixed && !matches!(run.form, Form::Part(_)) {
                run.form = Form::Unknown;
            }
        }
    }
    found.into_iter().map(|(_, run)| run).collect()
}

/// Which names are taken in `OpenMetrics`: by samples, and by what families could have as samples.
struct Claims<'s> {
    /// How many families have samples of this name.
    samples: HashMap<Cow<'s, str>, usize>,
    others: HashSet<String>,
    reserved: Arc<HashSet<String>>,
}

impl<'s> Claims<'s> {
    fn new(merged: &[Merged<'s>], shape: &Shape) -> Self {
        let mut samples = HashMap::new();
        if is_openmetrics(shape.format) {
            for family in merged.iter().filter_map(Merged::first) {
                let name = family.name();
                if family.family_type().is_distribution() {
                    for part in Part::ALL {
                        let sample = Cow::Owned(format!("{name}{}", part.suffix()));
                        *samples.entry(sample).or_default() += 1;
                    }
                } else {
                    *samples.entry(Cow::Borrowed(name)).or_default() += 1;
                }
            }
        }
        Self {
            samples,
            others: HashSet::new(),
            reserved: Arc::clone(&shape.reserved),
        }
    }

    fn forms(&mut self, merged: &Merged<'_>, format: Format) -> Vec<Form> {
        let Some(first) = merged.first() else {
            return Vec::new();
        };
        let name = first.name();
        let is_openmetrics = is_openmetrics(format);
        match first.family_type() {
            FamilyType::Histogram if format == Format::Text => vec![Form::Plain],
            FamilyType::Histogram => {
                let whole = merged.families().all(|family| is_whole(family))
                    && (!is_openmetrics
                        || (merged.families().all(|family| !is_below_zero(family))
                            && self.are_own_samples(name)
                            && self.claim(&[name, &format!("{name}_created")])));
                if whole {
                    vec![Form::Plain]
                } else {
                    Part::ALL.map(Form::Part).to_vec()
                }
            }
            FamilyType::Summary => {
                if is_openmetrics {
                    // Before the families that could take these names by being stripped.
                    self.claim(&[name, &format!("{name}_created")]);
                }
                vec![Form::Plain]
            }
            FamilyType::Counter if is_openmetrics => {
                let base = name.strip_suffix("_total");
                let base = base.filter(|base| is_metric_name(base));
                let form = match base {
                    Some(base) if self.claim(&[base, &format!("{base}_created")]) => Form::Counter,
                    _ => Form::Unknown,
                };
                vec![form]
            }
            FamilyType::Gauge if is_openmetrics => {
                let base = name.strip_suffix("_info");
                let base = base.filter(|base| is_metric_name(base));
                let is_info = |base| merged.families().all(is_all_ones) && self.claim(&[base]);
                let form = if base.is_some_and(is_info) {
                    Form::Info
                } else {
                    Form::Plain
                };
                vec![form]
            }
            FamilyType::Counter | FamilyType::Gauge | FamilyType::Unknown => vec![Form::Plain],
        }
    }

    /// Whether no other family has samples called as this histogram's.
    fn are_own_samples(&self, name: &str) -> bool {
        Part::ALL.iter().all(|part| {
            let sample = format!("{name}{}", part.suffix());
            self.samples
                .get(sample.as_str())
                .is_none_or(|count| *count == 1)
                && !self.others.contains(&sample)
        })
    }

    /// Takes names that no sample has, all of them or none.
    fn claim(&mut self, names: &[&str]) -> bool {
        let free = names.iter().all(|name| {
            !self.samples.contains_key(*name)
                && !self.others.contains(*name)
                && !self.reserved.contains(*name)
        });
        if free {
            self.others
                .extend(names.iter().map(|name| (*name).to_owned()));
        }
        free
    }
}

pub(super) fn is_openmetrics(format: Format) -> bool {
    matches!(format, Format::OpenMetrics | Format::OpenMetricsDraft)
}

fn is_whole(family: Family<'_>) -> bool {
    family
        .histograms(0)
        .all(|(_, value)| value.parts == Parts::ALL)
}

/// A histogram with buckets below zero has no sum in `OpenMetrics`.
fn is_below_zero(family: Family<'_>) -> bool {
    family
        .histograms(0)
        .any(|(_, value)| value.bounds.first().is_some_and(|bound| *bound < 0.0))
}

fn is_all_ones(family: Family<'_>) -> bool {
    family
        .scalars(0)
        .all(|(_, number)| number == Number::whole(1))
}
