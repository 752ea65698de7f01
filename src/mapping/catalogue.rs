//! The catalogue: what each base name means.
//!
//! Most names are plain text and found by one look-up; those with placeholders are tried from the
//! most to the least specific. The look-up runs once for a stat name, not every poll.

use std::ops::Range;

use hashbrown::HashMap;

use super::table::{Section, Stat, Unit};
use super::tokens::TokenPattern;
use crate::stat::StatType;
use crate::yaml::Problem;

/// What the table says of a stat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Scope and name as written.
    pub name: String,
    /// The type that the table expects. What Envoy says stands above it.
    pub stat_type: StatType,
    /// HELP.
    pub help: String,
    /// Unit of the values, where they have one.
    pub unit: Option<Unit>,
    /// The name's pattern.
    pattern: TokenPattern,
    /// The names of its placeholders, in their order.
    placeholders: Vec<String>,
}

impl Entry {
    /// Name and span of what a base name holds in the places of placeholders.
    pub fn captures(&self, base: &str) -> Vec<(&str, Range<usize>)> {
        if self.placeholders.is_empty() {
            return Vec::new();
        }
        let spans = self.pattern.captures(base).unwrap_or_default();
        let names = self.placeholders.iter().map(String::as_str);
        names.zip(spans).collect()
    }

    /// Whether a stat of this base name is the one described.
    pub fn describes(&self, base: &str) -> bool {
        self.pattern.captures(base).is_some()
    }
}

/// Compiled entries.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: Vec<Entry>,
    exact: HashMap<String, usize>,
    /// Heaviest first.
    patterns: Vec<(TokenPattern, usize)>,
}

impl Catalogue {
    /// Adds written sections; an entry for a name that is there already replaces it.
    pub fn extend(&mut self, sections: Vec<Section>, problems: &mut Vec<Problem>) {
        for section in sections {
            for (stat, written) in section.stats {
                let Some(written) = written.take(problems) else {
                    continue;
                };
                for scope in section.scope.as_slice() {
                    let name = format!("{scope}{stat}");
                    if let Err(reason) = self.add(&name, &written.value) {
                        problems.push(written.problem(format!("stat '{name}': {reason}")));
                    }
                }
            }
        }
        self.patterns
            .sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.weight()));
    }

    fn add(&mut self, name: &str, written: &Stat) -> Result<(), String> {
        let (stat_type, help) = written
            .description()
            .ok_or("one of counter, gauge, histogram and text_readout is needed")?;
        if help.trim().is_empty() || help.contains('\n') {
            return Err("HELP must be one line".to_owned());
        }
        let (pattern, placeholders) = TokenPattern::from_base_name(name)?;
        let index = self.entries.len();
        if pattern.is_literal() {
            self.exact.insert(name.to_owned(), index);
        } else {
            self.patterns.retain(|(have, _)| *have != pattern);
            self.patterns.push((pattern.clone(), index));
        }
        self.entries.push(Entry {
            name: name.to_owned(),
            stat_type,
            help: help.to_owned(),
            unit: written.unit,
            pattern,
            placeholders,
        });
        Ok(())
    }

    /// The entry for a base name.
    pub fn find(&self, base: &str) -> Option<&Entry> {
        let index = self.exact.get(base).copied().or_else(|| {
            self.patterns
                .iter()
                .find(|(pattern, _)| pattern.captures(base).is_some())
                .map(|(_, index)| *index)
        })?;
        self.entries.get(index)
    }

    /// How many names are described.
    pub fn len(&self) -> usize {
        self.exact.len() + self.patterns.len()
    }

    /// Whether nothing is described.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every entry in force.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.exact
            .values()
            .chain(self.patterns.iter().map(|(_, index)| index))
            .filter_map(|index| self.entries.get(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::table;
    use crate::yaml::take_all;

    fn catalogue(text: &str) -> Result<Catalogue, Vec<String>> {
        let (table, mut problems) = table::parse(text);
        let table = table.expect("the table reads");
        let mut catalogue = Catalogue::default();
        catalogue.extend(take_all(table.catalogue, &mut problems), &mut problems);
        if problems.is_empty() {
            Ok(catalogue)
        } else {
            Err(problems.iter().map(Problem::to_string).collect())
        }
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let catalogue = catalogue(
            "catalogue:
  - scope: [a., b.]
    stats:
      x: {counter: Exact.}
      '{any}': {gauge: Any.}
      '{any*}.end': {gauge: Many., unit: bytes}
      z.{any}.end: {gauge: Specific.}",
        )
        .expect("compiles");
        for (base, want) in [
            ("a.x", Some("Exact.")),
            ("b.y", Some("Any.")),
            ("a.q.r.end", Some("Many.")),
            ("a.z.r.end", Some("Specific.")),
            ("c.x", None),
            ("a.q.r", None),
        ] {
            let got = catalogue.find(base).map(|entry| entry.help.as_str());
            assert_eq!(got, want, "{base}");
        }
    }

    #[test]
    fn mistakes_name_the_stat() {
        for (text, want) in [
            (
                "catalogue: [{scope: a., stats: {x: {unit: bytes}}}]",
                "1:36: stat 'a.x': one of counter, gauge, histogram and text_readout is needed",
            ),
            (
                "catalogue: [{scope: a., stats: {x: {counter: ''}}}]",
                "1:36: stat 'a.x': HELP must be one line",
            ),
            (
                "catalogue: [{scope: a., stats: {'{x': {counter: X.}}}]",
                "1:39: stat 'a.{x': '{x' does not close its placeholder",
            ),
        ] {
            assert_eq!(catalogue(text).expect_err(want), [want]);
        }
    }
}
