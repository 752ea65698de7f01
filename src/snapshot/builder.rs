//! Makes snapshots from answers, and keeps between polls what was resolved.
//!
//! A poll calls [`Builder::begin`], hands over every stat as it is read, asks [`Builder::missing`]
//! whether something more must be read for new stats, and calls [`Builder::finish`]. A poll that
//! sees the stats of the last one only moves numbers. One that sees a stat come or go resolves the
//! new names and lays everything out again; what it no longer sees is forgotten, so that nothing
//! here grows with time.

mod bounds;
pub mod collected;
mod findings;
mod group;
mod lives;
mod resolve;
mod settings;
mod shapes;
mod values;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::layout::{self, Bounds, Layout, Legend};
use super::names::Interner;
use super::{DropReason, Report, Snapshot};
use crate::decode::DetailedHistogram;
use crate::family::Factor;
use crate::histogram::{self, Bin, Generation, Scale};
use crate::mapping::endpoints::{Endpoint, Endpoints, is_endpoint_stat};
use crate::mapping::scopes::Scopes;
use crate::stat::StatType;

use bounds::{MOST_BINS, MOST_BOUND_SETS, MOST_BOUNDS, Refused};
use findings::Findings;
use group::{Group, Resolved, Stat};
use lives::{Lives, Signs};
use resolve::{BoundSets, Descriptions, Details, Families, Framed, Kinds, Resolver, TOO_MANY};
use shapes::Shapes;

pub use lives::{Beginning, Start};
pub use settings::Settings;

/// What a poll must read besides the stats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The bounds in force of histograms seen for the first time.
    pub bounds: bool,
    /// The endpoints, for per-endpoint stats seen for the first time.
    pub endpoints: bool,
    /// The version, since the histograms' own data does not tell which maths made them.
    pub generation: bool,
}

/// Keeps what is known of a target between polls.
#[derive(Debug)]
pub struct Builder {
    settings: Settings,
    scopes: Scopes,
    endpoints: Endpoints,
    /// Counters, gauges and numbers of unknown type.
    numbers: [Group<u64>; 3],
    texts: Group<String>,
    histograms: Group<Distribution>,
    generation: Option<Generation>,
    families: Families,
    descriptions: Descriptions,
    blocks: Interner,
    bounds: BoundSets,
    kinds: Kinds,
    layout: Arc<Layout>,
    /// Where gauges stand that are looked at with each poll, in this layout.
    watched: (Arc<Layout>, Vec<(&'static str, Option<usize>)>),
    /// Stats that this poll has taken in.
    taken: usize,
    refused: Refused,
    lives: Lives,
    /// Counters that were above 0 before, and those of them that stand lower now, since the last
    /// poll that ended well.
    counted: usize,
    fell: usize,
    /// The same of the poll for which the layout was made.
    refused_before: Refused,
}

/// The value of a histogram, and what a new one needs until its bounds are known.
#[derive(Clone, Debug, Default)]
struct Distribution {
    bounds: Option<u32>,
    bins: Vec<Bin>,
    scale: Scale,
    /// Kept only where summaries are wanted.
    percentiles: Box<[(f64, f64)]>,
}

impl Builder {
    /// A builder that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            scopes: Scopes::default(),
            endpoints: Endpoints::default(),
            numbers: [
                Group::new(Some(StatType::Counter)),
                Group::new(Some(StatType::Gauge)),
                Group::new(None),
            ],
            texts: Group::new(Some(StatType::TextReadout)),
            histograms: Group::new(Some(StatType::Histogram)),
            generation: None,
            families: Families::default(),
            descriptions: Descriptions::default(),
            blocks: Interner::default(),
            bounds: BoundSets::new(),
            kinds: Kinds::default(),
            layout: Arc::default(),
            watched: Default::default(),
            lives: Lives::default(),
            counted: 0,
            fell: 0,
            taken: 0,
            refused: Refused::default(),
            refused_before: Refused::default(),
        }
    }

    /// Whether one more stat is taken in, whose name or text has so many bytes.
    fn admits(&mut self, bytes: usize) -> bool {
        let limits = &self.settings.limits;
        let admitted = bytes <= limits.stat_bytes && self.taken < limits.stats;
        if admitted {
            self.taken += 1;
        } else {
            self.refused.over += 1;
        }
        admitted
    }

    /// What this poll shows of the target's lives.
    fn signs(&mut self) -> Signs {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Signs {
            now: now.unwrap_or_default(),
            uptime: self.gauge("server.uptime"),
            generation: self.gauge("server.hot_restart_generation"),
            counted: std::mem::take(&mut self.counted),
            fell: std::mem::take(&mut self.fell),
        }
    }

    /// Starts a poll.
    pub fn begin(&mut self) {
        for group in &mut self.numbers {
            group.begin();
        }
        self.texts.begin();
        self.histograms.begin();
        // The proxy may have been upgraded since.
        self.generation = None;
        self.taken = 0;
        self.refused = Refused::default();
    }

