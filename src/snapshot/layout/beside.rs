//! What another layout of the same target has already. The two are exposed together, so that what
//! stands there must not stand here again.
//!
//! Its series are in no conflict with a series that says the same of the same thing: there the
//! number is exposed, and nothing is lost. Any other series of that name would be.

use hashbrown::HashSet;

use super::{Description, FamilyInfo, Layout};
use crate::family::FamilyType;

/// The layout that comes first, if there is one.
#[derive(Clone, Copy)]
pub(super) struct Beside<'b>(pub(super) Option<&'b Layout>);

/// The label blocks that a family has there.
pub(super) struct Theirs<'b> {
    blocks: HashSet<&'b str>,
    is_same: bool,
}

/// What is there of a series.
pub(super) enum Have {
    /// It is not there.
    Nothing,
    /// It is.
    Same,
    /// Another is, under its name.
    Other,
}

impl<'b> Beside<'b> {
    /// How many series there are.
    pub(super) fn series(self) -> usize {
        self.0.map_or(0, Layout::series)
    }

    /// Whether no family here may be called so.
    pub(super) fn takes(self, name: &str, family_type: FamilyType) -> bool {
        let is_distribution = |name| {
            let family = self.family(name);
            family.is_some_and(|family| family.family_type.is_distribution())
        };
        let suffixes = ["_bucket", "_sum", "_count"].iter();
        let mut bases = suffixes.filter_map(|suffix| name.strip_suffix(suffix));
        bases.any(is_distribution)
            || self
                .family(name)
                .is_some_and(|family| family.family_type != family_type)
    }

    /// The series of the family of this name and meaning.
    pub(super) fn series_of(self, name: &str, description: &Description) -> Theirs<'b> {
        let (Some(layout), Some(family)) = (self.0, self.family(name)) else {
            return Theirs {
                blocks: HashSet::new(),
                is_same: true,
            };
        };
        let labels = layout.scalar_labels.get(family.series.clone());
        let labels = labels.unwrap_or_default().iter();
        Theirs {
            blocks: labels.map(|block| layout.block(*block)).collect(),
            is_same: family.help == description.help,
        }
    }

    fn family(self, name: &str) -> Option<&'b FamilyInfo> {
        let families = &self.0?.families;
        let at = families.binary_search_by(|family| (*family.name).cmp(name));
        families.get(at.ok()?)
    }
}

impl Theirs<'_> {
    /// What is there of a series with these labels.
    pub(super) fn have(&self, block: &str) -> Have {
        if !self.blocks.contains(block) {
            Have::Nothing
        } else if self.is_same {
            Have::Same
        } else {
            Have::Other
        }
    }
}
