//! The first operation by trigger: driver x trigger x size, everything else held at one value.

use std::collections::{BTreeMap, BTreeSet};

use super::results::{Data, Group, ResultSet};
use crate::record::metric;
use crate::workload::{Params, ProbeName, Trigger};

/// The first operation of each trigger, in one store.
#[derive(Debug, Clone)]
pub struct TriggerView<'a> {
    /// What every point shares; trigger, size and number of files are not among it.
    pub params: Params,
    /// Drivers with at least one point, in the order of the run.
    pub drivers: Vec<&'a str>,
    /// Triggers with at least one point.
    pub triggers: Vec<Trigger>,
    /// Sizes of the target files in bytes for which the most triggers were measured, ascending.
    pub sizes: Vec<u64>,
    points: BTreeMap<(&'a str, Trigger, u64), &'a Data>,
}

impl<'a> TriggerView<'a> {
    /// The view over the stack for which the most triggers were measured in the run; of equals, the one with the most points.
    /// `None` with fewer than two triggers: that is no comparison.
    pub fn of(results: &'a ResultSet, store: &str) -> Option<TriggerView<'a>> {
        let name = metric::FIRST_WRITE_NS.name;
        let alike = |p: &Params| Params { trigger: Trigger::default(), file_size_bytes: 0, files: 0, ..*p };
        let usual = |p: &Params| p.plain() == Params { trigger: Trigger::default(), ..*p };
        let all: Vec<&Group> = results
            .groups
            .iter()
            .filter(|g| g.key.probe == ProbeName::CopyUp && usual(&g.key.params) && g.metric(&name).is_some())
            .collect();
        let mut candidates: BTreeMap<Params, (BTreeSet<Trigger>, usize)> = BTreeMap::new();
        for group in &all {
            let (triggers, points) = candidates.entry(alike(&group.key.params)).or_default();
            triggers.insert(group.key.params.trigger);
            *points += 1;
        }
        // The last of equals would win: from the end, so that the first does.
        let best = candidates.iter().rev().max_by_key(|(_, (triggers, points))| (triggers.len(), *points));
        let params = *best.filter(|(_, (triggers, _))| triggers.len() > 1)?.0;
        let all: Vec<&Group> = all.into_iter().filter(|g| alike(&g.key.params) == params).collect();

        let mut by_size: BTreeMap<u64, BTreeSet<Trigger>> = BTreeMap::new();
        for group in &all {
            by_size.entry(group.key.params.file_size_bytes).or_default().insert(group.key.params.trigger);
        }
        let most = by_size.values().map(BTreeSet::len).max()?;
        let sizes: Vec<u64> =
            by_size.into_iter().filter(|(_, triggers)| triggers.len() == most).map(|(size, _)| size).collect();

        let mut points: BTreeMap<(&str, Trigger, u64), &Data> = BTreeMap::new();
        for group in all.into_iter().filter(|g| g.key.store == store) {
            let p = &group.key.params;
            let Some(data) = group.metric(&name).filter(|_| sizes.contains(&p.file_size_bytes)) else { continue };
            // Two workloads may measure the same point with another number of files: the one with more samples is kept.
            let kept = points.entry((group.key.driver.as_str(), p.trigger, p.file_size_bytes)).or_insert(data);
            if data.summary.n > kept.summary.n {
                *kept = data;
            }
        }
        let has = |label: &str| points.keys().any(|(driver, ..)| *driver == label);
        let drivers: Vec<&str> = results.drivers.iter().map(|d| d.label.as_str()).filter(|d| has(d)).collect();
        let triggers: BTreeSet<Trigger> = points.keys().map(|(_, trigger, _)| *trigger).collect();
        (!drivers.is_empty()).then(|| TriggerView {
            params,
            drivers,
            triggers: triggers.into_iter().collect(),
            sizes,
            points,
        })
    }

    /// The data of a point. Nanoseconds.
    pub fn at(&self, driver: &str, trigger: Trigger, size: u64) -> Option<&'a Data> {
        self.points.get(&(driver, trigger, size)).copied()
    }

    /// Smallest file in bytes.
    pub fn small(&self) -> u64 {
        self.sizes.first().copied().unwrap_or(0)
    }

    /// Largest file in bytes.
    pub fn large(&self) -> u64 {
        self.sizes.last().copied().unwrap_or(0)
    }
}
