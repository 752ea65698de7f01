//! Makes the second snapshot of a target: what its collectors found besides the stats.
//!
//! A collector says what it found subject by subject: a scope and tags (an endpoint of a cluster,
//! say), then each of its numbers under a last word. Scope and word are a base name of the mapping
//! table, so that names, labels, HELP and units come from there, in every profile, and target
//! labels, relabeling and limits apply as they do to stats. As with stats, names are resolved once:
//! a run that finds what the last one found only moves numbers.
//!
//! A collector that did not run keeps what it has; one that failed has nothing. Whatever the stats
//! have already is theirs: no series is in both snapshots, and no name means two things.

mod distributions;
mod plans;

use std::sync::Arc;

use hashbrown::HashSet;

use super::super::layout::{self, Layout, Legend};
use super::super::names::Interner;
use super::super::{Report, Snapshot};
use super::Settings;
use super::group::{Group, Resolved};
use super::resolve::{BoundSets, Descriptions, Families, Framed, Kinds, Resolver};
use super::shapes::Shapes;
use crate::histogram::whole::Counted;
use crate::mapping::endpoints::Endpoints;
use crate::mapping::scopes::Scopes;
use crate::mapping::table::Join;
use crate::snapshot::DropReason;
use crate::stat::StatType;

use plans::Plans;

/// Keeps what is known of the findings of a target's collectors between polls.
#[derive(Debug)]
pub struct Collected {
    settings: Settings,
    findings: Vec<Findings>,
    families: Families,
    descriptions: Descriptions,
    blocks: Interner,
    bounds: BoundSets,
    kinds: Kinds,
    layout: Arc<Layout>,
    /// The layout of the stats that this one was made beside.
    beside: Arc<Layout>,
}

/// What one collector found.
#[derive(Debug)]
struct Findings {
    group: Group<Found>,
    /// The histograms among them, in the order in which they were found.
    distributions: Vec<Counted>,
    /// What has no name of its own to be told by.
    lost: Lost,
    /// The same of the run for which the layout was made.
    lost_before: Lost,
    /// Whether a run since then found something else.
    changed: bool,
}

/// Findings that are counted alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    /// Their name came twice.
    repeated: usize,
    /// The collector's own bounds let them fall.
    cut: usize,
}

/// A number and what it is; of a histogram it is its place among them.
#[derive(Clone, Copy, Debug)]
struct Found {
    raw: u64,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Counter,
    Gauge,
    Double,
    Info,
    Distribution,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            raw: 0,
            form: Form::Gauge,
        }
    }
}

impl Form {
    /// What tells it from the others in a text.
    const fn letter(self) -> char {
        match self {
            Self::Counter => 'c',
            Self::Gauge => 'g',
            Self::Double => 'd',
            Self::Info => 'i',
            Self::Distribution => 'h',
        }
    }

    /// The type of stat that names such a family.
    const fn stat_type(self) -> StatType {
        match self {
            Self::Counter => StatType::Counter,
            Self::Gauge | Self::Double => StatType::Gauge,
            Self::Info => StatType::TextReadout,
            Self::Distribution => StatType::Histogram,
        }
    }
}

/// A run of a collector: takes what it finds.
#[derive(Debug)]
pub struct Finding<'c> {
    findings: &'c mut Findings,
    /// The subject, then the last word.
    name: String,
    subject: usize,
    over: bool,
}

