//! The operations that a reader asks about first, each at one point of its axes: what the table of key figures and the comparison
//! with a volume show.

use super::human;
use super::results::{Data, ResultSet};
use super::view::View;
use crate::record::metric;
use crate::workload::{CacheState, ProbeName};

/// An operation at one point, over the drivers.
#[derive(Debug, Clone)]
pub struct Operation<'a> {
    /// What and where: `first write, 4 KiB, 1 layer`.
    pub label: String,
    /// Drivers that have it, in the order of the run. Nanoseconds.
    pub points: Vec<(&'a str, &'a Data)>,
}

impl<'a> Operation<'a> {
    /// The data of a driver.
    pub fn of(&self, driver: &str) -> Option<&'a Data> {
        self.points.iter().find(|(label, _)| *label == driver).map(|(_, data)| *data)
    }
}

/// The operations measured in a store: the first write to small and to large files, above few layers and above many, the second
/// write, the first write until it is durable, writes to files that are in the container layer, the first look-up in a directory and the next ones
/// through the deepest stack for each cache state, reads. Those that nothing measured are left out.
pub fn operations<'a>(results: &'a ResultSet, store: &str) -> Vec<Operation<'a>> {
    let mut operations = Vec::new();
    let mut add = |label: String, view: &View<'a>, depth: u32, size: u64| {
        let points: Vec<_> = view.drivers.iter().filter_map(|d| Some((*d, view.at(d, depth, size)?))).collect();
        if !points.is_empty() {
            operations.push(Operation { label, points });
        }
    };
    let where_ = |depth: u32, size: u64| format!("{}, {}", human::bytes(size as f64), human::count(depth, "layer"));
    if let Some(view) = View::first_write(results, store) {
        let mut corners = vec![(view.shallow(), view.small()), (view.shallow(), view.large())];
        corners.extend([(view.deep(), view.small()), (view.deep(), view.large())]);
        let mut seen = std::collections::BTreeSet::new();
        corners.retain(|corner| seen.insert(*corner));
        for (depth, size) in corners {
            add(format!("first write, {}", where_(depth, size)), &view, depth, size);
        }
    }
    for (name, metric) in [("close after it", &metric::FIRST_CLOSE_NS), ("second write", &metric::SECOND_WRITE_NS)] {
        if let Some(view) = View::of(results, store, ProbeName::CopyUp, &metric.name, None) {
            let (depth, size) = (view.shallow(), view.small());
            add(format!("{name}, {}", where_(depth, size)), &view, depth, size);
        }
    }
    if let Some(view) = View::durable_write(results, store) {
        let sizes = view.small_and_large();
        for size in sizes {
            add(format!("first write with fsync, {}", where_(view.shallow(), size)), &view, view.shallow(), size);
        }
    }
    let writes = [
        ("write of 4 KiB in place", true, &metric::OVERWRITE_NS, &metric::OVERWRITE_DURABLE_NS),
        ("whole file written over", true, &metric::REWRITE_NS, &metric::REWRITE_DURABLE_NS),
        // A new file has the same size wherever it is made.
        ("new file of 4 KiB", false, &metric::CREATE_NS, &metric::CREATE_DURABLE_NS),
    ];
    for (name, sized, metric, durable) in writes {
        let usual = View::of(results, store, ProbeName::Write, &metric.name, None);
        let durable = View::durable(results, store, ProbeName::Write, durable);
        for (view, sync) in [(usual, ""), (durable, " with fsync")] {
            let Some(view) = view else { continue };
            let place = match sized {
                true => where_(view.deep(), view.large()),
                false => human::count(view.deep(), "layer"),
            };
            add(format!("{name}{sync}, {place}"), &view, view.deep(), view.large());
        }
    }
    for (name, metric) in [("open and read", &metric::READ_NS), ("open and read again", &metric::READ_AGAIN_NS)] {
        if let Some(view) = View::of(results, store, ProbeName::Read, &metric.name, None) {
            for size in view.small_and_large() {
                add(format!("{name}, {}", where_(view.shallow(), size)), &view, view.shallow(), size);
            }
        }
    }
    // What is next has to be said where there is a first.
    let next = if results.first_lookups_apart() { "next look-up" } else { "look-up" };
    let lookups = [
        ("first look-up", "hit", &metric::LOOKUP_FIRST_NS),
        ("first look-up", "miss", &metric::LOOKUP_FIRST_MISS_NS),
        (next, "hit", &metric::LOOKUP_HIT_NS),
        (next, "miss", &metric::LOOKUP_MISS_NS),
        (next, "whiteout", &metric::LOOKUP_WHITEOUT_NS),
    ];
    for (time, name, metric) in lookups {
        for cache in [CacheState::Cold, CacheState::Fresh, CacheState::Warm] {
            let Some(view) = View::of(results, store, ProbeName::Lookup, &metric.name, Some(cache)) else { continue };
            let label = format!("{time} {name}, {}, {}", cache.as_str(), human::count(view.deep(), "layer"));
            add(label, &view, view.deep(), view.small());
        }
    }
    let reads = [
        ("first read, from the device", &metric::FIRST_READ_NS),
        ("the same by a second container", &metric::SECOND_READ_NS),
        ("cached read of 4 KiB", &metric::WARM_READ_NS),
    ];
    for (name, metric) in reads {
        if let Some(view) = View::of(results, store, ProbeName::PageCache, &metric.name, None) {
            let (depth, size) = (view.shallow(), view.large());
            add(format!("{name}, {}", where_(depth, size)), &view, depth, size);
        }
    }
    operations
}
