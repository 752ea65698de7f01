//! The catalogue: what each base name means.
//!
//! Most names are plain text and found by one look-up; those with placeholders are tried from the
//! most to the least specific. The look-up runs once for a stat name, not every poll.

use hashbrown::HashMap;

use super::table::{Section, Unit};
use super::tokens::TokenPattern;
use crate::stat::StatType;

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
    pub fn extend(&mut self, sections: &[Section]) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        for section in sections {
            for scope in section.scope.as_slice() {
                for (stat, written) in &section.stats {
                    let name = format!("{scope}{stat}");
                    let Some((stat_type, help)) = written.description() else {
                        errors.push(format!(
                            "stat '{name}': one of counter, gauge, histogram and text_readout is needed"
                        ));
                        continue;
                    };
                    let entry = Entry {
                        name,
                        stat_type,
                        help: help.to_owned(),
                        unit: written.unit,
                    };
                    if let Err(reason) = self.add(entry) {
                        errors.push(reason);
                    }
                }
            }
        }
        self.patterns
            .sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.weight()));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        if entry.help.trim().is_empty() || entry.help.contains('\n') {
            return Err(format!("stat '{}': HELP must be one line", entry.name));
        }
        let (pattern, _) = TokenPattern::from_base_name(&entry.name)
            .map_err(|reason| format!("stat '{}': {reason}", entry.name))?;
        let index = self.entries.len();
        if pattern.is_literal() {
            self.exact.insert(entry.name.clone(), index);
        } else {
            self.patterns.retain(|(have, _)| *have != pattern);
            self.patterns.push((pattern, index));
        }
        self.entries.push(entry);
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

    fn catalogue(text: &str) -> Result<Catalogue, Vec<String>> {
        let table = table::parse("f", text).expect("the table reads");
        let mut catalogue = Catalogue::default();
        catalogue.extend(&table.catalogue).map(|()| catalogue)
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
                "stat 'a.x': one of counter, gauge, histogram and text_readout is needed",
            ),
            (
                "catalogue: [{scope: a., stats: {x: {counter: ''}}}]",
                "stat 'a.x': HELP must be one line",
            ),
            (
                "catalogue: [{scope: a., stats: {'{x': {counter: X.}}}]",
                "stat 'a.{x': '{x' does not close its placeholder",
            ),
        ] {
            assert_eq!(catalogue(text).expect_err(want), [want]);
        }
    }
}
