//! What was measured on imported images, operation by operation: real files are no grid, so that there is a row for each point and no chart.

use std::collections::{BTreeMap, BTreeSet};

use super::human;
use super::operations::Operation;
use super::results::{Group, ResultSet};
use crate::record::{Metric, Unit, metric};
use crate::workload::{CacheState, Interned, Job, Params, ProbeName};

/// How the label of a part begins, which stands below its whole.
const PART: &str = "of that, ";

/// What is shown of each probe, in order, and what it is called.
const SHOWN: [(ProbeName, Metric, &str); 20] = [
    (ProbeName::Start, metric::START_NS, "start"),
    (ProbeName::Start, metric::MOUNT_NS, "of that, the mount"),
    (ProbeName::Start, metric::EXEC_NS, "of that, the program"),
    (ProbeName::Start, metric::SECOND_EXEC_NS, "the program once more"),
    (ProbeName::Lookup, metric::LOOKUP_HIT_NS, "look-up, hit"),
    (ProbeName::Lookup, metric::LOOKUP_MISS_NS, "look-up, miss"),
    (ProbeName::Lookup, metric::LOOKUP_WHITEOUT_NS, "look-up, whiteout"),
    (ProbeName::Lookup, metric::OPEN_NS, "open"),
    (ProbeName::Lookup, metric::READDIR_NS, "list a directory"),
    (ProbeName::PageCache, metric::FIRST_READ_NS, "first read, from the device"),
    (ProbeName::PageCache, metric::SECOND_READ_NS, "the same by a second container"),
    (ProbeName::PageCache, metric::WARM_READ_NS, "cached read of 4 KiB"),
    (ProbeName::PageCache, metric::RESIDENT_BYTES, "resident bytes"),
    (ProbeName::CopyUp, metric::FIRST_WRITE_NS, "first write"),
    (ProbeName::CopyUp, metric::FIRST_CLOSE_NS, "close after it"),
    (ProbeName::CopyUp, metric::FIRST_DURABLE_NS, "first write until it is durable"),
    (ProbeName::CopyUp, metric::SECOND_WRITE_NS, "second write"),
    (ProbeName::Read, metric::READ_NS, "read of a whole file"),
    (ProbeName::Read, metric::READ_AGAIN_NS, "read of a whole file, again"),
    // What it is called is the job's own words.
    (ProbeName::Jobs, metric::JOB_NS, ""),
];

/// An image in a store.
#[derive(Debug, Clone)]
pub struct ImageView<'a> {
    /// Its name.
    pub name: &'static str,
    /// Number of its layers.
    pub depth: u32,
    /// Every operation at every point, with its unit.
    pub operations: Vec<(Unit, Operation<'a>)>,
}

impl<'a> ImageView<'a> {
    /// Every image that was measured in a store, by name.
    pub fn all(results: &'a ResultSet, store: &str) -> Vec<ImageView<'a>> {
        let mut images: BTreeMap<(Interned, u32), Vec<&Group>> = BTreeMap::new();
        for group in results.groups.iter().filter(|g| g.key.store == store) {
            if let Some(name) = group.key.params.stack {
                images.entry((name, group.key.params.depth)).or_default().push(group);
            }
        }
        let view = |((name, depth), groups): ((Interned, u32), Vec<&'a Group>)| ImageView {
            name: name.as_str(),
            depth,
            operations: operations(results, &groups),
        };
        images.into_iter().map(view).filter(|view| !view.operations.is_empty()).collect()
    }

    /// What takes time, without the parts of what is there as a whole.
    pub fn whole_times(&self) -> impl Iterator<Item = &Operation<'a>> + Clone {
        let times = self.operations.iter().filter(|(unit, _)| *unit == Unit::Ns).map(|(_, operation)| operation);
        times.filter(|operation| !operation.label.starts_with(PART))
    }
}

fn operations<'a>(results: &'a ResultSet, groups: &[&'a Group]) -> Vec<(Unit, Operation<'a>)> {
    let mut operations = Vec::new();
    for probe in ProbeName::ALL {
        let groups: Vec<&Group> = groups.iter().copied().filter(|g| g.key.probe == probe).collect();
        let points: BTreeSet<Params> = groups.iter().map(|g| g.key.params).collect();
        for params in points {
            for (_, metric, words) in SHOWN.iter().filter(|(of, ..)| *of == probe) {
                let drivers = results.drivers.iter().filter_map(|driver| {
                    let group = groups.iter().find(|g| g.key.driver == driver.label && g.key.params == params)?;
                    Some((driver.label.as_str(), group.metric(&metric.name)?))
                });
                let points: Vec<_> = drivers.collect();
                if !points.is_empty() {
                    let job = params.job.map_or("", Job::words);
                    let label = format!("{words}{job}{}", point(probe, &params));
                    operations.push((metric.unit, Operation { label, points }));
                }
            }
        }
    }
    operations
}

/// Where on the axes a point lies, as far as the probe has them: `, about 4 KiB, layer 2, cold`.
fn point(probe: ProbeName, p: &Params) -> String {
    let mut words = Vec::new();
    if let Some(program) = p.program {
        words.push(program.as_str().to_owned());
    }
    if matches!(probe, ProbeName::CopyUp | ProbeName::PageCache | ProbeName::Read) {
        words.push(format!("files of about {}", human::bytes(p.file_size_bytes as f64)));
    }
    if p.target_layer > 0 {
        words.push(format!("layer {}", p.target_layer));
    }
    if probe == ProbeName::Jobs {
        words.push(human::count(p.files, "file"));
    }
    if p.containers > 1 {
        words.push(human::count(p.containers, "container"));
    }
    if probe != ProbeName::PageCache && p.cache != CacheState::Fresh {
        words.push(p.cache.as_str().to_owned());
    }
    // What is said already is at its usual value in this one.
    let rest = Params { stack: None, program: None, job: None, ..*p }.unusual();
    words.extend(rest.split(',').filter(|word| !word.is_empty()).map(|word| word.replace('=', " ")));
    words.into_iter().map(|word| format!(", {word}")).collect()
}