    /// Takes a counter or a gauge; no type: a number of which Envoy did not say what it is.
    pub fn number(&mut self, stat_type: Option<StatType>, name: &str, value: u64) {
        if !self.admits(name.len()) {
            return;
        }
        let [counters, gauges, unknown] = &mut self.numbers;
        let group = match stat_type {
            Some(StatType::Counter) => counters,
            Some(StatType::Gauge) => gauges,
            _ => unknown,
        };
        match group.see(name) {
            Some(stat) => {
                if stat_type == Some(StatType::Counter) {
                    self.counted += usize::from(stat.value > 0);
                    self.fell += usize::from(value < stat.value);
                }
                stat.value = value;
            }
            None => self.refused.repeated += 1,
        }
    }

    /// Takes a text readout.
    pub fn text(&mut self, name: &str, text: &str) {
        if !self.admits(name.len().max(text.len())) {
            return;
        }
        let Some(stat) = self.texts.see(name) else {
            self.refused.repeated += 1;
            return;
        };
        if stat.value != text {
            // The text is part of the series' labels.
            text.clone_into(&mut stat.value);
            stat.resolved = Resolved::NOT_YET;
            self.texts.in_order = false;
        }
    }

    /// Takes a histogram.
    pub fn histogram(&mut self, histogram: &DetailedHistogram<'_>) {
        if histogram.bins.len() > MOST_BINS {
            self.refused.over += 1;
            return;
        }
        if !self.admits(histogram.name.len()) {
            return;
        }
        let Some(stat) = self.histograms.see(histogram.name) else {
            self.refused.repeated += 1;
            return;
        };
        stat.value.bins.clear();
        stat.value.bins.extend_from_slice(histogram.bins);
        let found = histogram::recognize(histogram.bins, histogram.percentiles, self.generation);
        stat.value.scale = found.scale;
        if self.settings.mapping.rules().has_summaries() {
            let values = histogram.percentiles.iter();
            // A percentile of nothing is no number.
            let values = values.map(|(percent, value)| (*percent, value.unwrap_or(f64::NAN)));
            stat.value.percentiles = values.collect();
        }
        self.generation = self.generation.or(found.generation);
    }

    /// What else this poll must read before it can be finished.
    pub fn missing(&self) -> Missing {
        let new_endpoint = |group: &Group<u64>| {
            let mut name = String::new();
            group.stats.iter().enumerate().any(|(at, stat)| {
                stat.resolved.is_not_yet() && {
                    group.names.read(at, &mut name);
                    is_endpoint_stat(&name)
                }
            })
        };
        let undecided = |stat: &Stat<Distribution>| {
            stat.position > 0 && stat.value.bins.iter().any(|bin| bin.width != 0.0)
        };
        let histograms = &self.histograms.stats;
        Missing {
            bounds: histograms
                .iter()
                .any(|stat| stat.position > 0 && stat.value.bounds.is_none()),
            endpoints: self.numbers.iter().any(new_endpoint),
            generation: self.generation.is_none() && histograms.iter().any(undecided),
        }
    }

    /// Takes the bounds in force of a histogram.
    pub fn bounds(&mut self, name: &str, bounds: &[f64]) {
        let Some(at) = self.histograms.names.find(name) else {
            return;
        };
        let Some(stat) = self.histograms.stats.get_mut(at) else {
            return;
        };
        if stat.value.bounds.is_none() {
            let known = if bounds.len() > MOST_BOUNDS || self.bounds.list.len() > MOST_BOUND_SETS {
                TOO_MANY
            } else {
                self.bounds.intern(Bounds::of_stat(bounds, Factor::ONE))
            };
            stat.value.bounds = Some(known);
        }
    }

    /// Takes the target's endpoints.
    pub fn endpoints(&mut self, endpoints: impl IntoIterator<Item = (String, Endpoint)>) {
        self.endpoints = Endpoints::default();
        for (cluster, endpoint) in endpoints {
            self.endpoints.add(&cluster, endpoint);
        }
    }

    /// Takes what the version says of the maths.
    pub fn generation(&mut self, generation: Generation) {
        self.generation = Some(generation);
    }

    /// What the poll that just ended said of a gauge. Where it stands is looked up once for a layout:
    /// the index that finding it needs is as large as the names, and let go again.
    pub fn gauge(&mut self, name: &'static str) -> Option<u64> {
        let [_, gauges, _] = &mut self.numbers;
        let (layout, places) = &mut self.watched;
        if !Arc::ptr_eq(layout, &self.layout) {
            places.clear();
            *layout = Arc::clone(&self.layout);
        }
        let known = places.iter().find(|(watched, _)| *watched == name);
        let at = if let Some((_, at)) = known {
            *at
        } else {
            let at = gauges.names.find(name);
            gauges.names.settle();
            places.push((name, at));
            at
        };
        gauges.stats.get(at?).map(|stat| stat.value)
    }

