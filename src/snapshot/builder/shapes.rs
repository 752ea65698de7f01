//! Stats of one shape: a proxy with 5,000 clusters has the same hundred stats of each. What the
//! table makes of one of them is kept as a plan with a hole where the cluster's name goes, so that
//! the others need no more than a look-up and that name.
//!
//! A plan is made by mapping the stat of a scope that nobody has, and seeing where its name comes
//! out: as the whole value of one label, or else the shape has no plan. That the table reads every
//! scope name alike is known of the shipped rules, which is why a mapping with rules of a user's
//! own for tags and scopes gets no plans.

use std::ops::Range;

use hashbrown::{Equivalent, HashMap};

use crate::mapping::endpoints::{Endpoints, is_endpoint_stat};
use crate::mapping::scopes::{STAND_IN, Scopes};
use crate::mapping::{Mapped, Mapping, Verdict};
use crate::stat::StatType;

/// What becomes of the stats of a shape.
#[derive(Debug)]
pub(super) enum Plan {
    /// The table's verdict, with the stand-in as the value of this label.
    Hole {
        mapped: Box<Mapped>,
        label: String,
        /// What all stats of the shape share, once it is worked out.
        ready: Option<Ready>,
    },
    /// The verdict holds no scope name.
    Same(Box<Verdict>),
    /// Each stat is mapped by itself.
    None,
}

/// The series of a shape: its kind, and the number of the text of its labels around the scope's name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) kind: u32,
    pub(super) frame: u32,
}

/// A stat that is to be mapped.
#[derive(Clone, Debug)]
pub(super) struct Unresolved<'n> {
    pub(super) name: &'n str,
    pub(super) stat_type: Option<StatType>,
    /// What [`Shapes::hole`] says of it.
    pub(super) hole: Option<Range<usize>>,
}

/// Plans by shape.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    plans: HashMap<Shape, Plan>,
}

/// More shapes than this are not those of a proxy, whose code has some thousand stats.
const MOST: usize = 50_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shape {
    prefix: Box<str>,
    suffix: Box<str>,
    stat_type: Option<StatType>,
}

#[derive(Debug, Hash)]
struct ShapeRef<'n> {
    prefix: &'n str,
    suffix: &'n str,
    stat_type: Option<StatType>,
}

impl Equivalent<Shape> for ShapeRef<'_> {
    fn equivalent(&self, shape: &Shape) -> bool {
        self.stat_type == shape.stat_type
            && *self.suffix == *shape.suffix
            && *self.prefix == *shape.prefix
    }
}

impl Shapes {
    /// Where the scope name stands that goes into the hole of a stat's plan. It is the same for all
    /// names that are equal up to their last dot.
    pub(super) fn hole(mapping: &Mapping, scopes: &Scopes, name: &str) -> Option<Range<usize>> {
        if !mapping.reads_scopes_alike() {
            return None;
        }
        let hole = mapping.scopes().span(scopes, name)?;
        let scope = name.get(hole.clone())?;
        // A regex may read lines apart.
        (!scope.is_empty() && !scope.contains('\n')).then_some(hole)
    }

    /// The plan for a stat with this hole, and the scope name that goes into it.
    pub(super) fn plan<'n>(
        &mut self,
        mapping: &Mapping,
        scopes: &Scopes,
        stat: &Unresolved<'n>,
    ) -> Option<(&mut Plan, &'n str)> {
        let (name, stat_type) = (stat.name, stat.stat_type);
        if stat_type == Some(StatType::TextReadout) || is_endpoint_stat(name) {
            return None;
        }
        let hole = stat.hole.clone()?;
        let scope = name.get(hole.clone())?;
        let shape = ShapeRef {
            prefix: name.get(..hole.start)?,
            suffix: name.get(hole.end..)?,
            stat_type,
        };
        if !self.plans.contains_key(&shape) {
            if self.plans.len() >= MOST {
                return None;
            }
            let key = Shape {
                prefix: shape.prefix.into(),
                suffix: shape.suffix.into(),
                stat_type,
            };
            let plan = Plan::new(mapping, scopes, &shape);
            self.plans.insert(key, plan);
        }
        Some((self.plans.get_mut(&shape)?, scope))
    }
}

