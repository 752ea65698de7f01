//! Families of an exposition: which sample belongs to which, and whether they may stand together.

use hashbrown::{HashMap, HashSet};

use super::distribution;
use super::line::{Kind, Sample};
use super::{Bounds, Dialect, Exposition, Refused};
use crate::family::FamilyType;
use crate::mapping::table::Unit;
use crate::names::Labels;
use crate::snapshot::{Amount, DropReason, MadeFamily, MadeSeries};

/// What is known while lines are read.
pub(super) struct Groups<'a> {
    dialect: Dialect,
    attached: &'a Labels,
    bounds: Bounds,
    list: Vec<Group>,
    index: HashMap<String, usize>,
    current: Option<usize>,
}

/// A family and its samples.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) kind: Option<Kind>,
    pub(super) help: Option<String>,
    pub(super) unit: Option<Unit>,
    pub(super) samples: Vec<Taken>,
    /// Why it cannot stand in an exposition.
    problem: Option<(DropReason, String)>,
}

/// A sample: how its name goes on behind that of the family, its labels and its value.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) suffix: &'static str,
    pub(super) labels: Labels,
    pub(super) amount: Amount,
}

/// Why a family is left out.
pub(super) type Wrong = String;

const SUFFIXES: [&str; 8] = [
    "", "_total", "_created", "_bucket", "_sum", "_count", "_info", "_gsum",
];
const GAUGE_HISTOGRAM: [&str; 3] = ["_bucket", "_gsum", "_gcount"];

/// How names of samples go on behind the name of a family of this kind.
fn suffixes(kind: Option<Kind>, dialect: Dialect) -> &'static [&'static str] {
    let is_openmetrics = dialect == Dialect::OpenMetrics;
    match kind {
        Some(Kind::Counter) if is_openmetrics => &["_total", "_created"],
        Some(Kind::Histogram) if is_openmetrics => &["_bucket", "_sum", "_count", "_created"],
        Some(Kind::Summary) if is_openmetrics => &["", "_sum", "_count", "_created"],
        Some(Kind::Histogram) => &["_bucket", "_sum", "_count"],
        Some(Kind::Summary) => &["", "_sum", "_count"],
        Some(Kind::GaugeHistogram) => &GAUGE_HISTOGRAM,
        Some(Kind::Info) => &["_info"],
        Some(Kind::Counter | Kind::Gauge | Kind::StateSet | Kind::Unknown) | None => &[""],
    }
}

impl Group {
    fn is_wrong(&mut self, reason: DropReason, why: impl Into<String>) {
        self.problem.get_or_insert_with(|| (reason, why.into()));
    }

    fn invalid(&mut self, why: impl Into<String>) {
        self.is_wrong(DropReason::Invalid, why);
    }
}

impl<'a> Groups<'a> {
    pub(super) fn new(dialect: Dialect, attached: &'a Labels, bounds: Bounds) -> Self {
        Self {
            dialect,
            attached,
            bounds,
            list: Vec::new(),
            index: HashMap::new(),
            current: None,
        }
    }

    fn known(&mut self, name: &str) -> Option<(usize, &mut Group)> {
        let at = *self.index.get(name)?;
        Some((at, self.list.get_mut(at)?))
    }

    /// The family of this name, where the next line of it goes.
    fn open(&mut self, name: &str) -> &mut Group {
        let known = self.index.get(name).copied();
        let at = known.unwrap_or(self.list.len());
        if known.is_none() {
            self.index.insert(name.to_owned(), at);
            self.list.push(Group {
                name: name.to_owned(),
                ..Group::default()
            });
        }
        // In text the lines of a family may stand anywhere: they are put together here.
        let apart = self.current != Some(at) && known.is_some();
        self.current = Some(at);
        let is_openmetrics = self.dialect == Dialect::OpenMetrics;
        #[expect(clippy::indexing_slicing, reason = "it was there, or was pushed above")]
        let group = &mut self.list[at];
        if apart && is_openmetrics {
            group.invalid("its lines are in two places");
        }
        group
    }

