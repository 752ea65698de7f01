//! What decoding needs of serde, without a word of Envoy: readers that hand on what they meet instead
//! of building values, so that nothing is kept of an answer but what its taker keeps.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::Value;

/// Reads one value and hands on what is in it.
pub(super) trait Reader<'de> {
    fn read<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error>;
}

/// A [`Reader`] of objects.
pub(super) trait MapReader<'de> {
    /// What an error says was expected.
    const SHAPE: &'static str;

    fn read_map<A: MapAccess<'de>>(&mut self, map: A) -> Result<(), A::Error>;
}

/// A reader as serde wants it: for one value ...
pub(super) struct By<'r, R>(pub(super) &'r mut R);

impl<'de, R: Reader<'de>> DeserializeSeed<'de> for By<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.read(deserializer)
    }
}

/// ... for an array of them ...
pub(super) struct Array<'r, R>(pub(super) &'r mut R);

impl<'de, R: Reader<'de>> Reader<'de> for Array<'_, R> {
    fn read<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(Array(&mut *self.0))
    }
}

impl<'de, R: Reader<'de>> Visitor<'de> for Array<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(By(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

/// ... and for an object.
pub(super) struct Map<'r, R>(pub(super) &'r mut R);

impl<'de, R: MapReader<'de>> Visitor<'de> for Map<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(R::SHAPE)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.read_map(map)
    }
}

impl<'de, R: MapReader<'de>> Reader<'de> for R {
    fn read<D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Map(self))
    }
}

/// Reads an array of `W` into a vector of `T` that is cleared first.
pub(super) struct Collect<'v, W, T> {
    into: &'v mut Vec<T>,
    wire: PhantomData<W>,
}

impl<'v, W, T> Collect<'v, W, T> {
    pub(super) fn new(into: &'v mut Vec<T>) -> Self {
        Self {
            into,
            wire: PhantomData,
        }
    }
}

impl<'de, W: Deserialize<'de> + Into<T>, T> DeserializeSeed<'de> for Collect<'_, W, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, W: Deserialize<'de> + Into<T>, T> Visitor<'de> for Collect<'_, W, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        self.into.clear();
        while let Some(wire) = sequence.next_element::<W>()? {
            self.into.push(wire.into());
        }
        Ok(())
    }
}

/// A string, borrowed unless it holds an escape.
pub(super) struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A whole number or a string.
pub(super) struct ValueSeed;

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Held<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Held<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0 to 2^64-1 or a string")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Held::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Held::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Held::Text(Cow::Owned(text.to_owned())))
    }
}

/// A value until its name is known.
pub(super) enum Held<'de> {
    Number(u64),
    Text(Cow<'de, str>),
}

impl Held<'_> {
    pub(super) fn as_value(&self) -> Value<'_> {
        match self {
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::Text(text),
        }
    }
}

/// Notes that a key was met, which it may be once.
pub(super) fn once<E: de::Error>(seen: &mut bool, key: &'static str) -> Result<(), E> {
    if std::mem::replace(seen, true) {
        Err(E::duplicate_field(key))
    } else {
        Ok(())
    }
}

pub(super) fn needed<E: de::Error>(seen: bool, key: &'static str) -> Result<(), E> {
    if seen {
        Ok(())
    } else {
        Err(E::missing_field(key))
    }
}
