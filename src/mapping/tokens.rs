//! Patterns over the tokens of a name (its parts between dots): the wildcards of token rules and
//! the placeholders of the catalogue.
//!
//! A pattern matches the whole name. Where it could match in several ways, the tokens that stand
//! for several take as few as they can.

use std::ops::Range;

/// One token of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This text.
    Literal(Box<str>),
    /// One token between two fixed parts (mostly empty); captured when asked for.
    One {
        before: Box<str>,
        after: Box<str>,
        captured: bool,
    },
    /// At least this many tokens; captured when asked for.
    Many { least: usize, captured: bool },
}

/// A pattern over tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPattern {
    tokens: Vec<Token>,
}

impl TokenPattern {
    /// Reads a tag rule's form: `$` is captured, `*` is any token, `**` any number of tokens, at
    /// least one when it closes the pattern.
    pub fn from_rule(text: &str) -> Result<Self, String> {
        let count = text.split('.').count();
        let mut values = 0;
        let tokens = text
            .split('.')
            .enumerate()
            .map(|(at, token)| match token {
                "$" => {
                    values += 1;
                    Ok(one("", "", true))
                }
                "*" => Ok(one("", "", false)),
                "**" => Ok(Token::Many {
                    least: usize::from(at + 1 == count),
                    captured: false,
                }),
                "" => Err("a token is empty".to_owned()),
                literal if literal.contains(['$', '*']) => {
                    Err(format!("'{literal}' mixes text with a wildcard"))
                }
                literal => Ok(Token::Literal(literal.into())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if values != 1 {
            return Err(format!("one $ is needed, here are {values}"));
        }
        if matches!(tokens.last(), Some(Token::One { captured: true, .. })) {
            return Err("tokens must follow the $".to_owned());
        }
        Ok(Self { tokens })
    }

    /// Reads a catalogue's form: `{x}` is one token or a part of one, `{x*}` one or more tokens.
    /// The names of the placeholders come back in their order.
    pub fn from_base_name(text: &str) -> Result<(Self, Vec<String>), String> {
        let mut names = Vec::new();
        let tokens = text
            .split('.')
            .map(|token| {
                let Some((before, rest)) = token.split_once('{') else {
                    return if token.contains('}') {
                        Err(format!(
                            "'{token}' closes a placeholder that it does not open"
                        ))
                    } else {
                        Ok(Token::Literal(token.into()))
                    };
                };
                let Some((name, after)) = rest.split_once('}') else {
                    return Err(format!("'{token}' does not close its placeholder"));
                };
                if after.contains(['{', '}']) {
                    return Err(format!("'{token}' has more than one placeholder"));
                }
                let many = name.ends_with('*');
                let name = name.trim_end_matches('*');
                if name.is_empty() || names.iter().any(|have| have == name) {
                    return Err(format!("'{token}' needs a name of its own"));
                }
                names.push(name.to_owned());
                if !many {
                    return Ok(one(before, after, true));
                }
                if before.is_empty() && after.is_empty() {
                    Ok(Token::Many {
                        least: 1,
                        captured: true,
                    })
                } else {
                    Err(format!("'{token}': a placeholder with * stands alone"))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok((Self { tokens }, names))
    }

    /// The text of the first token when it is fixed.
    pub fn root(&self) -> Option<&str> {
        match self.tokens.first() {
            Some(Token::Literal(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether every token is fixed.
    pub fn is_literal(&self) -> bool {
        self.tokens
            .iter()
            .all(|token| matches!(token, Token::Literal(_)))
    }

    /// How much of the pattern is fixed: the more, the more it says.
    pub fn weight(&self) -> usize {
        self.tokens
            .iter()
            .map(|token| match token {
                Token::Literal(text) => text.len() + 2,
                Token::One { before, after, .. } => before.len() + after.len() + 1,
                Token::Many { .. } => 0,
            })
            .sum()
    }

    /// Appends a regex that finds every whole stat name whose base name matches, and others: for
    /// the shipped tag rules, which cut only as [`with_cuts`] says.
    pub(super) fn push_name_regex(&self, regex: &mut String) {
        let before = match self.root() {
            Some(root) if !FIRST_TOKEN_CUT.contains(&root) => "^",
            _ => "^(?:.*\\.)?",
        };
        regex.push_str(before);
        for (at, token) in self.tokens.iter().enumerate() {
            if at > 0 {
                regex.push_str("\\.(?:.*\\.)?");
            }
            match token {
                Token::Literal(text) => regex.push_str(&with_cuts(text)),
                Token::One { before, after, .. } => {
                    regex.push_str(&with_cuts(before));
                    regex.push_str(".*");
                    regex.push_str(&with_cuts(after));
                }
                Token::Many { .. } => regex.push_str(".*"),
            }
        }
        regex.push_str("(?:\\..*)?$");
    }

    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        self.captures(name).is_some()
    }

    /// The captured spans of `name` when it matches.
    pub fn captures(&self, name: &str) -> Option<Vec<Range<usize>>> {
        let mut spans = Vec::new();
        matches(&self.tokens, name, Some(0), &mut spans).then_some(spans)
    }
}

/// The base names that the shipped rules make by cutting the first token.
const FIRST_TOKEN_CUT: [&str; 2] = ["rbac", "http_local_rate_limit"];

/// A regex for the text of a token, with what tag rules cut out within tokens: codes and classes of
/// responses, and numbers of workers. All else they cut is whole tokens. A dot that stands in a
/// user's name reads as `_` in a base name.
fn with_cuts(text: &str) -> String {
    let mut regex = regex::escape(text)
        .replace("_rq_xx", "_rq_[0-9]?xx")
        .replace("worker_", "worker_(?:[0-9]+\\.)?")
        .replace('_', "[_.]");
    if text.ends_with("_rq") {
        regex.push_str("(?:_[0-9]{3})?");
    }
    regex
}

fn one(before: &str, after: &str, captured: bool) -> Token {
    Token::One {
        before: before.into(),
        after: after.into(),
        captured,
    }
}

/// Matches from byte `at` on; `None` stands for the end of the name, behind its last token.
fn matches(
    pattern: &[Token],
    name: &str,
    at: Option<usize>,
    spans: &mut Vec<Range<usize>>,
) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return at.is_none();
    };
    let kept = spans.len();
    let matched = match first {
        Token::Many { least, captured } => {
            let start = at.unwrap_or(name.len());
            let mut here = at;
            let mut end = start;
            let mut taken = 0;
            loop {
                if taken >= *least {
                    if *captured {
                        spans.push(start..end);
                    }
                    if matches(rest, name, here, spans) {
                        break true;
                    }
                    spans.truncate(kept);
                }
                let Some(from) = here else { break false };
                let (one, next) = token_at(name, from);
                end = from + one.len();
                here = next;
                taken += 1;
            }
        }
        Token::Literal(text) => at.is_some_and(|from| {
            let (token, next) = token_at(name, from);
            token == &**text && matches(rest, name, next, spans)
        }),
        Token::One {
            before,
            after,
            captured,
        } => at.is_some_and(|from| {
            let (token, next) = token_at(name, from);
            let long_enough = token.len() >= before.len() + after.len();
            if !(long_enough && token.starts_with(&**before) && token.ends_with(&**after)) {
                return false;
            }
            if *captured {
                spans.push(from + before.len()..from + token.len() - after.len());
            }
            matches(rest, name, next, spans)
        }),
    };
    if !matched {
        spans.truncate(kept);
    }
    matched
}

/// The token that starts at `from`, and where the next one starts.
fn token_at(name: &str, from: usize) -> (&str, Option<usize>) {
    let rest = name.get(from..).unwrap_or_default();
    rest.find('.').map_or((rest, None), |dot| {
        (rest.get(..dot).unwrap_or_default(), Some(from + dot + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured<'n>(pattern: &TokenPattern, name: &'n str) -> Option<Vec<&'n str>> {
        pattern.captures(name).map(|spans| {
            spans
                .into_iter()
                .filter_map(|span| name.get(span))
                .collect()
        })
    }

    #[test]
    fn rules() {
        for (pattern, name, want) in [
            ("cluster.$.**", "cluster.a.b", Some("a")),
            ("cluster.$.**", "cluster.a", None),
            ("cluster.$.**", "cluster..b", Some("")),
            (
                "mongo.*.collection.$.**.query.*",
                "mongo.p.collection.c.query.q",
                Some("c"),
            ),
            (
                "mongo.*.collection.$.**.query.*",
                "mongo.p.collection.c.callsite.s.query.q",
                Some("c"),
            ),
            (
                "mongo.*.collection.$.**.query.*",
                "mongo.p.collection.c.query",
                None,
            ),
            ("$.rbac.**", "a.rbac.x.y", Some("a")),
        ] {
            let compiled = TokenPattern::from_rule(pattern).expect(pattern);
            let got = captured(&compiled, name).map(|spans| spans[0]);
            assert_eq!(got, want, "{pattern} on {name}");
        }
    }

    #[test]
    fn base_names() {
        for (pattern, name, want) in [
            ("a.b", "a.b", Some(vec![])),
            ("a.{x}.c", "a.b.c", Some(vec!["b"])),
            ("a.{x*}.c", "a.b.b.c", Some(vec!["b.b"])),
            ("a.{x*}.c", "a.c", None),
            ("a.w_{x}", "a.w_7", Some(vec!["7"])),
            ("a.{x}_rate", "a.b_rate", Some(vec!["b"])),
            ("a.{x}", "a.b.c", None),
            ("{x*}.z.{y}", "a.z.z.q", Some(vec!["a.z", "q"])),
        ] {
            let (compiled, _) = TokenPattern::from_base_name(pattern).expect(pattern);
            assert_eq!(captured(&compiled, name), want, "{pattern} on {name}");
        }
    }

    #[test]
    fn mistakes() {
        for pattern in ["cluster.*.x", "a.$", "a..$.b", "a.$$.b", "$.$.b"] {
            assert!(TokenPattern::from_rule(pattern).is_err(), "{pattern}");
        }
        for pattern in ["a.{x", "a.x}", "a.{x}{y}", "a.{}", "a.{x}.{x}", "a.b{x*}"] {
            assert!(TokenPattern::from_base_name(pattern).is_err(), "{pattern}");
        }
    }
}
