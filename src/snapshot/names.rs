//! The stat names of a target, kept so that a steady poll finds each one by comparing it with the
//! one that stood at the same place last time.
//!
//! A name is stored as two shared parts, split behind its last dot: 5,000 clusters with 110 stats
//! each have 550,000 names, yet some 60,000 fronts and a few hundred ends. Texts lie one behind the
//! other in one allocation. An index over all names is made only when one does not stand where it
//! is expected, and let go once the order is settled: it would take as much as the names.

use foldhash::fast::RandomState;
use hashbrown::{HashSet, HashTable};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

/// Texts by number, one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    all: String,
    ends: Vec<usize>,
}

impl Texts {
    /// A text by its number; empty when there is none.
    pub(super) fn get(&self, at: u32) -> &str {
        let at = at as usize;
        let start = match at.checked_sub(1) {
            Some(before) => self.ends.get(before).copied(),
            None => Some(0),
        };
        let span: Option<Range<usize>> = start.zip(self.ends.get(at)).map(|(a, b)| a..*b);
        span.and_then(|span| self.all.get(span)).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes of memory they take.
    pub(super) fn memory(&self) -> usize {
        self.all.capacity() + size_of::<usize>() * self.ends.capacity()
    }

    fn push(&mut self, text: &str) -> u32 {
        let at = number(self.len());
        self.all.push_str(text);
        self.ends.push(self.all.len());
        at
    }
}

impl<'t> FromIterator<&'t str> for Texts {
    fn from_iter<I: IntoIterator<Item = &'t str>>(texts: I) -> Self {
        let mut made = Self::default();
        for text in texts {
            made.push(text);
        }
        made
    }
}

/// Texts that are stored once each. Readers share them; only a text that is new while they do makes a
/// copy.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: Arc<Texts>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Interner {
    /// The number of a text, which is new if there was none.
    pub(super) fn intern(&mut self, text: &str) -> u32 {
        let Self {
            texts,
            index,
            hasher,
        } = self;
        let hash = hasher.hash_one(text);
        if let Some(at) = index.find(hash, |at| texts.get(*at) == text) {
            return *at;
        }
        let at = Arc::make_mut(texts).push(text);
        index.insert_unique(hash, at, |at| hasher.hash_one(texts.get(*at)));
        at
    }

    pub(super) fn text(&self, at: u32) -> &str {
        self.texts.get(at)
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// All texts, to share with readers.
    pub(super) fn texts(&self) -> Arc<Texts> {
        Arc::clone(&self.texts)
    }
}

/// Names in the order in which the target sends them.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    fronts: Interner,
    ends: Interner,
    names: Vec<Name>,
    /// Places by the two numbers of a name, of the first `indexed` names.
    index: HashTable<u32>,
    indexed: usize,
    hasher: RandomState,
    /// Where the next name is expected.
    cursor: usize,
    /// The front of the last new name: those of one scope come together.
    front: u32,
    /// Whether names were forgotten since texts were looked through.
    has_lost: bool,
}

/// The numbers of a name's front and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Name {
    front: u32,
    end: u32,
}

/// Where a name is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was there before.
    Known(usize),
    /// It has been added at the end.
    New(usize),
}

impl NameTable {
    /// Starts again at the first name.
    pub(super) fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// The place of a name, which is added if it is not there. The next one is expected behind it.
    pub(super) fn place(&mut self, name: &str) -> Place {
        if self.is_at(self.cursor, name) {
            self.cursor += 1;
            return Place::Known(self.cursor - 1);
        }
        let name = self.intern(name);
        let known = self.look_up(name);
        let place = known.map_or(Place::New(self.names.len()), Place::Known);
        if known.is_none() {
            self.names.push(name);
        }
        let (Place::Known(at) | Place::New(at)) = place;
        self.cursor = at + 1;
        place
    }

    /// The place of a name, if it is there. The next one is expected behind it.
    pub(super) fn find(&mut self, name: &str) -> Option<usize> {
        if !self.is_at(self.cursor, name) {
            let name = self.intern(name);
            self.cursor = self.look_up(name)?;
        }
        self.cursor += 1;
        Some(self.cursor - 1)
    }