    /// How many stats of a type this poll has seen; no type: of those whose type is unknown.
    pub fn seen(&self, stat_type: Option<StatType>) -> usize {
        let [counters, gauges, unknown] = &self.numbers;
        let seen = match stat_type {
            Some(StatType::Counter) => counters.seen,
            Some(StatType::Gauge) => gauges.seen,
            Some(StatType::TextReadout) => self.texts.seen,
            Some(StatType::Histogram) => self.histograms.seen,
            None => unknown.seen,
        };
        seen as usize
    }

    /// Ends the poll.
    pub fn finish(&mut self) -> Snapshot {
        let steady = self.numbers.iter().all(Group::is_steady)
            && self.texts.is_steady()
            && self.histograms.is_steady()
            && self.refused == self.refused_before;
        if !steady {
            self.resolve();
            self.lay_out();
            self.refused_before = self.refused;
        }
        let signs = self.signs();
        let beginning = self.lives.see(signs);
        Snapshot {
            beginning,
            start: self.lives.start(),
            shows_start: self.settings.created_timestamps,
            scalars: self.scalars(),
            histograms: self.distributions(),
            layout: Arc::clone(&self.layout),
        }
    }

    /// Forgets what is gone, learns scope names, and resolves what is new.
    fn resolve(&mut self) {
        for group in &mut self.numbers {
            group.settle();
        }
        self.texts.settle();
        self.histograms.settle();
        self.forget_the_dead();
        for stat in &mut self.histograms.stats {
            // Envoy did not show the bounds of this one: the default ones hold.
            stat.value.bounds.get_or_insert(0);
        }
        let Self {
            numbers,
            texts,
            histograms,
            settings,
            ..
        } = self;
        let scope_rules = settings.mapping.scopes();
        let scopes = scope_rules.learn(&|last, each| {
            for group in numbers.iter() {
                group.visit(last, each);
            }
            texts.visit(last, each);
            histograms.visit(last, each);
        });
        let changed = scope_rules.changed(&self.scopes, &scopes);
        self.scopes = scopes;
        let mut resolver = Resolver {
            mapping: &settings.mapping,
            scopes: &self.scopes,
            endpoints: &self.endpoints,
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
            changed: &changed,
        };
        for group in numbers {
            resolver.resolve(group, |_| Details::default());
        }
        resolver.resolve(texts, |text| Details {
            text: Some(text),
            ..Details::default()
        });
        resolver.resolve(histograms, |value| Details {
            bounds: value.bounds.unwrap_or_default(),
            ..Details::default()
        });
    }

    fn lay_out(&mut self) {
        let mut report = Report::default();
        report.drop_stats(DropReason::Conflict, self.refused.repeated);
        report.drop_stats(DropReason::Limit, self.refused.over);
        let numbers = self.numbers.iter().map(|group| group.stats.len());
        let texts = self.texts.stats.len() + self.histograms.stats.len();
        let mut candidates = Vec::with_capacity(numbers.sum::<usize>() + texts);
        for group in &self.numbers {
            group.candidates(&mut candidates, &mut report);
        }
        self.texts.candidates(&mut candidates, &mut report);
        self.histograms.candidates(&mut candidates, &mut report);
        let legend = Legend {
            families: &self.families.list,
            descriptions: &self.descriptions.list,
            kinds: &self.kinds.list,
            blocks: self.blocks.texts(),
            bounds: self.bounds.list.clone(),
            reserved: &self.settings.reserved,
            limits: self.settings.limits,
            beside: None,
        };
        let (mut layout, slots) = layout::lay_out(&candidates, legend, report);
        let mut slots = slots.into_iter();
        for group in &mut self.numbers {
            group.place(&mut slots);
        }
        self.texts.place(&mut slots);
        self.histograms.place(&mut slots);
        let mut findings = Findings::new(
            &self.families.list,
            &self.descriptions.list,
            &self.kinds.list,
            &layout.report,
        );
        if findings.are_there() {
            for group in &self.numbers {
                findings.look(group);
            }
            findings.look(&self.texts);
            findings.look(&self.histograms);
            layout.report.names = Arc::new(findings.finish());
        }
        self.layout = Arc::new(layout);
    }

    /// Forgets every resolution once most of the families or label blocks belong to stats that
    /// are gone; the stats that are there are then resolved anew.
    fn forget_the_dead(&mut self) {
        let numbers = self.numbers.iter().map(Group::resolved);
        let live = numbers.sum::<usize>() + self.texts.resolved() + self.histograms.resolved();
        if self.blocks.len().max(self.families.list.len()) <= live * 2 + 1024 {
            return;
        }
        self.families = Families::default();
        self.descriptions = Descriptions::default();
        self.kinds = Kinds::default();
        self.blocks = Interner::default();
        self.numbers.iter_mut().for_each(Group::forget);
        self.texts.forget();
        self.histograms.forget();
    }
}
