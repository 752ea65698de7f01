//! Tag rules: a stat name in, a base name and tags out, the way Envoy's own tag extraction works.
//!
//! Every rule looks at the whole name and does not see what others cut; the cuts are taken out
//! together at the end. Rules without a fixed first token come before those with one, as in Envoy;
//! of two rules for one tag the first that matches wins and the other's text stays in the name.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};

use super::scopes::ScopedName;
use super::table::{NameForm, TagRule};
use super::tokens::TokenPattern;
use crate::yaml::{Placed, Problem};

/// Whether Envoy makes this stat before it has read which tags every stat is to have.
fn is_without_fixed_tags(name: &str) -> bool {
    name.starts_with("filesystem.") || name == "server.hot_restart_generation"
}

/// What a name is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    /// What is left of the scoped name.
    pub base: String,
    /// Tag names and values in the order in which they were found.
    pub tags: Vec<(String, String)>,
}

/// Compiled rules.
#[derive(Clone, Debug, Default)]
pub struct TagRules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    tag: String,
    /// The first tokens that a name must start with one of; empty: any.
    roots: Vec<String>,
    except: Option<String>,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Regex { regex: Regex, form: NameForm },
    Tokens(TokenPattern),
    Fixed(String),
}

impl TagRules {
    /// Compiles written rules; `form` is the form of the name that regexes read.
    pub fn compile(rules: &[Placed<TagRule>], form: NameForm, problems: &mut Vec<Problem>) -> Self {
        let mut compiled = Self::default();
        for rule in rules {
            match Rule::compile(&rule.value, form) {
                Ok(rule) => compiled.rules.push(rule),
                Err(reason) => {
                    problems.push(rule.problem(format!("tag '{}': {reason}", rule.value.tag)));
                }
            }
        }
        compiled.order();
        compiled
    }

    /// Adds `more` behind these rules.
    pub fn extend(&mut self, more: Self) {
        self.rules.extend(more.rules);
        self.order();
    }

    /// The tags that every stat has.
    pub fn fixed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules.iter().filter_map(|rule| match &rule.matcher {
            Matcher::Fixed(value) => Some((rule.tag.as_str(), value.as_str())),
            _ => None,
        })
    }

    /// Takes a name apart.
    pub fn extract(&self, name: &ScopedName<'_>) -> Extraction {
        let root = name.scoped().split('.').next().unwrap_or_default();
        let early = is_without_fixed_tags(name.scoped());
        let mut tags: Vec<(String, String)> = Vec::new();
        let mut cuts: Vec<Range<usize>> = Vec::new();
        for rule in &self.rules {
            if matches!(rule.matcher, Matcher::Fixed(_)) && early {
                continue;
            }
            if !rule.may_match(root) || tags.iter().any(|(tag, _)| *tag == rule.tag) {
                continue;
            }
            let Some((value, cut)) = rule.matcher.find(name) else {
                continue;
            };
            if rule.except.as_deref() == Some(&*value) {
                continue;
            }
            tags.push((rule.tag.clone(), value));
            cuts.extend(cut);
        }
        Extraction {
            base: without(name.scoped(), cuts),
            tags,
        }
    }

    fn order(&mut self) {
        // Stable: rules keep their order within the two groups.
        self.rules.sort_by_key(|rule| rule.roots.len() == 1);
    }
}

impl Rule {
    fn compile(rule: &TagRule, form: NameForm) -> Result<Self, String> {
        if rule.tag.is_empty() {
            return Err("the tag needs a name".to_owned());
        }
        let (matcher, roots) = match (&rule.regex, &rule.tokens, &rule.value) {
            (Some(regex), None, None) => {
                let compiled = compile_regex(regex)?;
                if compiled.captures_len() < 2 {
                    return Err(format!("regex '{regex}' has no group to cut out"));
                }
                let matcher = Matcher::Regex {
                    regex: compiled,
                    form,
                };
                (matcher, first_tokens(regex))
            }
            (None, Some(tokens), None) => {
                let pattern = TokenPattern::from_rule(tokens)
                    .map_err(|reason| format!("tokens '{tokens}': {reason}"))?;
                let roots = pattern.root().map(str::to_owned).into_iter().collect();
                (Matcher::Tokens(pattern), roots)
            }
            (None, None, Some(value)) => (Matcher::Fixed(value.clone()), Vec::new()),
            _ => return Err("one of regex, tokens and value is needed".to_owned()),
        };
        Ok(Self {
            tag: rule.tag.clone(),
            roots,
            except: rule.except.clone(),
            matcher,
        })
    }

    fn may_match(&self, root: &str) -> bool {
        self.roots.is_empty() || self.roots.iter().any(|have| have == root)
    }
}

impl Matcher {
    /// The value and what to cut.
    fn find(&self, name: &ScopedName<'_>) -> Option<(String, Option<Range<usize>>)> {
        match self {
            Self::Fixed(value) => Some((value.clone(), None)),
            Self::Tokens(pattern) => {
                let span = pattern.captures(name.scoped())?.pop()?;
                let value = name.raw_span(span.clone());
                // The value goes with the dot behind it.
                Some((value, Some(span.start..span.end + 1)))
            }
            Self::Regex { regex, form } => {
                let haystack = match form {
                    NameForm::Raw => name.raw(),
                    NameForm::Scoped => name.scoped(),
                };
                let found = regex.captures(haystack.as_bytes())?;
                let cut = found.get(1)?.range();
                let value = found
                    .get(2)
                    .map_or_else(|| cut.clone(), |group| group.range());
                Some((name.raw_span(value), Some(cut)))
            }
        }
    }
}

