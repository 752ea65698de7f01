//! Reads types from the tree of a YAML text, and says of each mistake where it stands.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Attempt, Key, Node, Place, Problem, Spanned};

/// Asks the reader for the place of a value.
const PLACED: &str = "$placed";

/// One or more mistakes.
#[derive(Debug)]
pub struct Error(Vec<(Option<Place>, String)>);

impl Error {
    /// The mistakes with the place of each.
    pub fn into_problems(self) -> Vec<Problem> {
        let problem = |(place, reason): (Option<Place>, String)| Problem {
            place: place.unwrap_or_default(),
            reason,
        };
        self.0.into_iter().map(problem).collect()
    }

    /// Places what has no place yet.
    fn at(mut self, node: &Spanned) -> Self {
        for (place, _) in &mut self.0 {
            place.get_or_insert_with(|| place_of(node));
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (place, reason)) in self.0.iter().enumerate() {
            let line = if at == 0 { "" } else { "\n" };
            match place {
                Some(place) => write!(f, "{line}{place}: {reason}")?,
                None => write!(f, "{line}{reason}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self(vec![(None, reason.to_string())])
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("the key '{field}' is missing"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!(
            "'{variant}' is none of {}",
            expected.join(", ")
        ))
    }
}

fn place_of<T>(node: &serde_saphyr::Spanned<T>) -> Place {
    Place {
        line: node.referenced.line(),
        column: node.referenced.column(),
    }
}

/// Reads a node. Keys that nobody knows are told and passed over, so that they hide nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'n> {
    pub(super) node: &'n Spanned,
    pub(super) unknown: &'n RefCell<Vec<Problem>>,
}

impl<'n> Reader<'n> {
    fn wanted(self, what: &str) -> Error {
        let have = match &self.node.value {
            Node::Text(text) | Node::Plain(text) => format!("'{text}'"),
            other => other.kind().to_owned(),
        };
        Error::custom(format_args!("{what} is wanted here, not {have}")).at(self.node)
    }

    fn scalar(self) -> Result<&'n str, Error> {
        match &self.node.value {
            Node::Text(text) | Node::Plain(text) => Ok(text),
            _ => Err(self.wanted("text")),
        }
    }

    /// A plain scalar as a type of Rust's.
    fn plain<T: std::str::FromStr>(self, what: &str) -> Result<T, Error> {
        match &self.node.value {
            Node::Plain(text) => text.parse().map_err(|_| self.wanted(what)),
            _ => Err(self.wanted(what)),
        }
    }

    fn placed<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| error.at(self.node))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.plain::<$type>($what)?;
            self.placed(visitor.$visit(number))
        }
    )*};
}

impl<'n> Deserializer<'n> for Reader<'n> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.node.value {
            Node::Null => visitor.visit_unit(),
            Node::Text(text) => visitor.visit_str(text),
            Node::Plain(text) => match (text.parse(), text.parse(), text.parse()) {
                (Ok(value), _, _) => visitor.visit_bool(value),
                (_, Ok(value), _) => visitor.visit_u64(value),
                (_, _, Ok(value)) => visitor.visit_f64(value),
                _ => visitor.visit_str(text),
            },
            Node::List(_) => return self.deserialize_seq(visitor),
            Node::Map(_) => return self.deserialize_map(visitor),
        };
        self.placed(result)
    }

    numbers! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_u32 visit_u32 u32, "a whole number";
        deserialize_u64 visit_u64 u64, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
    }

    fn deserialize_f64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        let number = self.plain("a number")?;
        self.placed(visitor.visit_f64(number))
    }

    fn deserialize_str<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.scalar()?;
        self.placed(visitor.visit_str(text))
    }

    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Node::List(items) => self.placed(visitor.visit_seq(Items {
                rest: items.iter(),
                unknown: self.unknown,
            })),
            _ => Err(self.wanted("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Node::Map(entries) => {
                let entries = entries.iter().collect();
                self.placed(visitor.visit_map(Entries::new(entries, self.unknown)))
            }
            _ => Err(self.wanted("a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Node::Map(entries) = &self.node.value else {
            return Err(self.wanted("a mapping"));
        };
        let (known, unknown): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|(key, _)| fields.contains(&key.value.0.as_str()));
        let fields = fields.join(", ");
        let problem = |(key, _): &Entry| Problem {
            place: place_of(key),
            reason: format!("no such key '{}'; here go {fields}", key.value.0),
        };
        let mut found = self.unknown.borrow_mut();
        found.extend(unknown.into_iter().map(problem));
        drop(found);
        self.placed(visitor.visit_map(Entries::new(known, self.unknown)))
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.scalar()?.to_owned();
        let variant: StringDeserializer<Error> = text.into_deserializer();
        self.placed(visitor.visit_enum(variant))
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == PLACED {
            let parts = Parts {
                reader: self,
                next: 0,
            };
            return self.placed(visitor.visit_seq(parts));
        }
        self.placed(visitor.visit_newtype_struct(self))
    }

    forward_to_deserialize_any! {
        <V: Visitor<'n>>
        i8 i16 i32 u8 u16 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
        ignored_any
    }
}

