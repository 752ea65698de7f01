//! By what the stats of a target become series.

use std::sync::Arc;

use hashbrown::HashSet;

use crate::mapping::Mapping;
use crate::names::Labels;
use crate::relabel;
use crate::snapshot::Limits;

/// By what stats become series.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The table.
    pub mapping: Arc<Mapping>,
    /// Labels that every series gets.
    pub target_labels: Labels,
    /// Rules that every series goes through.
    pub relabel: Arc<relabel::Rules>,
    /// How much is let through.
    pub limits: Limits,
    /// Families called so are dropped as conflicts.
    pub reserved: Arc<HashSet<String>>,
    /// Whether native histograms are made too.
    pub native_histograms: bool,
    /// Whether it is shown when the target started.
    pub created_timestamps: bool,
}

impl Settings {
    /// Whether the same series come of them. What is compiled is the same where it is shared.
    pub fn are_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mapping, &other.mapping)
            && Arc::ptr_eq(&self.relabel, &other.relabel)
            && self.target_labels == other.target_labels
            && self.limits == other.limits
            && self.reserved == other.reserved
            && self.native_histograms == other.native_histograms
            && self.created_timestamps == other.created_timestamps
    }
}
