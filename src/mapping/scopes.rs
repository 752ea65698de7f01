//! Scope names: the names that users chose for clusters, listeners, connection managers and the
//! like, dots and all, which Envoy writes into its stat names.
//!
//! They are learned, not guessed: every cluster has stats that nothing but a cluster has, so what
//! stands before such a stat is a cluster's true name. With the names known, a stat name gets a
//! *scoped* form of equal length in which the dots inside them read as `_`; tag rules and the
//! catalogue read that form, and take values from the raw one.

use std::collections::BTreeSet;
use std::ops::Range;

use hashbrown::{HashMap, HashSet};
use regex::bytes::Regex;

use super::table::ScopeRule;
use super::tags::{compile_regex, first_tokens};
use crate::yaml::{Placed, Problem};

/// A stat name in both its forms.
#[derive(Clone, Debug)]
pub struct ScopedName<'n> {
    raw: &'n str,
    scoped: String,
    /// Where a name stands that no known scope name covers, though a rule expects one.
    open: Option<Open>,
}

/// A place where a scope name is expected, and none is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    rule: usize,
    start: usize,
}

impl<'n> ScopedName<'n> {
    /// A name in which nothing is known.
    pub fn plain(raw: &'n str) -> Self {
        Self {
            raw,
            scoped: raw.to_owned(),
            open: None,
        }
    }

    /// As Envoy writes it.
    pub fn raw(&self) -> &'n str {
        self.raw
    }

    /// With the dots of known names as `_`; as long as the raw name.
    pub fn scoped(&self) -> &str {
        &self.scoped
    }

    /// The raw text of a span. Half characters, which only a user's regex can cut out, come as
    /// U+FFFD.
    pub fn raw_span(&self, span: Range<usize>) -> String {
        let bytes = self.raw.as_bytes().get(span).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn hide_dots(&mut self, span: Range<usize>) {
        let Some(text) = self.scoped.get(span.clone()) else {
            return;
        };
        if text.contains('.') {
            let hidden = text.replace('.', "_");
            self.scoped.replace_range(span, &hidden);
        }
    }
}

/// Hands stat names to the function that it is given: all whose last token is in the set, and
/// others if that is easier.
pub type Visit<'v> = dyn Fn(&HashSet<&str>, &mut dyn FnMut(&str)) + 'v;

/// Compiled scope rules.
#[derive(Debug, Default)]
pub struct ScopeRules {
    rules: Vec<Rule>,
}

#[derive(Debug)]
enum Rule {
    Learn {
        /// Tokens before the name; `None` stands for any.
        prefix: Vec<Option<String>>,
        /// In one order, so that the same table gives the same filter.
        from: BTreeSet<String>,
    },
    Mask {
        regex: Regex,
        roots: Vec<String>,
    },
}

/// The names that were learned from one target's stats, for each rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    names: HashMap<usize, HashSet<String>>,
}

/// A stat that tells a scope name: its first and its last token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor<'r> {
    pub(super) root: &'r str,
    pub(super) last: &'r str,
}

/// A scope name that is always known, and that nobody has: it stands for any other.
pub const STAND_IN: &str = "\u{1}any\u{1}";

impl Scopes {
    fn knows(&self, rule: usize, name: &str) -> bool {
        let mut names = self.names.get(&rule).into_iter();
        name == STAND_IN || names.any(|names| names.contains(name))
    }

    /// Where the longest known scope name from `start` on ends.
    fn end(&self, rule: usize, name: &str, start: usize) -> Option<usize> {
        let mut dots = memchr::memrchr_iter(b'.', name.as_bytes().get(start..)?);
        let ends = |dot: &usize| {
            let scope = name.get(start..start + dot);
            scope.is_some_and(|scope| self.knows(rule, scope))
        };
        dots.find(ends).map(|dot| start + dot)
    }
}

impl ScopeRules {
    /// Compiles written rules.
    pub fn compile(rules: &[Placed<ScopeRule>], problems: &mut Vec<Problem>) -> Self {
        let mut compiled = Self::default();
        for rule in rules {
            match Rule::compile(&rule.value) {
                Ok(rule) => compiled.rules.push(rule),
                Err(reason) => problems.push(rule.problem(reason)),
            }
        }
        compiled
    }

    /// Adds `more` behind these rules.
    pub fn extend(&mut self, more: Self) {
        self.rules.extend(more.rules);
    }

