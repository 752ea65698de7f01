//! Replacements such as `${1}_$name`, by the rules of Go's `Regexp.Expand`.
//!
//! `$name` and `${name}` stand for a group, by number or by name, and for nothing where there is
//! no such group or it took no part in the match. Without braces the name is as long as can be:
//! `$1x` is the group named `1x`. `$$` is a dollar sign, and so is a `$` that starts neither form.
//! The expansion of the regex crate is close, but its names end elsewhere: it knows letters of
//! ASCII only without braces, and with braces lets anything stand between them.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::pattern;

/// What follows a `$` that stands for a group: letters, decimal digits and `_` of all scripts.
static GROUP: LazyLock<Result<Regex, regex::Error>> =
    LazyLock::new(|| Regex::new(r"^(?:\{([\p{L}\p{Nd}_]+)\}|([\p{L}\p{Nd}_]+))"));

/// A replacement, taken apart for one regex.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Template {
    /// Takes `text` apart; group names are those of `regex`.
    pub(super) fn new(text: &str, regex: &Regex) -> Self {
        let mut template = Self(Vec::new());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.push_text(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                template.push_text("$");
                rest = after;
            } else if let Some((name, after)) = split_name(rest) {
                template.0.extend(find_group(name, regex).map(Piece::Group));
                rest = after;
            } else {
                template.push_text("$");
            }
        }
        template.push_text(rest);
        template
    }

    /// The text for a match of the regex that the template was made for.
    pub(super) fn expand(&self, captures: &Captures<'_>) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Group(index) => captures.get(*index).map_or("", |group| group.as_str()),
            })
            .collect()
    }

    fn push_text(&mut self, text: &str) {
        if let Some(Piece::Text(last)) = self.0.last_mut() {
            last.push_str(text);
        } else if !text.is_empty() {
            self.0.push(Piece::Text(text.to_owned()));
        }
    }
}

/// The name at the start of what follows a `$`, and what comes after it.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let captures = GROUP.as_ref().ok()?.captures(text)?;
    let name = captures.get(1).or_else(|| captures.get(2))?;
    Some((name.as_str(), text.get(captures.get(0)?.end()..)?))
}

fn find_group(name: &str, regex: &Regex) -> Option<usize> {
    // A number has no leading zero, and nine digits at most; what else looks like one is a name.
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit())
        && name.len() <= 9
        && (name == "0" || !name.starts_with('0'));
    if is_number {
        return name.parse().ok();
    }
    regex
        .capture_names()
        .position(|group| group.and_then(pattern::written_name) == Some(name))
}

/// Whether `text` may be expanded to a label name: `[a-zA-Z0-9_]` with groups among it, and no
/// digit in front.
pub(super) fn may_name_label(text: &str) -> bool {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let name = match after.strip_prefix('{') {
            Some(inside) => inside.split_once('}'),
            None => Some(after.split_at(word_length(after))),
        };
        match name {
            Some((name, after)) if is_word(before) && !name.is_empty() && is_word(name) => {
                rest = after;
            }
            _ => return false,
        }
    }
    is_word(rest)
        && text
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    word_length(text) == text.len()
}

fn word_length(text: &str) -> usize {
    text.bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(regex: &str, text: &str, template: &str, want: &str) {
        let regex = pattern::compile(regex).unwrap();
        let captures = regex.captures(text).unwrap();
        let got = Template::new(template, &regex).expand(&captures);
        assert_eq!(got, want, "{template:?}");
    }

    #[test]
    fn groups_are_put_in_as_go_does() {
        for (template, want) in [
            ("", ""),
            ("x", "x"),
            ("$0", "ab-c"),
            ("$1", "ab"),
            ("${1}", "ab"),
            ("$2", "c"),
            ("$name", "c"),
            ("${name}", "c"),
            ("${1}x", "abx"),
            ("$1-$2", "ab-c"),
            ("${2}${1}", "cab"),
            // The longest name counts.
            ("$1x", ""),
            ("$1_x", ""),
            ("$name_", ""),
            ("$1\u{e9}", ""),
            ("$1\u{b2}", "ab\u{b2}"),
            ("$1\u{301}", "ab\u{301}"),
            // There is no such group, or not by that number.
            ("$3", ""),
            ("[$9]", "[]"),
            ("${none}", ""),
            ("$01", ""),
            ("$00", ""),
            ("$99999999999999999999", ""),
            // Dollar signs.
            ("$$", "$"),
            ("$$1", "$1"),
            ("$$$1", "$ab"),
            ("a$", "a$"),
            ("$", "$"),
            ("$-", "$-"),
            ("$ 1", "$ 1"),
            ("${}", "${}"),
            ("${1", "${1"),
            ("${1$2", "${1c"),
            ("${1-}", "${1-}"),
            ("${ 1}", "${ 1}"),
            ("${$1}", "${ab}"),
        ] {
            check("(ab)-(?P<name>c)", "ab-c", template, want);
        }
    }

    #[test]
    fn groups_without_part_are_empty() {
        check("(a)|(b)", "b", "<$1><$2>", "<><b>");
        check("(?P<1x>a)(?P<02>b)", "ab", "$02$1x", "ba");
        check("(a)(?P<other>b)", "ab", "${2}$other", "bb");
    }

    #[test]
    fn templates_of_label_names() {
        for (text, want) in [
            ("a", true),
            ("_a9", true),
            ("$1", true),
            ("${1}", true),
            ("${1}9", true),
            ("$name", true),
            ("a_${1}_$2", true),
            ("$1${2}3", true),
            ("", false),
            ("9", false),
            ("9$1", false),
            ("$", false),
            ("$$", false),
            ("$$1", false),
            ("${}", false),
            ("${1", false),
            ("${a-b}", false),
            ("${1}}", false),
            ("a$", false),
            ("a-$1", false),
            ("$1-", false),
            ("$1:", false),
            ("\u{e9}$1", false),
        ] {
            assert_eq!(may_name_label(text), want, "{text:?}");
        }
    }
}