    pub(super) fn help(&mut self, name: &str, help: String) {
        let group = self.open(name);
        if group.help.is_some() {
            group.invalid("a second HELP");
        }
        if help.contains('\0') {
            group.invalid("a NUL in its HELP");
        }
        group.help = Some(help);
    }

    pub(super) fn kind(&mut self, name: &str, kind: Kind) {
        let group = self.open(name);
        if group.kind.is_some() {
            group.invalid("a second TYPE");
        } else if !group.samples.is_empty() {
            group.invalid("its TYPE comes after samples");
        }
        group.kind = Some(kind);
    }

    pub(super) fn unit(&mut self, name: &str, unit: &str) {
        let is_of_name = unit.is_empty()
            || name
                .strip_suffix(unit)
                .is_some_and(|front| front.ends_with('_'));
        let group = self.open(name);
        if !is_of_name {
            group.invalid("its name does not end with its unit");
        }
        if !group.samples.is_empty() {
            group.invalid("its UNIT comes after samples");
        }
        group.unit = unit_of(unit);
    }

    pub(super) fn sample(&mut self, sample: Sample<'_>) {
        let (attached, bounds) = (self.attached, self.bounds);
        let (group, suffix) = self.group_of(sample.name);
        let mut labels = Labels::new();
        for (name, value) in sample.labels {
            if name.starts_with("__") {
                group.invalid(format!("the label '{name}' is not for expositions"));
            }
            if value.contains('\0') {
                group.invalid(format!("a NUL in the label '{name}'"));
            }
            if value.len() > bounds.label_value_bytes {
                let most = bounds.label_value_bytes;
                let why = format!("the label '{name}' has more than {most} bytes");
                group.is_wrong(DropReason::Limit, why);
            }
            if labels.set(name.to_owned(), value).is_some() {
                group.invalid(format!("the label '{name}' twice in a series"));
            }
        }
        if labels.len() > bounds.labels {
            let why = format!("a series has more than {} labels", bounds.labels);
            group.is_wrong(DropReason::Limit, why);
        }
        group.samples.push(Taken {
            suffix,
            labels: with_attached(&labels, attached),
            amount: sample.amount,
        });
    }

    /// The family that a sample of this name belongs to.
    fn group_of(&mut self, name: &str) -> (&mut Group, &'static str) {
        let dialect = self.dialect;
        let all = SUFFIXES.iter().chain(&GAUGE_HISTOGRAM);
        let found = all.copied().find_map(|suffix| {
            let base = name.strip_suffix(suffix)?;
            let (_, group) = self.known(base)?;
            suffixes(group.kind, dialect)
                .contains(&suffix)
                .then(|| (base.to_owned(), suffix))
        });
        if let Some((base, suffix)) = found {
            return (self.open(&base), suffix);
        }
        let is_known = self.index.contains_key(name);
        let group = self.open(name);
        if is_known {
            group.invalid("a sample of a name that its type does not have");
        }
        (group, "")
    }

    /// The families, and those that are none.
    pub(super) fn finish(self) -> Exposition {
        let mut read = Exposition::default();
        for group in self.list {
            if group.samples.is_empty() {
                continue;
            }
            let name = group.name.clone();
            let samples = group.samples.len();
            let made = match group.problem.clone() {
                Some(problem) => Err(problem),
                None => made(group, self.dialect).map_err(|why| (DropReason::Invalid, why)),
            };
            match made {
                Ok(families) => read.families.extend(families),
                Err((reason, why)) => read.refused.push(Refused {
                    family: name,
                    reason,
                    why,
                    series: samples,
                }),
            }
        }
        read
    }
}

/// As Prometheus does it: a label that is attached wins, and what the series had is kept under
/// another name. A label without a value is none.
fn with_attached(labels: &Labels, attached: &Labels) -> Labels {
    let mut both = attached.clone();
    let mut pushed_aside = Vec::new();
    for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        if attached.value(name).is_some() {
            pushed_aside.push((name, value));
        } else {
            both.set(name.to_owned(), value.to_owned());
        }
    }
    for (name, value) in pushed_aside {
        let mut other = format!("exported_{name}");
        while both.value(&other).is_some() {
            other.insert_str(0, "exported_");
        }
        both.set(other, value.to_owned());
    }
    both
}