    /// The stats that tell scope names.
    pub(super) fn anchors(&self) -> impl Iterator<Item = Anchor<'_>> {
        self.rules.iter().flat_map(|rule| {
            let (root, from) = match rule {
                Rule::Learn { prefix, from } => {
                    (prefix.first().and_then(Option::as_deref), Some(from))
                }
                Rule::Mask { .. } => (None, None),
            };
            let from = from.into_iter().flatten();
            from.filter_map(move |last| Some(Anchor { root: root?, last }))
        })
    }

    /// Learns the scope names of one target from its stat names.
    pub fn learn(&self, visit: &Visit<'_>) -> Scopes {
        let learning = self.rules.iter().filter_map(|rule| match rule {
            Rule::Learn { from, .. } => Some(from),
            Rule::Mask { .. } => None,
        });
        let last: HashSet<&str> = learning.flatten().map(String::as_str).collect();
        // One name in a hundred or so tells anything.
        let mut telling: Vec<Box<str>> = Vec::new();
        visit(&last, &mut |name| {
            if last.contains(last_token(name)) {
                telling.push(name.into());
            }
        });
        let mut scopes = Scopes::default();
        for (index, rule) in self.rules.iter().enumerate() {
            let Rule::Learn { prefix, from } = rule else {
                continue;
            };
            let mut learned = HashSet::new();
            for name in &telling {
                let Some((front, last)) = name.rsplit_once('.') else {
                    continue;
                };
                if !starts_like(prefix, name) || !from.contains(last) {
                    continue;
                }
                // Rules before this one may have to hide dots in front of the name.
                let read = self.scope_with(index, &scopes, name);
                if let Some(start) = after_prefix(prefix, read.scoped())
                    && let Some(scope) = front.get(start..)
                    && !learned.contains(scope)
                {
                    learned.insert(scope.to_owned());
                }
            }
            scopes.names.insert(index, learned);
        }
        scopes
    }

    /// The beginnings of the stat names that read differently with `now` than with `before`.
    pub fn changed(&self, before: &Scopes, now: &Scopes) -> Vec<String> {
        let none = HashSet::new();
        let mut beginnings = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let Rule::Learn { prefix, .. } = rule else {
                continue;
            };
            let before = before.names.get(&index).unwrap_or(&none);
            let now = now.names.get(&index).unwrap_or(&none);
            let literal: Option<Vec<&str>> = prefix.iter().map(Option::as_deref).collect();
            for scope in before.symmetric_difference(now) {
                beginnings.push(match (&literal, prefix.first()) {
                    (Some(tokens), _) => format!("{}.{scope}.", tokens.join(".")),
                    (None, Some(Some(root))) => format!("{root}."),
                    (None, _) => String::new(),
                });
            }
        }
        beginnings.sort();
        beginnings.dedup();
        beginnings
    }

    /// The scoped form of a name.
    pub fn scope<'n>(&self, scopes: &Scopes, name: &'n str) -> ScopedName<'n> {
        self.scope_with(self.rules.len(), scopes, name)
    }

    /// Where the known scope name of a stat stands, for those kinds of scope that are told by the
    /// first token alone.
    pub fn span(&self, scopes: &Scopes, name: &str) -> Option<Range<usize>> {
        let root = name.split('.').next().unwrap_or_default();
        for (index, rule) in self.rules.iter().enumerate() {
            match rule {
                Rule::Learn { prefix, .. } => {
                    let mut tokens = prefix.iter();
                    if tokens
                        .next()
                        .is_some_and(|token| token.as_deref() == Some(root))
                    {
                        let start = root.len() + 1;
                        let end = scopes.end(index, name, start);
                        return end
                            .filter(|_| tokens.next().is_none())
                            .map(|end| start..end);
                    }
                }
                // It may hide what stands there before the name is looked for.
                Rule::Mask { roots, .. } if may_have(roots, root) => return None,
                Rule::Mask { .. } => {}
            }
        }
        None
    }

    /// Other readings of a name at whose open place no scope name is known: the name there may be
    /// two tokens long, or three, and so on, as long as one token is left behind it.
    pub fn guesses<'n>(
        &self,
        scopes: &Scopes,
        name: &ScopedName<'n>,
    ) -> impl Iterator<Item = ScopedName<'n>> {
        let raw = name.raw;
        let open = name.open;
        let start = open.map_or(raw.len(), |open| open.start);
        let dots = raw
            .bytes()
            .enumerate()
            .skip(start)
            .filter(|(_, byte)| *byte == b'.')
            .map(|(at, _)| at);
        dots.skip(1).filter_map(move |dot| {
            let open = open?;
            let mut guess = self.scope_with(open.rule, scopes, raw);
            guess.hide_dots(open.start..dot);
            self.apply(open.rule + 1..self.rules.len(), scopes, &mut guess);
            guess.open = None;
            Some(guess)
        })
    }

    fn scope_with<'n>(&self, until: usize, scopes: &Scopes, name: &'n str) -> ScopedName<'n> {
        let mut read = ScopedName::plain(name);
        self.apply(0..until, scopes, &mut read);
        read
    }

    fn apply(&self, range: Range<usize>, scopes: &Scopes, name: &mut ScopedName<'_>) {
        let first = range.start;
        for (offset, rule) in self.rules.get(range).unwrap_or_default().iter().enumerate() {
            let index = first + offset;
            match rule {
                Rule::Mask { regex, roots } => {
                    let root = name.scoped.split('.').next().unwrap_or_default();
                    if !may_have(roots, root) {
                        continue;
                    }
                    let span = regex
                        .captures(name.scoped.as_bytes())
                        .and_then(|found| found.get(1))
                        .map(|group| group.range());
                    if let Some(span) = span {
                        name.hide_dots(span);
                    }
                }
                Rule::Learn { prefix, .. } => {
                    if !starts_like(prefix, name.raw) {
                        continue;
                    }
                    let Some(start) = after_prefix(prefix, &name.scoped) else {
                        continue;
                    };
                    // The longest known name wins.
                    let known = scopes.end(index, name.raw, start);
                    match known {
                        Some(end) => name.hide_dots(start..end),
                        None => name.open = Some(Open { rule: index, start }),
                    }
                }
            }
        }
    }
}

