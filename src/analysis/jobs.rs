//! Jobs by driver: what a person waits for, everything else held at one value.

use std::collections::{BTreeMap, BTreeSet};

use super::operations::Operation;
use super::results::{Group, ResultSet};
use crate::record::metric;
use crate::workload::{Job, Params, ProbeName};

/// The jobs measured in one store.
#[derive(Debug, Clone)]
pub struct JobView<'a> {
    /// What every point shares but the job.
    pub params: Params,
    /// Each job with its drivers. Nanoseconds.
    pub jobs: Vec<(Job, Operation<'a>)>,
}

impl<'a> JobView<'a> {
    /// The view over the built tree on which the most jobs were measured in the run; of equals the one with the most points. `None` without any.
    /// Jobs on images are shown with these, see [`super::ImageView`].
    pub fn of(results: &'a ResultSet, store: &str) -> Option<JobView<'a>> {
        let name = metric::JOB_NS.name;
        let alike = |p: &Params| Params { job: None, ..*p };
        let is_one = |g: &&Group| g.key.probe == ProbeName::Jobs && g.key.params.stack.is_none();
        let all: Vec<&Group> = results.groups.iter().filter(is_one).filter(|g| g.metric(&name).is_some()).collect();
        let mut candidates: BTreeMap<Params, (BTreeSet<Job>, usize)> = BTreeMap::new();
        for group in &all {
            let (jobs, points) = candidates.entry(alike(&group.key.params)).or_default();
            jobs.extend(group.key.params.job);
            *points += 1;
        }
        let best = candidates.iter().max_by_key(|(_, (jobs, points))| (jobs.len(), *points));
        let params = *best?.0;
        let at = |job: Job, driver: &str| {
            let key = |g: &&&Group| {
                g.key.store == store && g.key.driver == driver && g.key.params == Params { job: Some(job), ..params }
            };
            all.iter().find(key).and_then(|group| group.metric(&name))
        };
        let drivers = || results.drivers.iter().map(|driver| driver.label.as_str());
        let jobs: Vec<(Job, Operation)> = Job::ALL
            .into_iter()
            .map(|job| {
                let points = drivers().filter_map(|driver| Some((driver, at(job, driver)?))).collect();
                (job, Operation { label: job.words().to_owned(), points })
            })
            .filter(|(_, operation): &(Job, Operation)| !operation.points.is_empty())
            .collect();
        (!jobs.is_empty()).then_some(JobView { params, jobs })
    }
}