impl Finding<'_> {
    /// What the numbers that follow are of: the front of their base names, and their tags. A tag whose
    /// value is empty is none.
    pub fn subject<'t>(&mut self, scope: &str, tags: impl IntoIterator<Item = (&'t str, &'t str)>) {
        self.name.clear();
        self.name.push_str(scope);
        for (tag, value) in tags.into_iter().filter(|(_, value)| !value.is_empty()) {
            for text in [tag, value] {
                self.name.push(SEPARATOR);
                push_escaped(&mut self.name, text);
            }
        }
        self.name.push('.');
        self.subject = self.name.len();
    }

    /// A number that only grows.
    pub fn counter(&mut self, word: &str, value: u64) {
        self.found(word, value, Form::Counter);
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, word: &str, value: u64) {
        self.found(word, value, Form::Gauge);
    }

    /// One that need not be whole.
    pub fn double(&mut self, word: &str, value: f64) {
        self.found(word, value.to_bits(), Form::Double);
    }

    /// Nothing but the tags.
    pub fn info(&mut self, word: &str) {
        self.found(word, 1, Form::Info);
    }

    /// Numbers in bins, the count of each of which only grows.
    pub fn histogram(&mut self, word: &str, counted: Counted) {
        let at = self.findings.distributions.len() as u64;
        self.findings.distributions.push(counted);
        self.found(word, at, Form::Distribution);
    }

    /// From now on what is found is over a bound of the collector's: let fall, and counted.
    pub fn let_fall(&mut self, over: bool) {
        self.over = over;
    }

    /// Starts again, with nothing found.
    pub fn clear(&mut self) {
        self.findings.begin();
    }

    fn found(&mut self, word: &str, raw: u64, form: Form) {
        if self.over {
            self.findings.lost.cut += 1;
            return;
        }
        self.name.truncate(self.subject);
        // The last dot of a name stands between subject and word.
        if word.contains('.') {
            self.name.push_str(&word.replace('.', "_"));
        } else {
            self.name.push_str(word);
        }
        match self.findings.group.see(&self.name) {
            Some(stat) => {
                if stat.value.form != form {
                    stat.resolved = Resolved::NOT_YET;
                    self.findings.changed = true;
                }
                stat.value = Found { raw, form };
            }
            None => self.findings.lost.repeated += 1,
        }
    }
}

impl Drop for Finding<'_> {
    fn drop(&mut self) {
        self.findings.end();
    }
}

impl Findings {
    fn new() -> Self {
        Self {
            group: Group::new(None),
            distributions: Vec::new(),
            lost: Lost::default(),
            lost_before: Lost::default(),
            changed: false,
        }
    }

    fn begin(&mut self) {
        self.group.begin();
        self.distributions.clear();
        self.lost = Lost::default();
    }

    fn end(&mut self) {
        self.changed |= !self.group.is_steady() || self.lost != self.lost_before;
    }
}

impl Collected {
    /// For so many collectors, none of which has run.
    pub fn new(settings: Settings, collectors: usize) -> Self {
        Self {
            settings,
            findings: (0..collectors).map(|_| Findings::new()).collect(),
            families: Families::default(),
            descriptions: Descriptions::default(),
            blocks: Interner::default(),
            bounds: BoundSets::new(),
            kinds: Kinds::default(),
            layout: Arc::default(),
            beside: Arc::default(),
        }
    }

