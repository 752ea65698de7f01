//! Rules: what a table does with single stats beyond describing them.
//!
//! Every rule whose pattern matches a base name applies, in the order of the tables and within
//! them; what a later one says stands above what an earlier one said. A rule that cannot be used is
//! a mistake with its place. Applying runs once for a stat name.

use std::ops::Range;
use std::sync::Arc;

use super::table::{HistogramForm, Join, Rule, ScalarType, Unit};
use super::tokens::TokenPattern;
use crate::names::{self, Labels};
use crate::yaml::{Place, Placed, Problem};

/// Compiled rules, in their order.
#[derive(Debug, Default)]
pub struct Rules {
    list: Vec<Compiled>,
    /// The first token of each pattern, when it is fixed.
    roots: Vec<Option<String>>,
    has_summaries: bool,
}

/// A compiled rule.
#[derive(Debug)]
pub struct Compiled {
    /// The table it stands in.
    pub file: String,
    /// Where it stands there.
    pub place: Place,
    /// Whether it stands in a user's table.
    pub is_users: bool,
    /// Its pattern as written.
    pub stat: String,
    pattern: TokenPattern,
    /// Whether it is written as an entry of the catalogue is: then it is about that entry alone,
    /// and not about others that its pattern would match too.
    is_entry: bool,
    with: Option<String>,
    name: Option<Template>,
    labels: Vec<(String, Template)>,
    help: Option<String>,
    scalar_type: Option<ScalarType>,
    unit: Option<Unit>,
    buckets: Option<Arc<[f64]>>,
    form: Option<HistogramForm>,
    drop: Option<bool>,
    join: Option<Join>,
}

/// What all rules together say of a stat.
#[derive(Debug, Default)]
pub struct Said<'r> {
    /// The family's name.
    pub name: Option<String>,
    /// Labels to set; an empty value takes the label away.
    pub labels: Vec<(&'r str, String)>,
    /// HELP.
    pub help: Option<&'r str>,
    /// Type of a family that is not a histogram.
    pub scalar_type: Option<ScalarType>,
    /// Unit of the stat's values.
    pub unit: Option<Unit>,
    /// Bucket bounds, in the unit that is shown.
    pub buckets: Option<&'r Arc<[f64]>>,
    /// The form in which a histogram is shown.
    pub form: Option<HistogramForm>,
    /// Whether it has no series.
    pub drop: Option<bool>,
    /// How stats of one series are joined.
    pub join: Option<Join>,
    /// The rules that said it, in order.
    pub by: Vec<&'r Compiled>,
}

impl Rules {
    /// Compiles written rules behind those that are there; the file comes with whether it is a user's.
    pub fn extend(
        &mut self,
        file: (&str, bool),
        rules: &[Placed<Rule>],
        problems: &mut Vec<Problem>,
    ) {
        for written in rules {
            match Compiled::new(file, written) {
                Ok(rule) => {
                    self.has_summaries |= rule.form == Some(HistogramForm::Summary);
                    self.roots.push(rule.pattern.root().map(str::to_owned));
                    self.list.push(rule);
                }
                Err(reasons) => {
                    let stat = &written.value.stat;
                    let placed = |reason| written.problem(format!("rule for '{stat}': {reason}"));
                    problems.extend(reasons.into_iter().map(placed));
                }
            }
        }
    }

    /// Whether any rule asks for summaries.
    pub fn has_summaries(&self) -> bool {
        self.has_summaries
    }

    /// Every rule.
    pub fn iter(&self) -> impl Iterator<Item = &Compiled> {
        self.list.iter()
    }

    /// The patterns of stats that a rule takes although no table keeps them.
    pub(super) fn brought_back(&self) -> impl Iterator<Item = &TokenPattern> {
        let rules = self.list.iter();
        rules
            .filter(|rule| rule.drop == Some(false))
            .map(|rule| &rule.pattern)
    }

    /// Tells the rules which patterns are entries of the catalogue.
    pub fn bind(&mut self, is_entry: impl Fn(&str) -> bool) {
        for rule in &mut self.list {
            rule.is_entry = is_entry(&rule.stat);
        }
    }

