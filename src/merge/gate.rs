//! What of the sources may stand beside the families of Envoy and the exporter's own metrics.
//!
//! A name belongs to one family. Envoy's come first, then the exporter's own, then sources in the
//! order in which they are configured. Two sources may share a family of one type where a label that
//! is attached tells their series apart; so may a source with the label `source` and the own
//! `process_*`, which every program has and which have no labels. Anything else would be an exposition that no reader
//! takes: the later family is left out, counted and logged.
//!
//! The verdict holds for the snapshots that it was made of, so that readers of the same ones get the
//! same bytes, and it is made once for them.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{HashMap, HashSet};

use super::source::log_refused;
use super::{Handle, LABEL, Last, Options};
use crate::family::FamilyType;
use crate::foreign::{Refused, sample_names};
use crate::snapshot::{DropReason, Family, Layout, Snapshot};
use crate::telemetry::Telemetry;

/// Decides, and remembers what it decided last.
#[derive(Debug)]
pub struct Gate {
    reserved: Arc<HashSet<String>>,
    telemetry: Arc<Telemetry>,
    last: Mutex<Verdict>,
}

/// What was decided, and of what.
#[derive(Debug, Default)]
struct Verdict {
    /// Layouts say which families there are, whatever their values.
    targets: Vec<Arc<Layout>>,
    sources: Vec<(Handle, Arc<Snapshot>)>,
    refused: Vec<(Handle, Vec<Refused>)>,
    admitted: Admitted,
}

/// What of the sources is served.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    /// Families that stand beside those of targets.
    pub snapshots: Vec<Arc<Snapshot>>,
    /// Families whose series go with own metrics of the same name.
    pub with_own: Vec<(Arc<Snapshot>, Arc<[String]>)>,
}

impl Gate {
    /// A gate that keeps these names for the own metrics.
    pub fn new(reserved: Arc<HashSet<String>>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            reserved,
            telemetry,
            last: Mutex::default(),
        }
    }

    /// What of these sources may stand beside these snapshots.
    pub fn admit(&self, targets: &[Arc<Snapshot>], sources: &[Handle]) -> Admitted {
        let fresh = sources.iter().filter_map(|source| {
            let last = source.fresh()?;
            Some((source.clone(), last))
        });
        let fresh: Vec<(Handle, Last)> = fresh.collect();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.is_of(targets, &fresh) {
            *last = self.decide(targets, &fresh, &last.refused);
        }
        last.admitted.clone()
    }

    /// What was left out when last it was decided, by source.
    pub fn refused(&self) -> Vec<(String, Vec<Refused>)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = last.refused.iter();
        refused
            .map(|(source, refused)| (source.name().to_owned(), refused.clone()))
            .collect()
    }

    fn decide(
        &self,
        targets: &[Arc<Snapshot>],
        fresh: &[(Handle, Last)],
        before: &[(Handle, Vec<Refused>)],
    ) -> Verdict {
        let mut verdict = Verdict {
            targets: targets
                .iter()
                .map(|target| Arc::clone(target.layout()))
                .collect(),
            ..Verdict::default()
        };
        let mut names = Names {
            reserved: &self.reserved,
            targets,
            taken: HashMap::new(),
            owners: Vec::new(),
        };
        for (source, last) in fresh {
            let snapshot = &last.snapshot;
            let mut refused = Vec::new();
            let mut with_own = Vec::new();
            for family in snapshot.families() {
                match names.place(family, source.options()) {
                    Place::Beside => {}
                    Place::WithOwn => with_own.push(family.name().to_owned()),
                    Place::Nowhere(why) => refused.push(Refused {
                        family: family.name().to_owned(),
                        reason: DropReason::Conflict,
                        why,
                        series: family.len(),
                    }),
                }
            }
            let is_gone = |name: &str| {
                with_own.iter().any(|own| own == name)
                    || refused.iter().any(|refused| refused.family == name)
            };
            let shown = if with_own.is_empty() && refused.is_empty() {
                Arc::clone(snapshot)
            } else {
                Arc::new(snapshot.without(is_gone))
            };
            verdict.admitted.snapshots.push(shown);
            if !with_own.is_empty() {
                let with_own = (Arc::clone(snapshot), with_own.into());
                verdict.admitted.with_own.push(with_own);
            }
            let conflicts: usize = refused.iter().map(|refused| refused.series).sum();
            let conflicts = conflicts + last.refused(DropReason::Conflict);
            let name = source.name();
            self.telemetry.merge().conflicts(name, conflicts);
            let known = before.iter().find(|(have, _)| have.is_same(source));
            let known = known.map(|(_, refused)| refused.as_slice());
            if known.unwrap_or_default() != refused {
                log_refused(name, &refused);
            }
            let pair = (source.clone(), Arc::clone(snapshot));
            verdict.sources.push(pair);
            verdict.refused.push((source.clone(), refused));
        }
        // What was said of a source that has nothing now is not said again when it comes back.
        let silent = before.iter().filter(|(have, _)| {
            let mut now = fresh.iter();
            !now.any(|(source, _)| source.is_same(have))
        });
        verdict.refused.extend(silent.cloned());
        verdict.refused.truncate(2 * super::MOST);
        verdict
    }
}