/// Compiles a regex with the ASCII classes that RE2 has, and a bound on its size.
pub(super) fn compile_regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| format!("regex '{text}': {}", one_line(&error)))
}

fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    // The library draws the regex with a caret under the place; its last line is the reason.
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// The first tokens that a name must have for `regex` to match: `^a\.` and `^(?:a|b)\.`, as far
/// as they are plain text. Empty: not known, any name may match.
pub(super) fn first_tokens(regex: &str) -> Vec<String> {
    let Some(rest) = regex.strip_prefix('^') else {
        return Vec::new();
    };
    let alternatives = match rest.strip_prefix("(?:") {
        Some(group) => group.split_once(")\\."),
        None => rest.split_once("\\."),
    };
    let Some((alternatives, _)) = alternatives else {
        return Vec::new();
    };
    let grouped = rest.starts_with("(?:");
    let tokens: Vec<String> = alternatives.split('|').map(str::to_owned).collect();
    let plain = |token: &String| {
        !token.is_empty()
            && token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    if tokens.iter().all(plain) && (grouped || tokens.len() == 1) {
        tokens
    } else {
        Vec::new()
    }
}

/// `name` without the cuts, which may touch or overlap.
fn without(name: &str, mut cuts: Vec<Range<usize>>) -> String {
    cuts.sort_by_key(|cut| cut.start);
    let bytes = name.as_bytes();
    let mut left = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for cut in cuts {
        if cut.start > at {
            left.extend_from_slice(bytes.get(at..cut.start).unwrap_or_default());
        }
        at = at.max(cut.end);
    }
    left.extend_from_slice(bytes.get(at..).unwrap_or_default());
    // A cut in the middle of a character can only come from a user's regex on odd names.
    String::from_utf8_lossy(&left).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(tag: &str, regex: &str) -> TagRule {
        TagRule {
            tag: tag.to_owned(),
            regex: Some(regex.to_owned()),
            tokens: None,
            value: None,
            except: None,
        }
    }

    fn compiled(rules: &[TagRule]) -> (TagRules, Vec<String>) {
        let rules: Vec<_> = rules.iter().cloned().map(Placed::from).collect();
        let mut problems = Vec::new();
        let compiled = TagRules::compile(&rules, NameForm::Raw, &mut problems);
        let reasons = problems.into_iter().map(|problem| problem.reason);
        (compiled, reasons.collect())
    }

    #[track_caller]
    fn check(rules: &[TagRule], name: &str, base: &str, tags: &[(&str, &str)]) {
        let (rules, problems) = compiled(rules);
        assert!(problems.is_empty(), "{problems:?}");
        let got = rules.extract(&ScopedName::plain(name));
        assert_eq!(got.base, base, "{name}");
        let got: Vec<_> = got
            .tags
            .iter()
            .map(|(tag, value)| (tag.as_str(), value.as_str()))
            .collect();
        assert_eq!(got, tags, "{name}");
    }

    #[test]
    fn cuts_are_joined_at_the_end() {
        let rules = [rule("c", r"^a\.((.*?)\.)"), rule("code", r"_rq(_(\d{3}))$")];
        // The rule without a fixed first token comes first.
        check(
            &rules,
            "a.b.x_rq_503",
            "a.x_rq",
            &[("code", "503"), ("c", "b")],
        );
        check(&rules, "z.b.x_rq_503", "z.b.x_rq", &[("code", "503")]);
    }

    #[test]
    fn every_stat_but_the_first_ones_has_fixed_tags() {
        let mut fixed = rule("env", "");
        (fixed.regex, fixed.value) = (None, Some("prod".to_owned()));
        check(&[fixed.clone()], "a.b", "a.b", &[("env", "prod")]);
        check(
            &[fixed],
            "filesystem.write_failed",
            "filesystem.write_failed",
            &[],
        );
    }

    #[test]
    fn the_first_of_one_tag_wins() {
        let rules = [rule("t", r"^a\.((x)\.)"), rule("t", r"^a\.x\.((y)\.)")];
        check(&rules, "a.x.y.z", "a.y.z", &[("t", "x")]);
    }

    #[test]
    fn first_tokens_are_read_from_the_regex() {
        for (regex, want) in [
            (r"^cluster\.((.*?)\.)", vec!["cluster"]),
            (r"^(?:a|b)\.x", vec!["a", "b"]),
            (r"^(a|b)\.x", vec![]),
            (r"^a|b\.x", vec![]),
            (r"_rq$", vec![]),
            (r"^.*\.x", vec![]),
            (r"^listener(?=\.)", vec![]),
        ] {
            assert_eq!(first_tokens(regex), want, "{regex}");
        }
    }

    #[test]
    fn mistakes_name_the_tag() {
        let mut both = rule("t", "(a)");
        both.value = Some("x".to_owned());
        for (rule, want) in [
            (rule("t", "a"), "tag 't': regex 'a' has no group to cut out"),
            (rule("t", "("), "tag 't': regex '(': unclosed group"),
            (rule("", "(a)"), "tag '': the tag needs a name"),
            (both, "tag 't': one of regex, tokens and value is needed"),
        ] {
            assert_eq!(compiled(&[rule]).1, [want]);
        }
    }
}