struct Items<'n> {
    rest: std::slice::Iter<'n, Spanned>,
    unknown: &'n RefCell<Vec<Problem>>,
}

impl<'n> SeqAccess<'n> for Items<'n> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'n>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let unknown = self.unknown;
        let item = self.rest.next().map(|node| Reader { node, unknown });
        item.map(|item| seed.deserialize(item)).transpose()
    }
}

type Entry = (serde_saphyr::Spanned<Key>, Spanned);

struct Entries<'n> {
    rest: std::vec::IntoIter<&'n Entry>,
    value: Option<&'n Spanned>,
    unknown: &'n RefCell<Vec<Problem>>,
}

impl<'n> Entries<'n> {
    fn new(entries: Vec<&'n Entry>, unknown: &'n RefCell<Vec<Problem>>) -> Self {
        Self {
            rest: entries.into_iter(),
            value: None,
            unknown,
        }
    }
}

impl<'n> MapAccess<'n> for Entries<'n> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'n>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let name: StringDeserializer<Error> = key.value.0.clone().into_deserializer();
        let placed = |mut error: Error| {
            for (place, _) in &mut error.0 {
                place.get_or_insert_with(|| place_of(key));
            }
            error
        };
        seed.deserialize(name).map(Some).map_err(placed)
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(node) => {
                let unknown = self.unknown;
                let value = seed.deserialize(Reader { node, unknown });
                value.map_err(|error| error.at(node))
            }
            None => Err(Error::custom("a value without a key")),
        }
    }
}

/// Line, column and value of a node, one after the other.
struct Parts<'n> {
    reader: Reader<'n>,
    next: u8,
}

impl<'n> SeqAccess<'n> for Parts<'n> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'n>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.next += 1;
        let place = place_of(self.reader.node);
        match self.next {
            1 => seed.deserialize(place.line.into_deserializer()).map(Some),
            2 => seed.deserialize(place.column.into_deserializer()).map(Some),
            3 => seed.deserialize(self.reader).map(Some),
            _ => Ok(None),
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placed<T> {
    /// Where.
    pub place: Place,
    /// The value.
    pub value: T,
}

impl<T> Placed<T> {
    /// Something that is wrong with it.
    pub fn problem(&self, reason: impl fmt::Display) -> Problem {
        Problem {
            place: self.place,
            reason: reason.to_string(),
        }
    }
}

/// A value that stands in no text.
impl<T> From<T> for Placed<T> {
    fn from(value: T) -> Self {
        Self {
            place: Place::default(),
            value,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlacedVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for PlacedVisitor<T> {
            type Value = Placed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Placed<T>, A::Error> {
                let line = parts.next_element()?.unwrap_or_default();
                let column = parts.next_element()?.unwrap_or_default();
                let value = parts.next_element()?;
                Ok(Placed {
                    place: Place { line, column },
                    value: value.ok_or_else(|| A::Error::custom("nothing to place"))?,
                })
            }
        }
        deserializer.deserialize_newtype_struct(PLACED, PlacedVisitor(std::marker::PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Attempt<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Mistakes travel as text through the error type, which serde leaves open.
        Ok(Self(T::deserialize(deserializer).map_err(|error| {
            error.to_string().lines().map(parse_problem).collect()
        })))
    }
}

/// The reverse of how an [`Error`] shows a placed mistake.
fn parse_problem(text: &str) -> Problem {
    let mut parts = text.splitn(3, ':');
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u64>().ok());
    match (number(parts.next()), number(parts.next()), parts.next()) {
        (Some(line), Some(column), Some(reason)) => Problem {
            place: Place { line, column },
            reason: reason.trim_start().to_owned(),
        },
        _ => Problem {
            place: Place::default(),
            reason: text.to_owned(),
        },
    }
}