    /// Lets two names change places. [`NameTable::settle`] must follow.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        self.names.swap(one, other);
    }

    /// Forgets the names behind the first so many. [`NameTable::settle`] must follow.
    pub(super) fn truncate(&mut self, length: usize) {
        self.has_lost |= length < self.names.len();
        self.names.truncate(length);
    }

    /// Lets go of what only finding names out of order needs, and of texts of no name once there are
    /// many.
    pub(super) fn settle(&mut self) {
        self.index = HashTable::new();
        self.indexed = 0;
        if std::mem::take(&mut self.has_lost) {
            let used: HashSet<u32> = self.names.iter().map(|name| name.front).collect();
            if self.fronts.len() > used.len() * 2 + 1024 {
                self.forget_texts();
            }
        }
    }

    /// The number of what stands up to the last dot of the name at a place.
    pub(super) fn front_number(&self, at: usize) -> Option<u32> {
        self.names.get(at).map(|name| name.front)
    }

    /// Writes the name at a place into `name`.
    pub(super) fn read(&self, at: usize, name: &mut String) {
        name.clear();
        if let Some(Name { front, end }) = self.names.get(at) {
            name.push_str(self.fronts.text(*front));
            name.push_str(self.ends.text(*end));
        }
    }

    /// The places of the names whose last token is among these.
    pub(super) fn ending_in(&self, tokens: &HashSet<&str>) -> impl Iterator<Item = usize> {
        let ends = 0..number(self.ends.len());
        let wanted: Vec<bool> = ends
            .map(|end| tokens.contains(self.ends.text(end)))
            .collect();
        let is_wanted = move |name: &Name| wanted.get(name.end as usize) == Some(&true);
        let places = self.names.iter().enumerate();
        places.filter_map(move |(at, name)| is_wanted(name).then_some(at))
    }

    /// The texts of names that are gone take no place for ever.
    fn forget_texts(&mut self) {
        let (fronts, ends) = (
            std::mem::take(&mut self.fronts),
            std::mem::take(&mut self.ends),
        );
        for name in &mut self.names {
            name.front = self.fronts.intern(fronts.text(name.front));
            name.end = self.ends.intern(ends.text(name.end));
        }
        self.front = 0;
    }

    fn is_at(&self, at: usize, name: &str) -> bool {
        self.names.get(at).is_some_and(|Name { front, end }| {
            name.strip_prefix(self.fronts.text(*front)) == Some(self.ends.text(*end))
        })
    }

    fn intern(&mut self, name: &str) -> Name {
        let front = self.fronts.text(self.front);
        let end = name.strip_prefix(front).filter(|end| {
            // Without a dot, the first front is empty.
            !front.is_empty() && memchr::memchr(b'.', end.as_bytes()).is_none()
        });
        let end = end.unwrap_or_else(|| {
            let (front, end) = parts_of(name);
            self.front = self.fronts.intern(front);
            end
        });
        Name {
            front: self.front,
            end: self.ends.intern(end),
        }
    }

    fn look_up(&mut self, name: Name) -> Option<usize> {
        let Self {
            names,
            index,
            indexed,
            hasher,
            ..
        } = self;
        let hash_at = |at: &u32| hasher.hash_one(names.get(*at as usize));
        let added = *indexed..names.len();
        index.reserve(added.len(), hash_at);
        for at in added.map(number) {
            index.insert_unique(hash_at(&at), at, hash_at);
        }
        *indexed = names.len();
        let is_same = |at: &u32| names.get(*at as usize) == Some(&name);
        let found = index.find(hasher.hash_one(Some(&name)), is_same);
        found.map(|at| *at as usize)
    }
}

/// Everything up to the last dot, and the rest.
fn parts_of(name: &str) -> (&str, &str) {
    let split = memchr::memrchr(b'.', name.as_bytes()).map_or(0, |dot| dot + 1);
    name.split_at_checked(split).unwrap_or(("", name))
}

/// More than 2^32 names or texts do not fit any answer that the body limit lets through.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_found_in_and_out_of_order() {
        let mut table = NameTable::default();
        let names = ["a.b.c", "a.b.d", "x", "", "a.", "z.b.c"];
        for (at, name) in names.iter().enumerate() {
            assert_eq!(table.find(name), None, "{name:?}");
            assert_eq!(table.place(name), Place::New(at), "{name:?}");
        }
        table.rewind();
        for (at, name) in names.iter().enumerate() {
            assert_eq!(table.find(name), Some(at), "{name:?}");
        }
        for (at, name) in names.iter().enumerate().rev() {
            assert_eq!(table.place(name), Place::Known(at), "{name:?}");
        }
        assert_eq!(table.find("a.b"), None);
        let mut name = String::new();
        table.read(5, &mut name);
        assert_eq!(name, "z.b.c");
        assert_eq!(
            table.ending_in(&["c"].into()).collect::<Vec<_>>(),
            vec![0, 5]
        );
    }

    proptest! {
        /// Beside a list that is looked through from its start each time.
        #[test]
        fn any_order_is_found(
            polls in proptest::collection::vec(
                proptest::collection::vec("[ab]{0,2}(\\.[ab.]{0,2}){0,2}", 0..8), 1..6),
        ) {
            let mut table = NameTable::default();
            let mut list: Vec<String> = Vec::new();
            for poll in polls {
                table.rewind();
                for name in &poll {
                    let known = list.iter().position(|have| have == name);
                    let want = known.map_or(Place::New(list.len()), Place::Known);
                    if known.is_none() {
                        list.push(name.clone());
                    }
                    prop_assert_eq!(table.place(name), want);
                }
                if list.len() > 2 {
                    list.swap(0, 2);
                    table.swap(0, 2);
                    list.truncate(5);
                    table.truncate(5);
                    table.settle();
                }
                let mut read = String::new();
                for (at, name) in list.iter().enumerate() {
                    table.read(at, &mut read);
                    prop_assert_eq!(&read, name);
                }
            }
        }
    }
}
