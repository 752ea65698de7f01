//! From a stat's name to the numbers of its family, labels and description.

use std::sync::Arc;

use hashbrown::HashMap;

use super::super::layout::{DropReason, number};
use super::super::names::Interner;
use super::group::{Group, Resolved};
use crate::family::FamilyType;
use crate::mapping::endpoints::Endpoints;
use crate::mapping::scopes::Scopes;
use crate::mapping::table::Unit;
use crate::mapping::{Mapping, UNDESCRIBED, Verdict};
use crate::names::Labels;
use crate::stat::StatType;

/// Names and types of families by number.
#[derive(Debug, Default)]
pub(super) struct Families {
    pub(super) list: Vec<(Box<str>, FamilyType)>,
    index: HashMap<(Box<str>, FamilyType), u32>,
}

/// HELP and unit by number; number 0 is the one of undescribed stats.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    pub(super) list: Vec<(Arc<str>, Option<Unit>)>,
    index: HashMap<(Arc<str>, Option<Unit>), u32>,
}

/// Maps the stats that are new, and those that read differently since a scope name came or went.
pub(super) struct Resolver<'b> {
    pub(super) mapping: &'b Mapping,
    pub(super) scopes: &'b Scopes,
    pub(super) endpoints: &'b Endpoints,
    pub(super) target_labels: &'b Labels,
    pub(super) families: &'b mut Families,
    pub(super) descriptions: &'b mut Descriptions,
    pub(super) blocks: &'b mut Interner,
    pub(super) changed: &'b [String],
}

impl Resolver<'_> {
    pub(super) fn resolve<V>(&mut self, group: &mut Group<V>, text: impl Fn(&V) -> Option<String>) {
        let mut name = String::new();
        for (at, stat) in group.stats.iter_mut().enumerate() {
            if stat.resolved.is_some() && self.changed.is_empty() {
                continue;
            }
            group.names.read(at, &mut name);
            let affected = || self.changed.iter().any(|front| name.starts_with(front));
            if stat.resolved.is_none() || affected() {
                let text = text(&stat.value);
                stat.resolved = Some(self.series(&name, group.stat_type, text.as_deref()));
            }
        }
    }

    pub(super) fn series(
        &mut self,
        name: &str,
        stat_type: Option<StatType>,
        text: Option<&str>,
    ) -> Resolved {
        let verdict = self
            .mapping
            .map(self.scopes, self.endpoints, name, stat_type, text);
        let mapped = match verdict {
            Verdict::Mapped(mapped) => mapped,
            Verdict::Invalid => return Resolved::Dropped(DropReason::Invalid),
        };
        let family_type = mapped.stat_type.map_or(FamilyType::Unknown, FamilyType::of);
        let mut labels = mapped.labels;
        for (label, value) in self.target_labels.iter() {
            labels.set(label.to_owned(), value.to_owned());
        }
        let description = if mapped.described {
            self.descriptions.intern(&mapped.help, mapped.unit)
        } else {
            0
        };
        Resolved::Series {
            family: self.families.intern(&mapped.family, family_type),
            block: self.blocks.intern(&labels.to_block()),
            description,
        }
    }
}

impl Families {
    pub(super) fn intern(&mut self, name: &str, family_type: FamilyType) -> u32 {
        let key = (Box::from(name), family_type);
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        let at = number(self.list.len());
        self.list.push(key.clone());
        self.index.insert(key, at);
        at
    }
}

impl Descriptions {
    pub(super) fn new() -> Self {
        let undescribed = (Arc::from(UNDESCRIBED), None);
        Self {
            index: std::iter::once((undescribed.clone(), 0)).collect(),
            list: vec![undescribed],
        }
    }

    pub(super) fn intern(&mut self, help: &str, unit: Option<Unit>) -> u32 {
        let key = (Arc::from(help), unit);
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        let at = number(self.list.len());
        self.list.push(key.clone());
        self.index.insert(key, at);
        at
    }
}