    /// Starts a run of a collector.
    pub fn begin(&mut self, collector: usize) -> Option<Finding<'_>> {
        let findings = self.findings.get_mut(collector)?;
        findings.begin();
        Some(Finding {
            findings,
            name: String::new(),
            subject: 0,
            over: false,
        })
    }

    /// What all collectors have, beside the stats of the same poll.
    pub fn finish(&mut self, stats: &Arc<Layout>) -> Snapshot {
        let changed = self.findings.iter().any(|findings| findings.changed);
        if changed || !Arc::ptr_eq(&self.beside, stats) {
            self.beside = Arc::clone(stats);
            self.resolve();
            self.lay_out();
        }
        Snapshot {
            layout: Arc::clone(&self.layout),
            scalars: self.scalars(),
            histograms: self.histograms(),
            beginning: None,
            // Nobody says since when these count.
            start: None,
            shows_start: false,
        }
    }

    fn resolve(&mut self) {
        for findings in &mut self.findings {
            findings.group.settle();
        }
        self.forget_the_dead();
        let settings = &self.settings;
        let mut resolver = Resolver {
            mapping: &settings.mapping,
            scopes: &Scopes::default(),
            endpoints: &Endpoints::default(),
            target_labels: &settings.target_labels,
            relabel: &settings.relabel,
            limits: settings.limits,
            families: &mut self.families,
            descriptions: &mut self.descriptions,
            blocks: &mut self.blocks,
            bounds: &mut self.bounds,
            kinds: &mut self.kinds,
            shapes: &mut Shapes::default(),
            framed: Framed::default(),
            changed: &[],
        };
        let mut plans = Plans::default();
        let mut name = String::new();
        for findings in &mut self.findings {
            (findings.changed, findings.lost_before) = (false, findings.lost);
            let group = &mut findings.group;
            for (at, stat) in group.stats.iter_mut().enumerate() {
                if stat.resolved.is_not_yet() {
                    group.names.read(at, &mut name);
                    let form = stat.value.form;
                    let verdict = plans.verdict(&settings.mapping, &name, form);
                    stat.resolved = resolver.series_of(verdict, 0, form == Form::Double);
                }
            }
        }
    }

    fn lay_out(&mut self) {
        let mut report = Report::default();
        let mut candidates = Vec::new();
        for findings in &self.findings {
            report.drop_stats(DropReason::Conflict, findings.lost.repeated);
            report.drop_stats(DropReason::Limit, findings.lost.cut);
            findings.group.candidates(&mut candidates, &mut report);
        }
        let legend = Legend {
            families: &self.families.list,
            descriptions: &self.descriptions.list,
            kinds: &self.kinds.list,
            blocks: self.blocks.texts(),
            bounds: self.bounds.list.clone(),
            reserved: &self.settings.reserved,
            limits: self.settings.limits,
            beside: Some(&self.beside),
        };
        let (layout, slots) = layout::lay_out(&candidates, legend, report);
        let mut slots = slots.into_iter();
        for findings in &mut self.findings {
            findings.group.place(&mut slots);
        }
        self.layout = Arc::new(layout);
    }

    fn forget_the_dead(&mut self) {
        let groups = self.findings.iter().map(|findings| &findings.group);
        let live: usize = groups.map(Group::resolved).sum();
        if self.blocks.len().max(self.families.list.len()) <= live * 2 + 1024 {
            return;
        }
        self.families = Families::default();
        self.descriptions = Descriptions::default();
        self.kinds = Kinds::default();
        self.blocks = Interner::default();
        for findings in &mut self.findings {
            findings.group.forget();
        }
    }

    fn scalars(&self) -> Vec<u64> {
        let mut values = vec![0; self.layout.scalar_labels.len()];
        let mut begun = HashSet::new();
        let stats = self.findings.iter().flat_map(|of| &of.group.stats);
        let numbers = stats.filter(|stat| stat.value.form != Form::Distribution);
        for (slot, found) in numbers.filter_map(|stat| Some((stat.slot()?, stat.value))) {
            let Some(place) = values.get_mut(slot as usize) else {
                continue;
            };
            *place = match self.layout.joined.get(&slot) {
                Some(joined) if !begun.insert(slot) => join(joined.join, *place, found),
                _ => found.raw,
            };
        }
        values
    }
}

/// Two numbers in one place. The mean is taken where it is shown: here stands the sum.
fn join(join: Join, have: u64, found: Found) -> u64 {
    if found.form == Form::Double {
        let (one, other) = (f64::from_bits(have), f64::from_bits(found.raw));
        let joined = match join {
            Join::Sum | Join::Average => one + other,
            Join::Max => one.max(other),
            Join::Min => one.min(other),
        };
        return joined.to_bits();
    }
    match join {
        Join::Sum | Join::Average => have.saturating_add(found.raw),
        Join::Max => have.max(found.raw),
        Join::Min => have.min(found.raw),
    }
}

/// Stands before each tag and each value in a name.
const SEPARATOR: char = '\n';

fn push_escaped(name: &mut String, text: &str) {
    if text.contains([SEPARATOR, '\\']) {
        name.push_str(&text.replace('\\', "\\\\").replace(SEPARATOR, "\\n"));
    } else {
        name.push_str(text);
    }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            let escaped = characters.next();
            plain.extend(escaped.map(|escaped| if escaped == 'n' { SEPARATOR } else { escaped }));
        } else {
            plain.push(character);
        }
    }
    plain
}
