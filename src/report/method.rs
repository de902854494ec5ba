//! How the figures were made and how far they may be trusted.

use super::content::section;
use super::page::{Block, Spans, Table, marked, plain};
use crate::analysis::{CONFIDENCE, REPLICATES, human};
use crate::record::Run;

/// The section.
pub(super) fn blocks(run: &Run) -> Vec<Block> {
    let confidence = human::percent(CONFIDENCE);
    let notes = [
        "Samples: every one taken is kept in `cases.jsonl` and used here; none is dropped as an outlier.".to_owned(),
        "Groups: the cases that differ only in their round are one group. Each round has a new process, a new mount and a new upper; \
         the rounds of all drivers are interleaved in an order drawn from the seed, so that drift of the machine falls on all alike."
            .to_owned(),
        "Percentiles: definition 7 of Hyndman & Fan (1996), linear between neighbouring samples.".to_owned(),
        format!(
            "Intervals: {confidence} percentile intervals of the median from {REPLICATES} hierarchical bootstrap replicates: rounds are \
             drawn first, then samples within them, because samples of one round are more alike than samples of different rounds \
             (Kalibera & Jones, 2013). The random numbers are seeded from the name of the group. With few rounds such an \
             interval is rough; with one round it knows nothing of the spread between rounds."
        ),
        "No difference: two medians are called different only if the interval of their ratio does not include 1 and the ratio is \
         larger than the noise. The noise is A against A: the largest median of a round divided by the smallest, for the same thing, the \
         larger of both sides."
            .to_owned(),
        "Caches: warm: the name has been looked up through this mount and the data is resident. Fresh: a new mount over cached layers. \
         Cold: a new mount, then `drop_caches`. They are never mixed in one figure's line."
            .to_owned(),
        "The control is `bind`: a bind mount of a plain directory, with no layers, which is what a volume is.".to_owned(),
        "Not measured means that there is no figure: nothing is extrapolated, and nothing missing is drawn as zero.".to_owned(),
    ];
    let mut blocks = vec![section("method", "Method")];
    blocks.push(Block::List(notes.iter().map(|note| marked(note)).collect()));
    for workload in &run.manifest.workloads {
        blocks.push(Block::Heading(format!("Workload {}: {}", workload.name, workload.title)));
        blocks.push(Block::Text(plain(workload.why.clone())));
        let head = ["Probe", "Layers", "File sizes", "Files", "Caches", "Containers", "Blocks", "Why"];
        let list = |items: Vec<String>| plain(items.join(", "));
        let rows: Vec<Vec<Spans>> = workload
            .measures
            .iter()
            .map(|m| {
                vec![
                    plain(m.probe.as_str()),
                    list(m.depth.iter().map(u32::to_string).collect()),
                    list(m.file_size_bytes.iter().map(|size| human::bytes(*size as f64)).collect()),
                    plain(m.files.to_string()),
                    list(m.cache.iter().map(|cache| cache.as_str().to_owned()).collect()),
                    list(m.containers.iter().map(u32::to_string).collect()),
                    plain(m.blocks.to_string()),
                    plain(m.why.clone()),
                ]
            })
            .collect();
        blocks.push(Block::Table(Table { head: head.map(str::to_owned).to_vec(), rows, numeric: vec![3, 6] }));
    }
    blocks
}
