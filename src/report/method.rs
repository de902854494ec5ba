//! How the figures were made and how far they may be trusted.

use super::content::section;
use super::page::{Block, Spans, Table, marked, plain};
use crate::analysis::{CONFIDENCE, REPLICATES, human};
use crate::record::Run;

/// The section.
pub(super) fn blocks(run: &Run) -> Vec<Block> {
    let confidence = human::percent(CONFIDENCE);
    let superseded = run.cases.iter().filter(|record| record.superseded).count() as u64;
    let excluded = match superseded {
        0 => "all are used here".to_owned(),
        n => format!(
            "used here are those of the last attempt of each case; {} that the machine disturbed, or whose caches did not stay as asked, {} repeated and left out, \
             whatever {} measured",
            human::count(n, "attempt"),
            if n == 1 { "was" } else { "were" },
            if n == 1 { "it" } else { "they" }
        ),
    };
    let notes = [
        format!("Samples: every one taken is kept in `cases.jsonl`; {excluded}. None is dropped as an outlier."),
        "Groups: the cases that differ only in their block are one group. Each case has a new process, a new mount and a new upper. A \
         block holds every case once, in a random order, so that drift of the machine falls on all alike."
            .to_owned(),
        "Percentiles: definition 7 of Hyndman & Fan (1996), linear between neighbouring samples.".to_owned(),
        format!(
            "Intervals: {confidence} intervals from {REPLICATES} bootstrap replicates, in each of which blocks are drawn, with all their \
             samples, because samples of one block are more alike than samples of different blocks (Kalibera & Jones, 2013; Davison & \
             Hinkley, 1997). Two things that were measured in the same blocks are drawn the same blocks, so that drift cancels in \
             their ratio. The interval is the estimate times or divided by exp(t × se × √(k / (k − 1))): se is the standard deviation of \
             the logarithms of the replicates, k the number of blocks, t the quantile of Student’s t with k − 1 degrees of freedom \
             (Hesterberg, 2015). Where each block gave one sample, as of jobs, a ratio is the geometric mean of the ratios block by block and its interval \
             Student’s t of their logarithms. One block has no interval."
        ),
        "A against A: one variant is measured a second time under another label. The noise of a metric, with one state of the caches and one size of files \
         (all sizes, where fewer than five points have it), is the 95th percentile of the ratios of such twins, whichever is larger over the other, or the \
         largest where there are fewer than 20."
            .to_owned(),
        "Not resolved: two medians are called different only if the interval of their ratio does not include 1 and the ratio is \
         larger than the noise. Without A against A the noise is not known: differences then rest on the interval alone, and no claim has a verdict \
         that depends on times."
            .to_owned(),
        "Caches: warm: the name has been looked up through this mount and the data is resident. Fresh: a new mount over cached layers. \
         Cold: a new mount, then `drop_caches`. They are never mixed in one figure."
            .to_owned(),
        "The control is `bind`: a bind mount of a plain directory, with no layers, which is what a volume is.".to_owned(),
        "Not measured means that there is no figure: nothing is extrapolated, and nothing missing is drawn as zero.".to_owned(),
    ];
    let mut blocks = vec![section("method", "Method")];
    blocks.push(Block::List(notes.iter().map(|note| marked(note)).collect()));
    for workload in &run.manifest.workloads {
        blocks.push(Block::Heading(format!("Workload {}: {}", workload.name, workload.title)));
        blocks.push(Block::Text(marked(&workload.why)));
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
                    marked(&m.why),
                ]
            })
            .collect();
        blocks.push(Block::Table(Table { head: head.map(str::to_owned).to_vec(), rows, numeric: vec![3, 6] }));
    }
    blocks
}