impl Verdict {
    fn is_of(&self, targets: &[Arc<Snapshot>], fresh: &[(Handle, Last)]) -> bool {
        let mut layouts = self.targets.iter().zip(targets);
        let mut sources = self.sources.iter().zip(fresh);
        self.targets.len() == targets.len()
            && self.sources.len() == fresh.len()
            && layouts.all(|(layout, target)| Arc::ptr_eq(layout, target.layout()))
            && sources.all(|((handle, snapshot), (source, last))| {
                handle.is_same(source) && Arc::ptr_eq(snapshot, &last.snapshot)
            })
    }
}

/// Where a family of a source stands.
enum Place {
    Beside,
    WithOwn,
    Nowhere(String),
}

/// Which names are whose.
struct Names<'n> {
    reserved: &'n HashSet<String>,
    targets: &'n [Arc<Snapshot>],
    /// Names of samples of sources, by the place of their family.
    taken: HashMap<String, usize>,
    owners: Vec<Owner>,
}

/// A family and the sources that have it.
struct Owner {
    name: String,
    family_type: FamilyType,
    sources: Vec<Arc<Options>>,
}

impl Names<'_> {
    fn place(&mut self, family: Family<'_>, source: &Arc<Options>) -> Place {
        let (name, family_type) = (family.name(), family.family_type());
        let names: Vec<_> = sample_names(name, family_type).collect();
        let is_own = names.iter().any(|name| self.reserved.contains(name));
        // Not by any label: `{source=""}` is to be the exporter's own.
        let has_label = source.labels.value(LABEL).is_some();
        let may_share = has_label && is_own_process(self.reserved, name, family_type);
        if is_own && !may_share {
            return Place::Nowhere("the exporter has a metric of that name".to_owned());
        }
        if names.iter().any(|name| self.is_of_targets(name)) {
            return Place::Nowhere("the proxy has a family of that name".to_owned());
        }
        let at = match names.iter().find_map(|name| self.taken.get(name)) {
            None => {
                let at = self.owners.len();
                self.taken.extend(names.into_iter().map(|name| (name, at)));
                self.owners.push(Owner {
                    name: name.to_owned(),
                    family_type,
                    sources: Vec::new(),
                });
                at
            }
            Some(at) => *at,
        };
        let Some(owner) = self.owners.get_mut(at) else {
            return Place::Beside;
        };
        let have = || owner.sources.first().map_or("", |other| &other.name);
        if owner.name != name {
            let why = format!("samples of '{}' of source '{}'", owner.name, have());
            return Place::Nowhere(why);
        }
        if owner.family_type != family_type {
            let theirs = owner.family_type.text_name();
            let why = format!("source '{}' has it as a {theirs}", have());
            return Place::Nowhere(why);
        }
        if let Some(other) = owner
            .sources
            .iter()
            .find(|other| !other.is_apart_from(source))
        {
            let why = format!(
                "source '{}' has it, and no label tells them apart",
                other.name
            );
            return Place::Nowhere(why);
        }
        owner.sources.push(Arc::clone(source));
        if is_own {
            Place::WithOwn
        } else {
            Place::Beside
        }
    }

    /// Whether a target has a family of this name, or one whose samples are called so.
    fn is_of_targets(&self, name: &str) -> bool {
        let suffixes = ["_bucket", "_sum", "_count"].iter();
        let mut bases = suffixes.filter_map(|suffix| name.strip_suffix(suffix));
        let is_distribution = |base| {
            let mut found = self.targets.iter().filter_map(|have| have.named(base));
            found.any(|family| family.family_type().is_distribution())
        };
        self.targets.iter().any(|target| target.has(name)) || bases.any(is_distribution)
    }
}

