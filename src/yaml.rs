//! Strict YAML: text in, a typed value or every mistake with its place out.
//!
//! The text is read into a tree that knows where each part stands, and types are read from the tree
//! after that. Unknown keys of one mapping are all reported; an [`Attempt`] keeps the mistake of one
//! item from hiding those of the next. What is no YAML at all, or has a key twice, is one mistake.
//!
//! A number or a bool where text is wanted is taken as it is written (`regex: 503`).

mod de;

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::NonFiniteFloatPolicy;

pub use de::{Error, Placed};

/// Where something stands, from 1 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A mistake and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub reason: String,
}

impl Problem {
    /// The same without what stands where something else is wanted: it may be a secret in the wrong
    /// place.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        const WANTED: &str = " is wanted here";
        if let Some(at) = self.reason.find(&format!("{WANTED}, not '")) {
            self.reason.truncate(at + WANTED.len());
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Reads a text: what could be read of it, and the mistakes that were met. One without content
/// gives what `{}` gives.
pub fn read<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Problem>) {
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let text = if text.lines().any(is_content) {
        text
    } else {
        "{}"
    };
    let options = serde_saphyr::options! {
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    let mut root: Spanned = match serde_saphyr::from_str_with_options(text, options) {
        Ok(root) => root,
        Err(error) => return (None, vec![problem(&error)]),
    };
    restore_texts(&mut root, text);
    let unknown = RefCell::default();
    let reader = de::Reader {
        node: &root,
        unknown: &unknown,
    };
    let result = T::deserialize(reader).map_err(Error::into_problems);
    let mut problems = unknown.into_inner();
    let value = result.map_err(|found| problems.extend(found)).ok();
    (value, problems)
}

fn problem(error: &serde_saphyr::Error) -> Problem {
    let place = error.location().map_or_else(Place::default, |at| Place {
        line: at.line(),
        column: at.column(),
    });
    let reason = error.without_snippet().to_string();
    // The place stands in front already.
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let twice = reason.strip_prefix("duplicate mapping key: ");
    let twice = twice.and_then(|rest| rest.split(", set ").next());
    Problem {
        place,
        reason: twice.map_or_else(
            || reason.to_owned(),
            |key| format!("the key '{key}' is there twice"),
        ),
    }
}

/// A value that could be read, or the mistakes in it.
#[derive(Clone, Debug)]
pub struct Attempt<T>(pub Result<T, Vec<Problem>>);

impl<T> Attempt<T> {
    /// The value; what is wrong with it goes to `problems`.
    pub fn take(self, problems: &mut Vec<Problem>) -> Option<T> {
        self.0.map_err(|mut found| problems.append(&mut found)).ok()
    }
}

impl<T: Default> Default for Attempt<T> {
    fn default() -> Self {
        Self(Ok(T::default()))
    }
}

/// Takes out of a list what could be read.
pub fn take_all<T>(list: Vec<Attempt<T>>, problems: &mut Vec<Problem>) -> Vec<T> {
    list.into_iter()
        .filter_map(|attempt| attempt.take(problems))
        .collect()
}

type Spanned = serde_saphyr::Spanned<Node>;

/// A part of the text.
#[derive(Debug)]
enum Node {
    Null,
    /// Quoted text, or a plain scalar that is nothing else.
    Text(String),
    /// A plain scalar that may be read as a number or a bool.
    Plain(String),
    List(Vec<Spanned>),
    Map(Vec<(serde_saphyr::Spanned<Key>, Spanned)>),
}

/// A key as written.
#[derive(Debug)]
struct Key(String);

impl Node {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) | Self::Plain(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Plain scalars that YAML reads as numbers or bools get back the text that was written.
fn restore_texts(node: &mut Spanned, source: &str) {
    let span = node.referenced.span();
    match &mut node.value {
        Node::Plain(text) => {
            let written = span
                .byte_offset()
                .zip(span.byte_len())
                .and_then(|(at, len)| {
                    let at = usize::try_from(at).ok()?;
                    source.get(at..at.checked_add(usize::try_from(len).ok()?)?)
                });
            if let Some(written) = written.filter(|written| !written.is_empty()) {
                written.trim().clone_into(text);
            }
        }
        Node::List(items) => {
            for item in items {
                restore_texts(item, source);
            }
        }
        Node::Map(entries) => {
            for (_, value) in entries {
                restore_texts(value, source);
            }
        }
        Node::Null | Node::Text(_) => {}
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// For the schema of what is read: a mistake changes nothing in it.
#[cfg(test)]
mod schema {
    use schemars::{JsonSchema, Schema, SchemaGenerator};

    use super::{Attempt, Placed};

    macro_rules! transparent {
        ($($type:ident)*) => {$(
            impl<T: JsonSchema> JsonSchema for $type<T> {
                fn inline_schema() -> bool {
                    T::inline_schema()
                }

                fn schema_name() -> std::borrow::Cow<'static, str> {
                    T::schema_name()
                }

                fn schema_id() -> std::borrow::Cow<'static, str> {
                    T::schema_id()
                }

                fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                    T::json_schema(generator)
                }
            }
        )*};
    }

    transparent! { Attempt Placed }
}

#[cfg(test)]
mod tests;