/// The unit of a word, where we have one.
fn unit_of(word: &str) -> Option<Unit> {
    Some(match word {
        "seconds" => Unit::Seconds,
        "milliseconds" => Unit::Milliseconds,
        "microseconds" => Unit::Microseconds,
        "bytes" => Unit::Bytes,
        "percent" => Unit::Percent,
        "ratio" => Unit::Ratio,
        "days" => Unit::Days,
        _ => return None,
    })
}

/// A HELP, also where there is none: readers may ask for one.
pub(super) fn described(help: Option<String>) -> String {
    let help = help.unwrap_or_default();
    match help.trim_start_matches([' ', '\t']) {
        "" => "Not described where it comes from.".to_owned(),
        help => help.to_owned(),
    }
}

fn made(mut group: Group, dialect: Dialect) -> Result<Vec<MadeFamily>, Wrong> {
    let is_openmetrics = dialect == Dialect::OpenMetrics;
    // Since when it counts: nobody asks.
    group.samples.retain(|sample| sample.suffix != "_created");
    let (family_type, suffix) = match group.kind {
        Some(Kind::Counter) if is_openmetrics => (FamilyType::Counter, "_total"),
        Some(Kind::Counter) => (FamilyType::Counter, ""),
        Some(Kind::Gauge | Kind::StateSet) => (FamilyType::Gauge, ""),
        Some(Kind::Info) => (FamilyType::Gauge, "_info"),
        Some(Kind::Unknown) | None => (FamilyType::Unknown, ""),
        Some(Kind::Histogram | Kind::Summary) => return distribution::made(group),
        Some(Kind::GaugeHistogram) => return loose(group),
    };
    for sample in &group.samples {
        let value = sample.amount.as_f64();
        let wrong = match group.kind {
            Some(Kind::Counter) if value.is_nan() || value < 0.0 => "a counter below zero",
            Some(Kind::Info) if sample.amount != Amount::Whole(1) => "an info that is not 1",
            Some(Kind::StateSet) if !matches!(sample.amount, Amount::Whole(0 | 1)) => {
                "a state that is neither 0 nor 1"
            }
            _ => continue,
        };
        return Err(wrong.to_owned());
    }
    let name = format!("{}{suffix}", group.name);
    Ok(vec![numbers(
        name,
        family_type,
        (group.help, group.unit),
        group.samples,
    )?])
}

/// The samples of a family for which we have no form: a family of each name, without a type.
pub(super) fn loose(group: Group) -> Result<Vec<MadeFamily>, Wrong> {
    let mut found: Vec<(&'static str, Vec<Taken>)> = Vec::new();
    for sample in group.samples {
        match found
            .iter_mut()
            .find(|(suffix, _)| *suffix == sample.suffix)
        {
            Some((_, samples)) => samples.push(sample),
            None => found.push((sample.suffix, vec![sample])),
        }
    }
    let families = found.into_iter().map(|(suffix, samples)| {
        let name = format!("{}{suffix}", group.name);
        let described = (group.help.clone(), None);
        numbers(name, FamilyType::Unknown, described, samples)
    });
    families.collect()
}

fn numbers(
    name: String,
    family_type: FamilyType,
    (help, unit): (Option<String>, Option<Unit>),
    samples: Vec<Taken>,
) -> Result<MadeFamily, Wrong> {
    let mut seen = HashSet::new();
    let mut series = Vec::with_capacity(samples.len());
    for sample in samples {
        let block = sample.labels.to_block();
        if !seen.insert(block.clone()) {
            return Err(format!("the series {{{block}}} twice"));
        }
        series.push((block, sample.amount));
    }
    Ok(MadeFamily {
        name,
        family_type,
        help: described(help),
        unit,
        series: MadeSeries::Numbers(series),
    })
}