/// Whether the own metrics have this one of those that every process has, and of this type.
fn is_own_process(reserved: &HashSet<String>, name: &str, family_type: FamilyType) -> bool {
    let want = if name.ends_with("_total") {
        FamilyType::Counter
    } else {
        FamilyType::Gauge
    };
    // Reserved are also names that no own metric has; those are not shared.
    let is_exact = PROCESS.contains(&name);
    is_exact && reserved.contains(name) && family_type == want
}

/// What the own metrics say of the process.
const PROCESS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exposition::own;
    use crate::foreign::{self, Bounds, Dialect};
    use crate::names::Labels;

    const BOUNDS: Bounds = Bounds {
        series: 100,
        label_value_bytes: 100,
        labels: 10,
    };

    fn snapshot(text: &str) -> Arc<Snapshot> {
        let read = foreign::read(text.as_bytes(), Dialect::Text, &Labels::new(), BOUNDS);
        Arc::new(Snapshot::assembled(read.unwrap().families))
    }

    fn source(name: &str, labels: &[(&str, &str)]) -> Arc<Options> {
        let mut attached = Labels::new();
        for (label, value) in labels {
            attached.set((*label).to_owned(), (*value).to_owned());
        }
        Arc::new(Options {
            name: name.to_owned(),
            url: "http://127.0.0.1/".parse().unwrap(),
            labels: attached,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            stale_after: Duration::ZERO,
            max_body: 1,
            bounds: BOUNDS,
        })
    }

    const HISTOGRAM: &str = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n";

    #[test]
    fn a_name_belongs_to_one_family() {
        let telemetry = Telemetry::new().unwrap();
        let reserved: HashSet<String> = own::reserved(telemetry.names()).collect();
        let targets = [
            snapshot("# TYPE e gauge\ne 1\n"),
            snapshot(&HISTOGRAM.replace("h_", "eh_").replace(" h ", " eh ")),
        ];
        let (a, b) = (&[("source", "a")][..], &[("source", "b")][..]);
        // What the first has, what the second has, and what becomes of the second's.
        let cases = [
            ("x 1\n", a, "y 1\n", b, "beside"),
            ("x 1\n", a, "x 1\n", b, "beside"),
            ("x 1\n", a, "x 1\n", a, "no label tells them apart"),
            ("x 1\n", a, "x 1\n", &[], "no label tells them apart"),
            (
                "x 1\n",
                a,
                "x 1\n",
                &[("zone", "b")],
                "no label tells them apart",
            ),
            (
                "x 1\n",
                a,
                "# TYPE x gauge\nx 1\n",
                b,
                "'a' has it as a untyped",
            ),
            (HISTOGRAM, a, HISTOGRAM, b, "beside"),
            (HISTOGRAM, a, "h_count 1\n", b, "samples of 'h'"),
            ("h_count 1\n", a, HISTOGRAM, b, "samples of 'h_count'"),
            (HISTOGRAM, a, "h_total 1\n", b, "beside"),
            ("", a, "e 1\n", b, "the proxy has"),
            ("", a, "# TYPE e gauge\ne 1\n", b, "the proxy has"),
            ("", a, "eh_sum 1\n", b, "the proxy has"),
            ("", a, "eh_total 1\n", b, "beside"),
            ("", a, "envoy_up 1\n", b, "the exporter has"),
            ("", a, "envoy_exporter_polls 1\n", b, "the exporter has"),
            ("", a, "process_open_fds 1\n", b, "the exporter has"),
            (
                "",
                a,
                "# TYPE process_open_fds gauge\nprocess_open_fds 1\n",
                b,
                "with own",
            ),
            (
                "",
                a,
                "# TYPE process_open_fds gauge\nprocess_open_fds 1\n",
                &[],
                "the exporter has",
            ),
            ("", a, "process_other 1\n", b, "beside"),
        ];
        for (first, first_labels, second, labels, want) in cases {
            let mut names = Names {
                reserved: &reserved,
                targets: &targets,
                taken: HashMap::new(),
                owners: Vec::new(),
            };
            let (first, second) = (snapshot(first), snapshot(second));
            for family in first.families() {
                names.place(family, &source("a", first_labels));
            }
            let family = second.family(0).unwrap();
            let got = match names.place(family, &source("b", labels)) {
                Place::Beside => "beside".to_owned(),
                Place::WithOwn => "with own".to_owned(),
                Place::Nowhere(why) => why,
            };
            assert!(got.contains(want), "{}: {got}, not {want}", family.name());
        }
    }
}
