//! The labels of series as remote write has them: sorted by name with the metric's name as
//! `__name__`, external labels added, relabeled.
//!
//! The labels of a block are read once for all the series that share it, and written as the
//! message wants them, in parts: between them go the name of the family and the label of a bucket
//! or quantile. Each label has a key, and a label set the sum of its labels' keys, by which the
//! series of two layouts are told apart without comparing their texts.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use super::wire::push_label;
use crate::names::Labels;
use crate::relabel::{self, NAME, RuleConfig, Rules, Verdict};

/// Labels of samples that say which bucket or quantile they are.
pub(super) const LE: &str = "le";
pub(super) const QUANTILE: &str = "quantile";

/// What is done to the labels of each series.
#[derive(Clone, Debug, Default)]
pub struct Labeling {
    /// Added to each series that has not the label itself.
    pub external: Labels,
    /// What each series goes through after that.
    pub rules: Rules,
    /// The rules as they were written.
    pub written: Vec<RuleConfig>,
}

/// Rules are the same where they were written the same.
impl PartialEq for Labeling {
    fn eq(&self, other: &Self) -> bool {
        self.external == other.external && self.written == other.written
    }
}

/// What tells label sets apart.
pub(super) fn key(name: &str, value: &str) -> u64 {
    FixedState::default().hash_one((name, value))
}

/// The labels of series that are only told apart by their family.
#[derive(Debug)]
pub(super) struct Block {
    /// Where they stand in [`Blocks::bytes`].
    start: usize,
    /// Where the name, the bucket and the quantile go.
    cuts: [usize; 3],
    end: usize,
    pub(super) key: u64,
}

/// The label blocks of a layout, as messages.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
}

impl Blocks {
    pub(super) fn new<'b>(texts: impl Iterator<Item = &'b str>, external: &Labels) -> Self {
        let mut made = Self::default();
        for text in texts {
            made.add(&with_external(&Labels::from_block(text), external));
        }
        made
    }

    fn add(&mut self, labels: &Labels) {
        let start = self.bytes.len();
        let mut cuts = [start; 3];
        let mut sum = 0_u64;
        for (name, value) in labels.iter() {
            push_label(&mut self.bytes, name, value);
            sum = sum.wrapping_add(key(name, value));
            for (cut, before) in cuts.iter_mut().zip([NAME, LE, QUANTILE]) {
                if name < before {
                    *cut = self.bytes.len();
                }
            }
        }
        self.blocks.push(Block {
            start,
            cuts,
            end: self.bytes.len(),
            key: sum,
        });
    }

    pub(super) fn get(&self, at: usize) -> Option<&Block> {
        self.blocks.get(at)
    }

    /// The three parts of a block: before the name, before the special label, and the rest.
    pub(super) fn parts(&self, block: &Block, special: Special) -> [&[u8]; 3] {
        let [name, le, quantile] = block.cuts;
        let special = match special {
            Special::None => name,
            Special::Le => le,
            Special::Quantile => quantile,
        };
        [(block.start, name), (name, special), (special, block.end)]
            .map(|(from, to)| self.bytes.get(from..to).unwrap_or_default())
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.blocks.capacity() * size_of::<Block>()
    }
}

/// Which label a sample has besides those of its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    None,
    Le,
    Quantile,
}

impl Special {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Le => LE,
            Self::Quantile => QUANTILE,
        }
    }
}

/// Adds external labels to those of a series. An empty label is none.
pub(super) fn with_external(labels: &Labels, external: &Labels) -> Labels {
    let mut all = external.clone();
    for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        all.set(name.to_owned(), value.to_owned());
    }
    all
}

/// Labels as they are after relabeling: nothing where they are dropped, or are none any more.
pub(super) fn relabeled(
    name: &str,
    labels: &Labels,
    special: Option<(&str, &str)>,
    rules: &Rules,
) -> Option<relabel::Labels> {
    let mut all: relabel::Labels = labels.iter().chain(special).collect();
    all.set(NAME, name);
    let kept = rules.apply(&mut all) == Verdict::Keep;
    (kept && relabel::is_valid_result(&all)).then_some(all)
}

/// The message of relabeled labels, and their key.
pub(super) fn encode(labels: &relabel::Labels) -> (Box<[u8]>, u64) {
    let mut bytes = Vec::new();
    let mut sum = 0_u64;
    for (name, value) in labels.iter() {
        push_label(&mut bytes, name, value);
        sum = sum.wrapping_add(key(name, value));
    }
    (bytes.into(), sum)
}
