//! Cases of all rounds brought together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ratio, Summary, ratio, summarise};
use crate::record::{Run, Unit};
use crate::workload::{CacheState, Params, ProbeName};

/// What one group of cases has in common. Workloads that ask for the same point add to the same group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Label of the store.
    pub store: String,
    /// The probe.
    pub probe: ProbeName,
    /// Label of the driver variant.
    pub driver: String,
    /// The parameters.
    pub params: Params,
}

/// Samples of one metric of one group, a list a round.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What the cases have in common.
    pub key: Key,
    /// The samples.
    pub rounds: Vec<Vec<u64>>,
    summary: Option<Summary>,
}

impl Group {
    /// Brings samples together; they are summed up once, here.
    pub fn new(key: Key, rounds: Vec<Vec<u64>>) -> Group {
        let summary = summarise(&rounds);
        Group { key, rounds, summary }
    }

    /// Median, percentiles and interval; `None` without samples.
    pub fn summary(&self) -> Option<Summary> {
        self.summary
    }
}

/// A run, by metric and group.
#[derive(Debug)]
pub struct ResultSet {
    metrics: BTreeMap<String, Vec<Group>>,
    units: BTreeMap<String, Unit>,
    drivers: Vec<String>,
    controls: BTreeSet<String>,
}

impl ResultSet {
    /// Brings the measured cases of a run together. Drivers keep the order of the run's manifest.
    pub fn new(run: &Run) -> ResultSet {
        let mut metrics: BTreeMap<String, BTreeMap<Key, Vec<Vec<u64>>>> = BTreeMap::new();
        let mut units = BTreeMap::new();
        for case in &run.cases {
            let crate::record::Outcome::Measured { observations, .. } = &case.outcome else { continue };
            let key = Key {
                store: case.store.clone(),
                probe: case.probe,
                driver: case.driver.label.clone(),
                params: case.params,
            };
            for observation in observations.iter().filter(|o| !o.samples.is_empty()) {
                let name = observation.metric.name.to_string();
                units.insert(name.clone(), observation.metric.unit);
                metrics.entry(name).or_default().entry(key.clone()).or_default().push(observation.samples.clone());
            }
        }
        let metrics = metrics
            .into_iter()
            .map(|(name, groups)| {
                (name, groups.into_iter().map(|(key, rounds)| Group::new(key, rounds)).collect::<Vec<_>>())
            })
            .collect();
        ResultSet {
            metrics,
            units,
            drivers: run.manifest.drivers.iter().map(|driver| driver.label.clone()).collect(),
            controls: run
                .manifest
                .drivers
                .iter()
                .filter(|driver| driver.driver == "bind")
                .map(|driver| driver.label.clone())
                .collect(),
        }
    }

    /// Groups of a metric, in the order of their keys.
    pub fn groups(&self, metric: &str) -> &[Group] {
        self.metrics.get(metric).map(Vec::as_slice).unwrap_or_default()
    }

    /// One group.
    pub fn find(&self, metric: &str, key: &Key) -> Option<&Group> {
        self.groups(metric).iter().find(|group| group.key == *key)
    }

    /// Unit of a metric.
    pub fn unit(&self, metric: &str) -> Unit {
        self.units.get(metric).copied().unwrap_or(Unit::Count)
    }

    /// Labels of the driver variants, measured or not, in the run's order.
    pub fn drivers(&self) -> &[String] {
        &self.drivers
    }

    /// Whether a variant is the control.
    pub fn is_control(&self, label: &str) -> bool {
        self.controls.contains(label)
    }

    /// The control's group at the same point.
    pub fn control_of(&self, metric: &str, key: &Key) -> Option<&Group> {
        self.controls.iter().find_map(|label| {
            let mut key = key.clone();
            key.driver.clone_from(label);
            self.find(metric, &key)
        })
    }

    /// Ratio of a group's median to the control's at the same point.
    pub fn tax(&self, metric: &str, group: &Group) -> Option<Ratio> {
        ratio(&group.rounds, &self.control_of(metric, &group.key)?.rounds)
    }

    /// Stores that a metric was measured in.
    pub fn stores(&self, metric: &str) -> Vec<String> {
        axis(self.groups(metric), |key| key.store.clone())
    }

    /// The cache state in which a metric was measured at most points; on a tie the one nearest to a container's start.
    pub fn usual_cache(&self, metric: &str) -> Option<CacheState> {
        let count = |state| self.groups(metric).iter().filter(|group| group.key.params.cache == state).count();
        [CacheState::Cold, CacheState::Warm, CacheState::Fresh]
            .into_iter()
            .max_by_key(|state| count(*state))
            .filter(|state| count(*state) > 0)
    }
}

/// The values that something takes in groups, sorted, each once.
pub fn axis<T: Ord>(groups: &[Group], of: impl Fn(&Key) -> T) -> Vec<T> {
    groups.iter().map(|group| of(&group.key)).collect::<BTreeSet<T>>().into_iter().collect()
}