    /// What is said of a stat with one of these base names, that this entry describes and whose
    /// series has these labels so far.
    pub fn say(&self, bases: &[&str], entry: Option<&str>, labels: &Labels) -> Said<'_> {
        let mut said = Said::default();
        for (at, rule) in self.list.iter().enumerate() {
            let has_label = |with: &String| labels.value(with).is_some();
            let applies = self.may_match(at, bases)
                && (!rule.is_entry || entry == Some(&rule.stat))
                && rule.with.as_ref().is_none_or(has_label);
            if !applies {
                continue;
            }
            let found = bases
                .iter()
                .find_map(|base| Some((base, rule.pattern.captures(base)?)));
            if let Some((base, spans)) = found {
                rule.add_to(&mut said, base, &spans);
            }
        }
        said
    }

    fn may_match(&self, at: usize, bases: &[&str]) -> bool {
        let Some(Some(root)) = self.roots.get(at) else {
            return true;
        };
        bases.iter().any(|base| {
            let rest = base.strip_prefix(root.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

impl Compiled {
    fn new((file, is_users): (&str, bool), written: &Placed<Rule>) -> Result<Self, Vec<String>> {
        let rule = &written.value;
        let (pattern, holes) =
            TokenPattern::from_base_name(&rule.stat).map_err(|reason| vec![reason])?;
        let mut reasons = Vec::new();
        let mut template = |what: &str, text: &str| {
            Template::new(text, &holes)
                .map_err(|reason| reasons.push(format!("{what}: {reason}")))
                .ok()
        };
        let name = rule.name.as_deref().and_then(|name| template("name", name));
        let labels: Vec<_> = rule
            .labels
            .iter()
            .filter_map(|(label, text)| {
                let text = template(&format!("label '{label}'"), text)?;
                Some((label.clone(), text))
            })
            .collect();
        if let Some(name) = &name
            && !names::is_metric_name(&name.filled(|_| "x"))
        {
            reasons.push("name: no legal metric name comes of it".to_owned());
        }
        for (label, _) in &labels {
            if !names::is_label_name(label) || label.starts_with("__") || label == "le" {
                reasons.push(format!("'{label}' is not a label name that may be set"));
            }
        }
        if let Some(help) = &rule.help
            && (help.trim().is_empty() || help.contains('\n'))
        {
            reasons.push("help must be one line".to_owned());
        }
        if let Some(bounds) = &rule.buckets
            && let Err(reason) = check_bounds(bounds)
        {
            reasons.push(format!("buckets: {reason}"));
        }
        let says_nothing = rule.name.is_none()
            && rule.labels.is_empty()
            && rule.help.is_none()
            && rule.scalar_type.is_none()
            && rule.unit.is_none()
            && rule.buckets.is_none()
            && rule.form.is_none()
            && rule.drop.is_none()
            && rule.join.is_none();
        if says_nothing {
            reasons.push("it says nothing".to_owned());
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        Ok(Self {
            file: file.to_owned(),
            place: written.place,
            is_users,
            stat: rule.stat.clone(),
            pattern,
            is_entry: false,
            with: rule.with.clone(),
            name,
            labels,
            help: rule.help.clone(),
            scalar_type: rule.scalar_type,
            unit: rule.unit,
            buckets: rule.buckets.as_deref().map(Arc::from),
            form: rule.form,
            drop: rule.drop,
            join: rule.join,
        })
    }

    /// Whether a base name is of its pattern.
    pub fn matches(&self, base: &str) -> bool {
        self.pattern.matches(base)
    }

    /// Whether it says HELP.
    pub fn is_described(&self) -> bool {
        self.help.is_some()
    }

    /// Whether it drops stats.
    pub fn drops(&self) -> bool {
        self.drop == Some(true)
    }

    /// The type that it says.
    pub fn scalar_type(&self) -> Option<ScalarType> {
        self.scalar_type
    }

    /// The family's name that it says, with `x` in its placeholders.
    pub fn fixed_name(&self) -> Option<String> {
        Some(self.name.as_ref()?.filled(|_| "x"))
    }

    fn add_to<'r>(&'r self, said: &mut Said<'r>, base: &str, spans: &[Range<usize>]) {
        let value = |hole: usize| {
            let span = spans.get(hole).cloned();
            span.and_then(|span| base.get(span)).unwrap_or_default()
        };
        if let Some(name) = &self.name {
            let mut family = String::new();
            for part in &name.parts {
                match part {
                    Part::Text(text) => family.push_str(text),
                    Part::Hole(hole) => names::push_sanitized(&mut family, value(*hole)),
                }
            }
            said.name = Some(family);
        }
        for (label, template) in &self.labels {
            said.labels.push((label, template.filled(value)));
        }
        said.help = self.help.as_deref().or(said.help);
        said.scalar_type = self.scalar_type.or(said.scalar_type);
        said.unit = self.unit.or(said.unit);
        said.buckets = self.buckets.as_ref().or(said.buckets);
        said.form = self.form.or(said.form);
        said.drop = self.drop.or(said.drop);
        said.join = self.join.or(said.join);
        said.by.push(self);
    }
}

/// Bounds that buckets can have: finite, and rising.
pub fn check_bounds(bounds: &[f64]) -> Result<(), String> {
    if bounds.is_empty() {
        return Err("at least one bound is needed; +Inf comes by itself".to_owned());
    }
    if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite()) {
        return Err(format!(
            "{bound} is not a finite bound; +Inf comes by itself"
        ));
    }
    let rising = bounds.windows(2).all(|pair| match pair {
        [a, b] => a < b,
        _ => true,
    });
    if rising {
        Ok(())
    } else {
        Err("bounds must rise".to_owned())
    }
}

/// Text with placeholders.
#[derive(Debug, Default)]
struct Template {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    /// The number of a placeholder of the pattern.
    Hole(usize),
}

impl Template {
    fn new(text: &str, holes: &[String]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, after)) = behind.split_once('}') else {
                return Err(format!("'{text}' does not close its placeholder"));
            };
            let Some(hole) = holes.iter().position(|have| have == name) else {
                return Err(format!("the stat has no placeholder '{{{name}}}'"));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Hole(hole));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    fn filled<'v>(&self, value: impl Fn(usize) -> &'v str) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::Hole(hole) => value(*hole),
            });
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::table;
    use crate::yaml::take_all;

    fn rules(text: &str) -> (Rules, Vec<String>) {
        let (table, mut problems) = table::parse(text);
        let table = table.unwrap();
        let written = take_all(table.rules, &mut problems);
        let mut rules = Rules::default();
        rules.extend(("f", true), &written, &mut problems);
        (rules, problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn later_rules_stand_above_earlier_ones() {
        let (rules, problems) = rules(
            "rules:
  - {stat: 'cluster.{any*}', unit: bytes, help: Any., labels: {a: '1'}}
  - {stat: '{all*}', drop: true}
  - {stat: 'cluster.breakers.{priority}.{resource}_open', name: 'breaker_{resource}', drop: false,
     labels: {priority: '{priority}', a: ''}}
  - {stat: 'cluster.{any*}', with: x, help: With x.}",
        );
        assert!(problems.is_empty(), "{problems:?}");
        let mut labels = Labels::new();
        let said = rules.say(&["cluster.breakers.high.c-x_open"], None, &labels);
        assert_eq!(said.name.as_deref(), Some("breaker_c_x"));
        assert_eq!(said.unit, Some(Unit::Bytes));
        assert_eq!(said.help, Some("Any."));
        assert_eq!(said.drop, Some(false));
        let set: Vec<_> = said
            .labels
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(set, [("a", "1"), ("a", ""), ("priority", "high")]);
        assert_eq!(rules.say(&["server.live"], None, &labels).drop, Some(true));
        labels.set("x".to_owned(), "1".to_owned());
        assert_eq!(
            rules.say(&["x.y", "cluster.y"], None, &labels).help,
            Some("With x.")
        );
    }

    #[test]
    fn a_rule_for_an_entry_is_about_it_alone() {
        let (mut rules, _) = rules("rules: [{stat: 'cluster.grpc.{status}', help: By status.}]");
        rules.bind(|name| name == "cluster.grpc.{status}");
        let labels = Labels::new();
        let say = |entry| rules.say(&["cluster.grpc.total"], entry, &labels).help;
        assert_eq!(say(Some("cluster.grpc.total")), None);
        assert_eq!(say(Some("cluster.grpc.{status}")), Some("By status."));
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, want) in [
            ("{stat: a}", "1:9: rule for 'a': it says nothing"),
            (
                "{stat: 'a.{x', drop: true}",
                "1:9: rule for 'a.{x': '{x' does not close its placeholder",
            ),
            (
                "{stat: 'a.{x}', name: 'b_{y}'}",
                "1:9: rule for 'a.{x}': name: the stat has no placeholder '{y}'",
            ),
            (
                "{stat: a, name: 9a}",
                "1:9: rule for 'a': name: no legal metric name comes of it",
            ),
            (
                "{stat: a, labels: {le: x}}",
                "1:9: rule for 'a': 'le' is not a label name that may be set",
            ),
            (
                "{stat: a, help: ''}",
                "1:9: rule for 'a': help must be one line",
            ),
            (
                "{stat: a, buckets: [1, 1]}",
                "1:9: rule for 'a': buckets: bounds must rise",
            ),
            (
                "{stat: a, buckets: []}",
                "1:9: rule for 'a': buckets: at least one bound is needed; +Inf comes by itself",
            ),
            (
                "{stat: a, type: histogram}",
                "1:25: 'histogram' is none of counter, gauge, untyped",
            ),
            ("{drop: true}", "1:9: the key 'stat' is missing"),
        ] {
            let (_, problems) = rules(&format!("rules: [{text}]"));
            assert_eq!(problems, [want], "{text}");
        }
    }
}
