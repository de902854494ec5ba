//! Where the time of a first write goes, and who spends processor time.

use std::collections::BTreeMap;

use super::content::{headed, section};
use super::page::{Block, Span, Spans, Table, marked, plain};
use crate::analysis::{Group, ResultSet, Source, View, breakdowns, human, median};
use crate::record::{Outcome, Run, Unit, metric};
use crate::workload::{CacheState, Case, Params, ProbeName};

/// Parts, in the order in which they happen.
const PARTS: [&str; 5] = ["look-up", "data", "sync", "attributes", "rename"];

/// The section of the parts.
pub(super) fn blocks(results: &ResultSet) -> Vec<Block> {
    let text = Block::Text(marked(
        "Fresh first writes. A driver that counts its own steps is asked: its whole and its parts are means over the same writes (c), so that they add up, and \
         its whole is not the median that stands elsewhere. Of the others the whole is the median, and parts are differences of medians of cases: the look-up of the name by itself, a full file less an empty one (data), waiting for the disk less `volatile` (sync). What no part explains is the rest: making \
         the file, its attributes and its name where they are not counted, the write itself, and for FUSE the round trips between kernel and daemon.",
    ));
    let mut tables = Vec::new();
    for store in &results.stores {
        let found = breakdowns(results, store);
        if found.is_empty() {
            continue;
        }
        if results.several_stores() {
            tables.push(Block::Heading(format!("Store {store}")));
        }
        let mut head = vec!["Driver".to_owned(), "File".to_owned(), "Whole".to_owned()];
        head.extend(PARTS.map(str::to_owned));
        head.push("Rest".to_owned());
        let rows: Vec<Vec<Spans>> = found
            .iter()
            .map(|b| {
                let mut row = vec![
                    plain(results.shown(&b.driver)),
                    plain(human::bytes(b.bytes as f64)),
                    vec![
                        Span::Strong(human::ns(b.whole_ns)),
                        Span::Text(format!(
                            "{}{}",
                            if b.is_counted() { " (c)" } else { "" },
                            if b.contradicted { " †" } else { "" }
                        )),
                    ],
                ];
                row.extend(PARTS.map(|name| match b.parts.iter().find(|part| part.name == name) {
                    Some(part) if part.from == Source::Counted => plain(format!("{} (c)", human::ns(part.ns))),
                    Some(part) => plain(human::ns(part.ns)),
                    None => plain(""),
                }));
                let rest = b.unexplained_ns();
                row.push(plain(format!("{} ({})", human::ns(rest), human::percent(rest / b.whole_ns))));
                row
            })
            .collect();
        let numeric = (1..head.len()).collect();
        tables.push(Block::Table(Table { head, rows, numeric }));
    }
    headed([section("breakdown", "Where the time of a first write goes"), text], tables)
}

/// What one case spent.
struct Spent {
    /// Processor time of the caller per operation, nanoseconds.
    probe: f64,
    /// The same of the daemon.
    daemon: Option<f64>,
    /// Bytes of the daemon's memory.
    memory: Option<u64>,
}

/// A point of which processor time is told.
struct At {
    label: String,
    store: String,
    params: Params,
}

impl At {
    fn is_of(&self, case: &Case) -> bool {
        // How many files there were is no property of one operation.
        let alike = Params { files: self.params.files, ..case.params } == self.params;
        case.store == self.store && case.probe == ProbeName::Lookup && alike
    }
}

/// Look-ups through the deepest stack, each with one state of the caches: what an operation costs at all sizes, depths and caches together is the cost of
/// none. There are thousands in a case, so that what the measuring takes is little of it; what first writes take is a metric of its own.
fn points(results: &ResultSet) -> Vec<At> {
    let mut points = Vec::new();
    for store in &results.stores {
        let place = if results.several_stores() { format!(" ({store})") } else { String::new() };
        for cache in CacheState::ALL {
            let hit = &metric::LOOKUP_HIT_NS.name;
            let Some(view) = View::of(results, store, ProbeName::Lookup, hit, Some(cache)) else { continue };
            let here = |group: &&Group| {
                let (key, p) = (&group.key, &group.key.params);
                let at = (p.depth, p.file_size_bytes) == (view.deep(), view.small());
                at && key.store == *store
                    && key.probe == ProbeName::Lookup
                    && p.cache == view.cache
                    && p.containers == view.containers
                    && *p == p.plain()
                    && view.target.matches(p)
            };
            if let Some(group) = results.groups.iter().find(here) {
                let label = format!("look-up, {}, {}{place}", human::count(view.deep(), "layer"), cache.as_str());
                points.push(At { label, store: store.clone(), params: group.key.params });
            }
        }
    }
    points
}

/// The section of processor time per operation, a row a point and driver.
pub(super) fn processors(run: &Run, results: &ResultSet) -> Vec<Block> {
    let points = points(results);
    let mut found: BTreeMap<(usize, &str), Vec<Spent>> = BTreeMap::new();
    for record in run.last_attempts() {
        let (Some(c), Outcome::Measured { observations, .. }) = (&record.conditions, &record.outcome) else { continue };
        let Some(at) = points.iter().position(|at| at.is_of(&record.case)) else { continue };
        let timed = observations.iter().filter(|o| o.metric.unit == Unit::Ns && o.samples.len() > 1);
        let operations: usize = timed.map(|o| o.samples.len()).sum();
        if operations == 0 {
            continue;
        }
        let each = |ns: u64| ns as f64 / operations as f64;
        found.entry((at, &record.case.driver.label)).or_default().push(Spent {
            probe: each(c.probe_user_ns + c.probe_kernel_ns),
            daemon: c.daemon_ns.map(each),
            memory: c.daemon_resident_bytes,
        });
    }
    let mut rows: Vec<Vec<Spans>> = Vec::new();
    for (at, point) in points.iter().enumerate() {
        for driver in &results.drivers {
            let Some(cases) = found.get(&(at, driver.label.as_str())) else { continue };
            let own = median(cases.iter().map(|case| case.probe).collect());
            let daemon = median(cases.iter().filter_map(|case| case.daemon).collect());
            let memory = median(cases.iter().filter_map(|case| case.memory).map(|bytes| bytes as f64).collect());
            let say = |value: Option<f64>, format: fn(f64) -> String| {
                plain(value.map(format).unwrap_or_else(|| "none".into()))
            };
            rows.push(vec![
                plain(point.label.clone()),
                plain(results.shown(&driver.label)),
                say(own, human::ns),
                say(daemon, human::ns),
                say(memory, human::bytes),
                plain(cases.len().to_string()),
            ]);
        }
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let head = ["Operation", "Driver", "Caller, with its kernel time", "Daemon", "Daemon’s memory", "Cases"];
    vec![
        section("processors", "Processor time per operation"),
        Block::Text(plain(
            "Median over the cases of one point: processor time of the whole measured section, bookkeeping between samples included, divided by its timed \
             operations, which are all kinds of look-ups. What kernel threads did on behalf of either is not in it. Memory is what the daemon has for itself. \
             That of first writes is in the first table, without any bookkeeping.",
        )),
        Block::Table(Table { head: head.map(str::to_owned).to_vec(), rows, numeric: vec![2, 3, 4, 5] }),
    ]
}
