//! Processor time of first writes: what caller and daemon spend on a file, from what each case says of its measured section. The section holds a first and
//! a second write to each file, and what the measuring itself takes.

use std::collections::BTreeMap;

use super::bootstrap::Blocks;
use super::compare::Statistic;
use super::null::Null;
use super::results::{Data, Group, GroupKey, ResultSet};
use super::view::View;
use crate::record::{CaseRecord, Outcome, Run, metric};
use crate::workload::ProbeName;

/// Name under which the time is held: no metric of a record has it.
const NAME: &str = "processor_ns";

/// Nanoseconds a file, a sample a case, for each group of plain first writes.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessorTimes {
    /// Ordered by key.
    groups: Vec<Group>,
}

impl ProcessorTimes {
    /// Of the cases that say it. Those of twins tell what chance does, as with any metric, and stay out of what chance does to the metrics.
    pub fn of(run: &Run, results: &ResultSet) -> ProcessorTimes {
        let mut samples: BTreeMap<GroupKey, BTreeMap<u32, Vec<u64>>> = BTreeMap::new();
        for record in run.last_attempts() {
            let case = &record.case;
            if case.probe != ProbeName::CopyUp || case.params != case.params.plain() {
                continue;
            }
            let Some(ns) = each_file(record) else { continue };
            let key = GroupKey {
                store: case.store.clone(),
                probe: case.probe,
                driver: case.driver.label.clone(),
                params: case.params,
            };
            samples.entry(key).or_default().entry(case.block).or_default().push(ns);
        }
        let group = |(key, blocks): (GroupKey, BTreeMap<u32, Vec<u64>>)| {
            let blocks: Blocks = blocks.iter().map(|(block, samples)| (*block, vec![&samples[..]])).collect();
            Some(Group { key, metrics: [(NAME.to_owned(), Data::of(&blocks)?)].into() })
        };
        let mut groups: Vec<Group> = samples.into_iter().filter_map(group).collect();
        let null = Null::of(&groups, &results.twins, &results.drivers);
        for group in &mut groups {
            for data in group.metrics.values_mut() {
                data.summary.noise = null.noise(Statistic::Median, &group.key, NAME);
            }
        }
        ProcessorTimes { groups }
    }

    /// A driver's time at a point of a view of first writes. Of several groups there, with different numbers of files, the one with the most cases.
    pub fn at(&self, view: &View, store: &str, driver: &str, depth: u32, size: u64) -> Option<&Data> {
        let here = |group: &&Group| {
            let (key, p) = (&group.key, &group.key.params);
            let same =
                (p.depth, p.file_size_bytes, p.cache, p.containers) == (depth, size, view.cache, view.containers);
            key.store == store && key.driver == driver && same && view.target.matches(p)
        };
        let found = self.groups.iter().filter(here).filter_map(|group| group.metric(NAME));
        found.max_by_key(|data| data.summary.n)
    }
}

/// What caller and daemon spent on a file in a case; `None` where the case does not say, or timed nothing.
fn each_file(record: &CaseRecord) -> Option<u64> {
    let (Some(conditions), Outcome::Measured { observations, .. }) = (&record.conditions, &record.outcome) else {
        return None;
    };
    let first = observations.iter().find(|o| o.metric.name == metric::FIRST_WRITE_NS.name)?;
    let files = u64::try_from(first.samples.len()).ok().filter(|files| *files > 0)?;
    let spent = conditions.probe_user_ns + conditions.probe_kernel_ns + conditions.daemon_ns.unwrap_or(0);
    Some(spent / files)
}
