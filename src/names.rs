//! Names and labels of the output side, with the grammar of the Prometheus data model.
//!
//! A [`Labels`] value is always sorted by name and never holds a name twice, so that equal label
//! sets have equal text. Whatever Envoy puts into a name is turned into a legal one here; what a
//! turned name may collide with is settled where families are built, not here.

use std::fmt::Write as _;

/// Whether `text` is a metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(text: &str) -> bool {
    starts_and_continues(text, |byte| {
        byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':')
    })
}

/// Whether `text` is a label name that users may set: `[a-zA-Z_][a-zA-Z0-9_]*`.
///
/// ```
/// use envoy_exporter::names::is_label_name;
/// assert!(is_label_name("envoy_cluster_name"));
/// assert!(!is_label_name("9tag"));
/// assert!(!is_label_name("with-dash"));
/// ```
pub fn is_label_name(text: &str) -> bool {
    starts_and_continues(text, |byte| byte.is_ascii_alphabetic() || byte == b'_')
}

fn starts_and_continues(text: &str, may_start: impl Fn(u8) -> bool) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(&may_start)
        && bytes.all(|byte| may_start(byte) || byte.is_ascii_digit())
}

/// Appends `text` to `out` with every byte outside `[A-Za-z0-9_]` replaced by `_`, as Envoy does:
/// one `_` for each byte of a multi-byte character, no runs collapsed.
pub fn push_sanitized(out: &mut String, text: &str) {
    out.extend(text.bytes().map(|byte| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte)
        } else {
            '_'
        }
    }));
}

/// A legal label name for a tag name. Unlike Envoy, which then emits names that no reader takes,
/// a leading digit gets a `_` in front.
///
/// ```
/// use envoy_exporter::names::label_name;
/// assert_eq!(label_name("envoy.cluster_name"), "envoy_cluster_name");
/// assert_eq!(label_name("9tag"), "_9tag");
/// ```
pub fn label_name(tag: &str) -> String {
    let mut name = String::with_capacity(tag.len() + 1);
    if tag.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) {
        name.push('_');
    }
    push_sanitized(&mut name, tag);
    name
}

/// Appends a label value as both text formats write it inside quotes.
pub fn push_escaped_label_value(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

/// Appends a label value that stands at the start of `text` up to its closing quote; gives what
/// stands behind that.
pub fn push_unescaped_label_value<'t>(out: &mut String, text: &'t str) -> &'t str {
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = special.chars();
        if characters.next() == Some('"') {
            return characters.as_str();
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some(other) => out.push(other),
            None => {}
        }
        rest = characters.as_str();
    }
    rest
}

/// The shortest text that reads back to the same number, in a form that every format takes.
///
/// ```
/// use envoy_exporter::names::number_text;
/// assert_eq!(number_text(3_600_000.0), "3600000");
/// assert_eq!(number_text(0.5), "0.5");
/// assert_eq!(number_text(f64::INFINITY), "+Inf");
/// ```
pub fn number_text(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "NaN".to_owned()
    } else if size.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// Whether `text` is of the form of `pattern`, where `*` stands for any text.
///
/// ```
/// use envoy_exporter::names::glob_matches;
/// assert!(glob_matches("envoy_cluster_*_seconds", "envoy_cluster_upstream_rq_time_seconds"));
/// assert!(!glob_matches("envoy_cluster", "envoy_cluster_name"));
/// ```
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = text.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

/// A label set: sorted by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// No labels.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets `name`, replacing an earlier value; gives the earlier value back.
    pub fn set(&mut self, name: String, value: String) -> Option<String> {
        match self
            .0
            .binary_search_by(|(have, _)| have.as_str().cmp(&name))
        {
            Ok(at) => self
                .0
                .get_mut(at)
                .map(|label| std::mem::replace(&mut label.1, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        let at = self
            .0
            .binary_search_by(|(have, _)| have.as_str().cmp(name))
            .ok()?;
        self.0.get(at).map(|(_, value)| value.as_str())
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self
            .0
            .binary_search_by(|(have, _)| have.as_str().cmp(name))
            .ok()?;
        Some(self.0.remove(at).1)
    }

    /// Name and value of each label, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads back what [`Labels::to_block`] writes.
    pub fn from_block(block: &str) -> Self {
        let mut labels = Self::new();
        let mut rest = block;
        while let Some((name, after)) = rest.split_once("=\"") {
            let mut value = String::new();
            rest = push_unescaped_label_value(&mut value, after);
            let name = name.strip_prefix(',').unwrap_or(name);
            labels.set(name.to_owned(), value);
        }
        labels
    }

    /// The label block of both text formats without its braces: `a="x",b="y"`.
    pub fn to_block(&self) -> String {
        let mut block = String::new();
        for (name, value) in self.iter() {
            if !block.is_empty() {
                block.push(',');
            }
            // Writing to a String cannot fail.
            let _ = write!(block, "{name}=\"");
            push_escaped_label_value(&mut block, value);
            block.push('"');
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for (text, metric, label) in [
            ("", false, false),
            ("a", true, true),
            ("_", true, true),
            (":", true, false),
            ("9", false, false),
            ("a9", true, true),
            ("a:b", true, false),
            ("a-b", false, false),
            ("\u{e9}", false, false),
        ] {
            assert_eq!(is_metric_name(text), metric, "metric {text:?}");
            assert_eq!(is_label_name(text), label, "label {text:?}");
        }
    }

    #[test]
    fn sanitizing_writes_one_underscore_per_byte() {
        for (text, want) in [
            ("a.b", "a_b"),
            ("a..b", "a__b"),
            ("outbound|80||x", "outbound_80__x"),
            ("\u{65e5}", "___"),
            ("", ""),
        ] {
            let mut out = String::new();
            push_sanitized(&mut out, text);
            assert_eq!(out, want, "{text:?}");
        }
    }

    #[test]
    fn numbers_read_back() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e-7, "1e-7"),
            (187.200_000_000_000_02, "187.20000000000002"),
            (1e20, "100000000000000000000"),
            (1e21, "1e21"),
            (-1.5e300, "-1.5e300"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            let text = number_text(value);
            assert_eq!(text, want);
            if value.is_finite() {
                assert_eq!(text.parse(), Ok(value), "{text}");
            }
        }
    }

    #[test]
    fn labels_are_sorted_unique_and_escaped() {
        let mut labels = Labels::new();
        assert_eq!(labels.set("b".into(), "1".into()), None);
        assert_eq!(labels.set("a".into(), "q\"\\\n".into()), None);
        assert_eq!(labels.set("b".into(), "2".into()), Some("1".into()));
        assert_eq!(labels.to_block(), r#"a="q\"\\\n",b="2""#);
        assert_eq!(Labels::from_block(&labels.to_block()), labels);
        assert_eq!(Labels::from_block(""), Labels::new());
        assert_eq!(labels.value("b"), Some("2"));
        assert_eq!(labels.remove("b"), Some("2".into()));
        assert_eq!(labels.value("b"), None);
    }
}
