//! Where the time of a first write goes, and who spends processor time.

use std::collections::BTreeMap;

use super::content::{headed, section};
use super::page::{Block, Span, Spans, Table, marked, plain};
use crate::analysis::{ResultSet, Source, breakdowns, human, median};
use crate::record::{Outcome, Run, Unit};
use crate::workload::ProbeName;

/// Parts, in the order in which they happen.
const PARTS: [&str; 5] = ["look-up", "data", "sync", "attributes", "rename"];

/// The sections.
pub(super) fn blocks(run: &Run, results: &ResultSet) -> Vec<Block> {
    let text = Block::Text(marked(
        "Medians of fresh first writes. Parts of a driver that counts its own steps are means of what it counted (c); parts of the others are differences of cases: \
         the look-up of the name by itself, a full file less an empty one (data), waiting for the disk less `volatile` (sync). What no part explains is the rest: making \
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
                    plain(b.driver.clone()),
                    plain(human::bytes(b.bytes as f64)),
                    vec![Span::Strong(human::ns(b.whole_ns))],
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
    let mut blocks = headed([section("breakdown", "Where the time of a first write goes"), text], tables);
    blocks.extend(processors(run, results));
    blocks
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

/// Processor time per operation, a row a probe, by driver.
fn processors(run: &Run, results: &ResultSet) -> Vec<Block> {
    let mut found: BTreeMap<(ProbeName, &str), Vec<Spent>> = BTreeMap::new();
    for record in run.last_attempts() {
        let (Some(c), Outcome::Measured { observations, .. }) = (&record.conditions, &record.outcome) else { continue };
        // Of page-cache cases most of the section is counting; of parallel ones the processes are many.
        if !matches!(record.case.probe, ProbeName::CopyUp | ProbeName::Lookup) || record.case.params.processes > 1 {
            continue;
        }
        let timed = observations.iter().filter(|o| o.metric.unit == Unit::Ns && o.samples.len() > 1);
        let operations: usize = timed.map(|o| o.samples.len()).sum();
        if operations == 0 {
            continue;
        }
        let each = |ns: u64| ns as f64 / operations as f64;
        let probe = each(c.probe_user_ns + c.probe_kernel_ns);
        found.entry((record.case.probe, &record.case.driver.label)).or_default().push(Spent {
            probe,
            daemon: c.daemon_ns.map(each),
            memory: c.daemon_resident_bytes,
        });
    }
    if found.is_empty() {
        return Vec::new();
    }
    let mut rows: Vec<Vec<Spans>> = Vec::new();
    for driver in &results.drivers {
        for probe in [ProbeName::CopyUp, ProbeName::Lookup] {
            let Some(cases) = found.get(&(probe, driver.label.as_str())) else { continue };
            let own = median(cases.iter().map(|case| case.probe).collect());
            let daemon = median(cases.iter().filter_map(|case| case.daemon).collect());
            let memory = median(cases.iter().filter_map(|case| case.memory).map(|bytes| bytes as f64).collect());
            let say = |value: Option<f64>, format: fn(f64) -> String| {
                plain(value.map(format).unwrap_or_else(|| "none".into()))
            };
            rows.push(vec![
                plain(driver.label.clone()),
                plain(probe.as_str()),
                say(own, human::ns),
                say(daemon, human::ns),
                say(memory, human::bytes),
                plain(cases.len().to_string()),
            ]);
        }
    }
    let head = ["Driver", "Probe", "Caller, with its kernel time", "Daemon", "Daemon’s memory", "Cases"];
    vec![
        section("processors", "Processor time per operation"),
        Block::Text(plain(
            "Median over the cases of a probe, all sizes, depths and caches together: processor time of the whole measured section, bookkeeping between \
             samples included, divided by its timed operations. What kernel threads did on behalf of either is not in it. Memory is what the daemon has for itself.",
        )),
        Block::Table(Table { head: head.map(str::to_owned).to_vec(), rows, numeric: vec![2, 3, 4, 5] }),
    ]
}