impl Rule {
    fn compile(rule: &ScopeRule) -> Result<Self, String> {
        match (&rule.learn, &rule.mask) {
            (Some(learn), None) => {
                let Some(prefix) = learn.strip_suffix(".{}") else {
                    return Err(format!(
                        "scope '{learn}': the name is written .{{}} at the end"
                    ));
                };
                if rule.from.is_empty() {
                    return Err(format!("scope '{learn}': from needs a stat"));
                }
                if let Some(stat) = rule.from.iter().find(|stat| stat.contains('.')) {
                    return Err(format!("scope '{learn}': '{stat}' is more than one token"));
                }
                let prefix: Vec<_> = prefix
                    .split('.')
                    .map(|token| (token != "*").then(|| token.to_owned()))
                    .collect();
                if !matches!(prefix.first(), Some(Some(_))) {
                    return Err(format!("scope '{learn}': the first token must be text"));
                }
                Ok(Self::Learn {
                    prefix,
                    from: rule.from.iter().cloned().collect(),
                })
            }
            (None, Some(mask)) if rule.from.is_empty() => {
                let regex = compile_regex(mask)?;
                if regex.captures_len() < 2 {
                    return Err(format!("scope regex '{mask}' has no group"));
                }
                Ok(Self::Mask {
                    regex,
                    roots: first_tokens(mask),
                })
            }
            _ => Err("a scope rule has learn and from, or mask".to_owned()),
        }
    }
}

fn last_token(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// Whether a name with this first token may match; no roots: any may.
fn may_have(roots: &[String], root: &str) -> bool {
    roots.is_empty() || roots.iter().any(|have| have == root)
}

/// A quick look: whether the first token is the prefix's.
fn starts_like(prefix: &[Option<String>], name: &str) -> bool {
    let Some(Some(root)) = prefix.first() else {
        return false;
    };
    name.strip_prefix(root.as_str())
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Where the name behind the prefix starts.
fn after_prefix(prefix: &[Option<String>], scoped: &str) -> Option<usize> {
    let mut at = 0;
    for token in prefix {
        let rest = scoped.get(at..)?;
        let (have, _) = rest.split_once('.')?;
        if token.as_deref().is_some_and(|want| want != have) {
            return None;
        }
        at += have.len() + 1;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> ScopeRules {
        let learn = |learn: &str, from: &str| ScopeRule {
            learn: Some(learn.to_owned()),
            from: vec![from.to_owned()],
            mask: None,
        };
        let mask = ScopeRule {
            learn: None,
            from: Vec::new(),
            mask: Some(r"^listener\.((?:\d+\.){3}\d+_\d+)\.".to_owned()),
        };
        let rules = [
            mask,
            learn("cluster.{}", "membership_total"),
            learn("listener.*.http.{}", "downstream_rq_completed"),
        ];
        let mut problems = Vec::new();
        let compiled = ScopeRules::compile(&rules.map(Placed::from), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        compiled
    }

    #[test]
    fn the_longest_learned_name_is_hidden() {
        let names = [
            "cluster.foo.membership_total",
            "cluster.foo.bar.membership_total",
            "cluster.foo.bar.upstream_rq_200",
            "cluster.foo.canary.upstream_rq_200",
            "cluster.other.name.upstream_rq_200",
            "listener.10.0.0.1_80.http.in.gress.downstream_rq_completed",
        ];
        let rules = rules();
        let scopes = rules.learn(&|_, each| names.iter().copied().for_each(each));
        assert_eq!(
            rules.changed(&Scopes::default(), &scopes),
            ["cluster.foo.", "cluster.foo.bar.", "listener."]
        );
        for (name, want) in [
            (names[0], "cluster.foo.membership_total"),
            (names[2], "cluster.foo_bar.upstream_rq_200"),
            (names[3], "cluster.foo.canary.upstream_rq_200"),
            (names[4], "cluster.other.name.upstream_rq_200"),
            (
                names[5],
                "listener.10_0_0_1_80.http.in_gress.downstream_rq_completed",
            ),
            ("runtime.x", "runtime.x"),
        ] {
            assert_eq!(rules.scope(&scopes, name).scoped(), want);
        }
    }

    #[test]
    fn an_unknown_name_may_have_any_length() {
        let rules = rules();
        let scopes = Scopes::default();
        let name = rules.scope(&scopes, "cluster.a.b.c.x");
        let guesses: Vec<_> = rules
            .guesses(&scopes, &name)
            .map(|guess| guess.scoped().to_owned())
            .collect();
        assert_eq!(guesses, ["cluster.a_b.c.x", "cluster.a_b_c.x"]);
        let plain = rules.scope(&scopes, "runtime.a.b.c");
        assert_eq!(rules.guesses(&scopes, &plain).count(), 0);
    }
}