impl Plan {
    fn new(mapping: &Mapping, scopes: &Scopes, shape: &ShapeRef<'_>) -> Self {
        let name = format!("{}{STAND_IN}{}", shape.prefix, shape.suffix);
        let endpoints = Endpoints::default();
        let verdict = mapping.map(scopes, &endpoints, &name, shape.stat_type, None);
        let mapped = match verdict {
            Verdict::Mapped(mapped) => mapped,
            Verdict::Dropped | Verdict::Invalid => return Self::Same(Box::new(verdict)),
        };
        // Sanitised, the stand-in has no byte left by which it could be told.
        let mut sanitized = String::new();
        crate::names::push_sanitized(&mut sanitized, STAND_IN);
        if mapped.family.contains(&sanitized) || mapped.help.contains(STAND_IN) {
            return Self::None;
        }
        let is_in = |value: &str| value.contains(STAND_IN) || value.contains(&sanitized);
        let holes: Vec<_> = mapped
            .labels
            .iter()
            .filter(|(_, value)| is_in(value))
            .map(|(label, value)| (label.to_owned(), value == STAND_IN))
            .collect();
        match holes.as_slice() {
            [] => Self::Same(Box::new(Verdict::Mapped(mapped))),
            [(label, true)] => Self::Hole {
                label: label.clone(),
                mapped: Box::new(mapped),
                ready: None,
            },
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{FamilyBounds, Source};

    /// For every entry of a scope, and names of scopes that are odd in every way, the plan gives
    /// what mapping the stat by itself gives.
    #[test]
    fn a_plan_gives_what_the_table_gives() {
        let odd = [
            "a",
            "a.b",
            "outbound|80||svc.ns.svc.cluster.local",
            "x_rq_503",
            "1",
            "_rq_5xx",
            "a b",
            "\u{e9}.\u{65e5}",
            "http",
            "cluster.cluster",
            "grpc.x.y",
            "ssl.ciphers.z",
            "{x}",
            "..",
            "worker_0",
            "endpoint",
            "a\"b\\c",
        ];
        for profile in ["native", "standard"] {
            let source = Source::Profile(profile.to_owned());
            let mapping = Mapping::compile(&[source], FamilyBounds::default()).unwrap();
            let mut names = Vec::new();
            for entry in mapping.catalogue().iter().step_by(2) {
                let Some((root, rest)) = entry.name.split_once('.') else {
                    continue;
                };
                let rest = rest.replace(['{', '}', '*'], "");
                for scope in odd {
                    names.push((format!("{root}.{scope}.{rest}"), entry.stat_type));
                    names.push((format!("{root}.{scope}.{rest}_200"), entry.stat_type));
                }
            }
            let known: Vec<String> = [
                "cluster.{}.membership_total",
                "http.{}.no_route",
                "tcp.{}.downstream_cx_total",
            ]
            .iter()
            .flat_map(|known| odd.map(|scope| known.replace("{}", scope)))
            .collect();
            let scopes = mapping
                .scopes()
                .learn(&|_, each| known.iter().for_each(|name| each(name)));
            let mut shapes = Shapes::default();
            let mut planned = 0;
            for (name, stat_type) in &names {
                let stat = Unresolved {
                    name,
                    stat_type: Some(*stat_type),
                    hole: Shapes::hole(&mapping, &scopes, name),
                };
                let Some((plan, scope)) = shapes.plan(&mapping, &scopes, &stat) else {
                    continue;
                };
                let want =
                    mapping.map(&scopes, &Endpoints::default(), name, Some(*stat_type), None);
                let got = match plan {
                    Plan::Hole { mapped, label, .. } => {
                        let mut mapped = mapped.as_ref().clone();
                        mapped.labels.set(label.clone(), scope.to_owned());
                        Verdict::Mapped(mapped)
                    }
                    Plan::Same(verdict) => verdict.as_ref().clone(),
                    Plan::None => continue,
                };
                assert_eq!(got, want, "{profile}: {name}");
                planned += 1;
            }
            assert!(planned > 5_000, "{profile}: {planned}");
        }
    }
}
