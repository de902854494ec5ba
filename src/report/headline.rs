//! The page in a few rows, for someone who runs containers: a question, its answer, and what each driver gave. Each is made from figures; what was not
//! measured is said to be not measured, all of it in one row behind the others.

use super::counts::{counts, images, jobs, parallel};
use super::page::{Block, Span, Spans, Table, marked, plain};
use super::stores::TITLE as STORES;
use crate::analysis::{
    Comparison, Data, Difference, Interval, JobView, ONCE, Operation, PageView, ResultSet, View, compare, human,
};
use crate::record::{Metric, Waits, metric, uses_kernel_threads};
use crate::workload::{CacheState, ProbeName};

/// A question, its answer, and what each driver gave.
pub(super) struct Row {
    pub question: String,
    pub answer: String,
    /// By label of the driver: a figure, and what it is of that which the question names.
    pub cells: Vec<(String, Spans)>,
    /// How many of the figures are compared with another.
    pub compared: usize,
}

/// A driver that is asked about, and what it is of that which the question names.
type Asked<'a> = (&'a str, Option<Comparison>);

/// A driver's figure, likewise.
type Figure<'a> = (&'a str, &'a Data, Option<Comparison>);

/// No difference shows.
pub(super) const ALIKE: &str = "≈";
/// There are too few blocks to say.
const OPEN: &str = "?";

impl Row {
    /// What has no figures.
    fn said(question: impl Into<String>, answer: impl Into<String>) -> Row {
        Row { question: question.into(), answer: answer.into(), cells: Vec::new(), compared: 0 }
    }

    /// Drivers with a median each, and each but the control with what it is of something else; `None` without any driver that is asked about. The answer
    /// is made of what was found.
    fn of(
        results: &ResultSet,
        question: impl Into<String>,
        figures: &[Figure],
        answer: impl Fn(&[Asked]) -> String,
    ) -> Option<Row> {
        let asked: Vec<_> =
            figures.iter().filter(|(d, ..)| !results.is_baseline(d)).map(|(d, _, c)| (*d, *c)).collect();
        let cell = |(driver, data, comparison): &Figure| {
            let ratio = comparison.map(|c| Span::Text(format!(" {}", ratio(&c))));
            let figure = Span::Strong(human::ns(data.p50()));
            ((*driver).to_owned(), std::iter::once(figure).chain(ratio).collect())
        };
        (!asked.is_empty()).then(|| Row {
            question: question.into(),
            answer: answer(&asked),
            cells: figures.iter().map(cell).collect(),
            compared: figures.iter().filter(|(.., c)| c.is_some_and(|c| c.difference != Difference::Unknown)).count(),
        })
    }
}

fn ratio(c: &Comparison) -> String {
    match c.difference {
        Difference::Higher | Difference::Lower => human::ratio(c.ratio),
        // How much it says that none shows: one thing as long as the other, or anything between half and twice as long.
        Difference::WithinInterval | Difference::WithinNoise => match c.interval {
            // In one piece (U+2060 keeps a line from ending behind the dash).
            Some(Interval { low, high }) => {
                format!("{ALIKE}\u{a0}{}–\u{2060}{}", human::ratio(low).trim_end_matches('×'), human::ratio(high))
            }
            None => ALIKE.to_owned(),
        },
        Difference::Unknown => OPEN.to_owned(),
    }
}

/// The section's tables: of several stores first what they differ by, then each by itself; of one store, and where nothing was measured in any, there is no
/// heading.
pub(super) fn blocks(results: &ResultSet) -> Vec<Block> {
    if results.groups.iter().all(|group| group.metrics.is_empty()) {
        return vec![table(results, vec![Row::said("What was found?", "Nothing was measured in this run.")])];
    }
    let heading = |store: &String| results.several_stores().then(|| format!("Store {store}"));
    let each = results.stores.iter().map(|store| (heading(store), of_store(results, store)));
    let across = across_stores(results);
    let across = (!across.is_empty()).then(|| (Some(STORES.to_owned()), across));
    let tables: Vec<(Option<String>, Vec<Row>)> = across.into_iter().chain(each).collect();
    let mut blocks = Vec::new();
    blocks.extend(durability(results).map(|text| Block::Text(marked(&text))));
    blocks.push(Block::Text(plain(format!(
        "Medians; × is what they are of that which the question names. {ALIKE} no difference shows: the interval of the ratio, which stands behind it, holds \
         1, or two measurements of the same thing differ by as much. {OPEN} there are too few blocks to say.{}",
        by_chance(results, tables.iter().flat_map(|(_, rows)| rows).map(|row| row.compared).sum())
    ))));
    for (heading, rows) in tables {
        blocks.extend(heading.map(Block::Heading));
        blocks.push(table(results, rows));
    }
    blocks
}

/// How many of so many comparisons find a difference where there is none, if they do as those of one thing with itself; nothing where those say nothing.
fn by_chance(results: &ResultSet, comparisons: usize) -> String {
    let (called, judged) = results.null.called_different();
    if called == 0 || comparisons == 0 {
        return String::new();
    }
    let share = called as f64 / judged as f64;
    format!(
        " Of {judged} comparisons of one thing with itself {called} would be called different: of the {comparisons} here about {:.1}, and rather several \
         at once than one by one, since many rest on the same cases.",
        share * comparisons as f64
    )
}

/// The rows, with a column for each driver that has something in one of them.
fn table(results: &ResultSet, rows: Vec<Row>) -> Block {
    let has = |label: &str| rows.iter().any(|row| row.cells.iter().any(|(driver, _)| driver == label));
    let drivers: Vec<&str> = results.drivers.iter().map(|d| d.label.as_str()).filter(|label| has(label)).collect();
    let head = ["Question", "Answer"].map(str::to_owned).into_iter().chain(drivers.iter().map(|d| results.shown(d)));
    let cells = |row: Row| {
        let of = |label: &&str| {
            let cell = row.cells.iter().find(|(driver, _)| driver == label);
            cell.map_or_else(|| plain("–"), |(_, figure)| figure.clone())
        };
        let figures: Vec<Spans> = drivers.iter().map(of).collect();
        [plain(row.question), vec![Span::Strong(row.answer)]].into_iter().chain(figures).collect()
    };
    let head: Vec<String> = head.collect();
    Block::Table(Table { numeric: (2..head.len()).collect(), head, rows: rows.into_iter().map(cells).collect() })
}

/// What each store takes longer for than the first one.
fn across_stores(results: &ResultSet) -> Vec<Row> {
    let Some((base, others)) = results.stores.split_first() else { return Vec::new() };
    let written = others.iter().filter_map(|store| {
        let (view, of_base) = (View::first_write(results, store)?, View::first_write(results, base)?);
        Some(written_elsewhere(results, "a first write", (store, &view), (base, &of_base)))
    });
    let durable = others.iter().filter_map(|store| {
        let (view, of_base) = (View::durable_write(results, store)?, View::durable_write(results, base)?);
        Some(written_elsewhere(results, "a first write with fsync", (store, &view), (base, &of_base)))
    });
    let jobs = others.iter().filter_map(|store| {
        let (view, of_base) = (JobView::of(results, store)?, JobView::of(results, base)?);
        let against = |driver: &str, (job, here): &(_, Operation)| {
            let (_, there) = of_base.jobs.iter().find(|(name, _)| name == job)?;
            compare(here.of(driver)?, there.of(driver)?)
        };
        counts(results, format!("How many whole programs take longer on {store} than on {base}?"), |driver| {
            view.jobs.iter().filter_map(|job| Some((job.1.label.clone(), against(driver, job)?))).collect()
        })
    });
    written.chain(durable).flatten().chain(jobs).collect()
}

/// Writes to the smallest and to the largest file of a store against the same of another one.
fn written_elsewhere(
    results: &ResultSet,
    what: &str,
    (store, view): (&str, &View),
    (base, of_base): (&str, &View),
) -> Vec<Row> {
    let depth = view.shallow();
    let row = |bytes| {
        let figures = figures(view.layered(results), |driver| {
            let data = view.at(driver, depth, bytes)?;
            Some((data, compare(data, of_base.at(driver, depth, bytes)?)))
        });
        let question =
            format!("Does {what} take longer on {store} than on {base}? ({}, {})", size(bytes), layers(depth));
        Row::of(results, question, &figures, longer)
    };
    view.small_and_large().into_iter().filter_map(row).collect()
}

/// Labels of drivers that were measured, by when what they wrote is on the disk.
fn waiting(results: &ResultSet, when: Waits) -> Vec<&str> {
    let drivers = results.drivers.iter().filter(|driver| driver.waits() == when && results.is_measured(&driver.label));
    drivers.map(|driver| driver.label.as_str()).filter(|label| !results.is_baseline(label)).collect()
}

/// What a reader has to know before a driver is compared with another: when what it wrote is on the disk. Nothing where all are alike.
fn durability(results: &ResultSet) -> Option<String> {
    let of = |when| waiting(results, when);
    let (waits, asked, never) = (of(Waits::AtCopyUp), of(Waits::WhenAsked), of(Waits::Never));
    let mut said = Vec::new();
    if !waits.is_empty() {
        // The kernel syncs what it has copied, and not what it has cloned.
        let sharing = results.media.iter().filter(|store| store.reflink.is_available());
        let sharing: Vec<&str> = sharing.map(|store| store.label.as_str()).collect();
        let but = match sharing.is_empty() {
            true => String::new(),
            false => format!(" (newer kernels do not where blocks are shared, as in {})", human::list(&sharing)),
        };
        said.push(format!(
            "{} (marked “(waits)”): a first write waits until the copy of the file is on the disk{but}",
            human::list(&waits)
        ));
    }
    if !asked.is_empty() {
        let what = if waits.is_empty() { "a first write" } else { "it" };
        said.push(format!("{}: {what} waits only when the program asks, with fsync", human::list(&asked)));
    }
    if !never.is_empty() {
        said.push(format!(
            "{}: with `volatile` nothing waits, not even fsync, and after a crash of the machine the container is lost",
            human::list(&never)
        ));
    }
    (said.len() > 1).then(|| format!("Drivers differ in what a crash of the machine may take. {}.", said.join(". ")))
}

fn of_store(results: &ResultSet, store: &str) -> Vec<Row> {
    let writes = View::first_write(results, store);
    let mut said: Vec<Row> = Vec::new();
    if let Some(view) = &writes {
        said.extend(first_write(results, view));
        said.extend(durable(results, store));
        said.extend(processor_time(results, store, view));
        said.extend(by_size(results, view));
        said.extend(by_depth(results, store, view));
    }
    let mut unsaid = Vec::new();
    if writes.is_none() {
        unsaid.push("what the first write to a file of a lower layer costs");
    }
    for (subject, rows) in [
        ("whether containers share the page cache", page_cache(results, store).into_iter().collect()),
        ("what a look-up costs through many layers", lookups(results, store)),
        (
            "what a volume would save on writes",
            volume(results, store, writes.as_ref()).into_iter().chain(writing(results, store)).collect(),
        ),
    ] {
        if rows.is_empty() {
            unsaid.push(subject);
        }
        said.extend(rows);
    }
    said.extend(reading(results, store));
    said.extend(jobs(results, store));
    said.extend(parallel(results, store));
    let images = images(results, store);
    // An image's own files are neither below a known depth nor of a known size.
    let place = if images.is_empty() { "" } else { " on stacks of known depth and size" };
    said.extend(images);
    if !unsaid.is_empty() {
        said.push(Row::said("What is missing?", format!("Not measured{place}: {}.", human::list(&unsaid))));
    }
    said
}

fn layers(depth: u32) -> String {
    human::count(depth, "layer")
}

fn size(bytes: u64) -> String {
    human::bytes(bytes as f64)
}

/// Those of the drivers that have a figure, with it.
fn figures<'a>(
    drivers: Vec<&'a str>,
    figure: impl Fn(&'a str) -> Option<(&'a Data, Option<Comparison>)>,
) -> Vec<Figure<'a>> {
    let with = |driver| figure(driver).map(|(data, comparison)| (driver, data, comparison));
    drivers.into_iter().filter_map(with).collect()
}

/// The figures of a view at a point against the control there.
fn on_volume<'a>(results: &ResultSet, view: &View<'a>, at: (u32, u64)) -> Vec<Figure<'a>> {
    let base = results.baseline().and_then(|bind| view.at(bind, at.0, at.1));
    figures(view.drivers.clone(), |driver| {
        let data = view.at(driver, at.0, at.1)?;
        Some((data, base.filter(|_| !results.is_baseline(driver)).and_then(|base| compare(data, base))))
    })
}

/// Behind a question: that the ratios are those to the control; nothing where there is none.
fn to_volume(results: &ResultSet) -> String {
    results.baseline().map(|bind| format!("; × of {bind}, which is what a volume is")).unwrap_or_default()
}

/// `2×`, or `9.2× to 49×`.
fn range(ratios: impl Iterator<Item = f64> + Clone) -> Option<String> {
    let (low, high) = (ratios.clone().reduce(f64::min)?, ratios.reduce(f64::max)?);
    let (low, high) = (human::ratio(low), human::ratio(high));
    Some(if low == high { low } else { format!("{low} to {high}") })
}

/// All ratios, whether they are a finding or not.
fn all(items: &[Asked]) -> Option<String> {
    range(items.iter().filter_map(|(_, c)| Some(c.as_ref()?.ratio)))
}

/// The answer to "does it take longer?": `Yes, 1.42×, with a.`, `No difference shows.` Drivers are named where not all that were compared say so.
fn longer(items: &[Asked]) -> String {
    let compared = items.iter().filter(|(_, c)| c.is_some()).count();
    let found = |wanted: Difference| {
        let of = items.iter().filter_map(move |(d, c)| c.filter(|c| c.difference == wanted).map(|c| (*d, c.ratio)));
        let times = range(of.clone().map(|(_, ratio)| ratio))?;
        let names: Vec<&str> = of.map(|(driver, _)| driver).collect();
        Some(if names.len() == compared { times } else { format!("{times}, with {}", human::list(&names)) })
    };
    match (found(Difference::Higher), found(Difference::Lower)) {
        (Some(higher), Some(lower)) => format!("Yes, {higher}. It takes less, {lower}."),
        (Some(higher), None) => format!("Yes, {higher}."),
        (None, Some(lower)) => format!("It takes less, {lower}."),
        (None, None) if compared == 0 => "It was not compared.".to_owned(),
        (None, None) if items.iter().any(|(_, c)| c.is_some_and(|c| c.difference == Difference::Unknown)) => {
            "There are too few blocks to say.".to_owned()
        }
        (None, None) => "No difference shows.".to_owned(),
    }
}

fn first_write(results: &ResultSet, view: &View) -> Option<Row> {
    let (depth, bytes) = (view.shallow(), view.small());
    let question = format!(
        "What does the first write to a small file cost? ({}, {}{})",
        size(bytes),
        layers(depth),
        to_volume(results)
    );
    let answer = |items: &[Asked]| match all(items) {
        Some(times) => format!("The file is copied first, and that takes {times} of a write on a volume."),
        None => "A copy of the file; on a volume it was not measured.".to_owned(),
    };
    Row::of(results, question.clone(), &on_volume(results, view, (depth, bytes)), answer)
        .or_else(|| Some(Row::said(question, "It was measured with no driver.")))
}

/// The same write until it is on the disk, which is where drivers that wait and drivers that do not are alike. Those that never wait are not asked. Against
/// the one that waits anyway, where there is one: what not waiting is worth once a program asks for it.
fn durable(results: &ResultSet, store: &str) -> Vec<Row> {
    let Some(view) = View::durable_write(results, store) else { return Vec::new() };
    let Some(base) = waiting(results, Waits::AtCopyUp).into_iter().next() else { return Vec::new() };
    let (never, depth) = (waiting(results, Waits::Never), view.shallow());
    let asked: Vec<&str> = view.drivers.iter().copied().filter(|driver| !never.contains(driver)).collect();
    let wait = match never.is_empty() {
        true => "Then all wait.".to_owned(),
        false => format!("Then all but {} wait.", human::list(&never)),
    };
    let row = |bytes| {
        let at = |driver| view.at(driver, depth, bytes);
        let figures = figures(asked.clone(), |driver| {
            let compared = || compare(at(driver)?, at(base)?);
            Some((at(driver)?, (driver != base && !results.is_baseline(driver)).then(compared).flatten()))
        });
        let what =
            if bytes == view.small() { "until it is on the disk" } else { "a large file, until it is on the disk" };
        let question = format!("And {what}? ({} with fsync; × of {base})", size(bytes));
        Row::of(results, question, &figures, |items| format!("{wait} {}", longer(items)))
    };
    view.small_and_large().into_iter().filter_map(row).collect()
}

/// What the first write takes of processors, caller and daemon together: a volume takes some of it too. Nothing is said of drivers whose copy_up is a
/// kernel thread's.
fn processor_time(results: &ResultSet, store: &str, writes: &View) -> Option<Row> {
    let spent = &metric::FIRST_PROCESSOR_NS.name;
    let view = View::of(results, store, ProbeName::CopyUp, spent, Some(writes.cache))?;
    let (bind, at) = (results.baseline()?, (writes.shallow(), writes.small()));
    view.at(bind, at.0, at.1)?;
    let mut figures = on_volume(results, &view, at);
    figures.retain(|(driver, ..)| {
        !results.drivers.iter().any(|info| info.label == *driver && uses_kernel_threads(&info.driver))
    });
    let question = format!(
        "What processor time does it take, with the close? ({}, {}; caller and daemon; × of {bind})",
        size(at.1),
        layers(at.0)
    );
    Row::of(results, question, &figures, |items| match longer(items).strip_prefix("Yes, ") {
        Some(times) => format!("More than on a volume, {times}"),
        None => longer(items),
    })
}

fn by_size(results: &ResultSet, view: &View) -> Option<Row> {
    let (small, large, depth) = (view.small(), view.large(), view.shallow());
    let question = "Does it take longer for a large file?";
    if small == large {
        let answer = format!("Only files of {} were measured, so how it grows with size is not measured.", size(small));
        return Some(Row::said(question, answer));
    }
    let figures = figures(view.layered(results), |driver| {
        let data = view.at(driver, depth, large)?;
        Some((data, compare(data, view.at(driver, depth, small)?)))
    });
    Row::of(results, format!("{question} ({}; × of {})", size(large), size(small)), &figures, longer)
}

fn by_depth(results: &ResultSet, store: &str, view: &View) -> Vec<Row> {
    let question = "Does it take longer below many layers?";
    if view.shallow() == view.deep() {
        let layers = layers(view.deep());
        let answer = format!("Only stacks of {layers} were measured, so how it grows with depth is not measured.");
        return vec![Row::said(question, answer)];
    }
    let row = |bytes| {
        let question = if bytes == view.small() { question } else { "And a large file?" };
        deeper(results, view, bytes, format!("{question} ({}, ", size(bytes)))
    };
    // What is left of depth when the file need not be located any more.
    let warm = View::of(results, store, ProbeName::CopyUp, &metric::FIRST_WRITE_NS.name, Some(CacheState::Warm));
    let known = warm.filter(|warm| warm.cache != view.cache && warm.shallow() < warm.deep()).and_then(|warm| {
        let question = format!("And where its name has been looked up before? ({}, ", size(warm.small()));
        deeper(results, &warm, warm.small(), question)
    });
    view.small_and_large().into_iter().filter_map(row).chain(known).collect()
}

/// The deepest stack against the one of the fewest layers. The question is cut off where the numbers of layers begin.
fn deeper(results: &ResultSet, view: &View, bytes: u64, question: String) -> Option<Row> {
    let (shallow, deep) = (view.shallow(), view.deep());
    // A volume has no layers, but its name is looked up among as many others.
    let figures = figures(view.drivers.clone(), |driver| {
        let data = view.at(driver, deep, bytes)?;
        let compared = || compare(data, view.at(driver, shallow, bytes)?);
        Some((data, (shallow != deep).then(compared).flatten()))
    });
    match shallow == deep {
        true => Row::of(results, format!("{question}{})", layers(deep)), &figures, |_| {
            "Other depths were not measured.".to_owned()
        }),
        false => Row::of(results, format!("{question}{}; × of {shallow})", layers(deep)), &figures, longer),
    }
}

fn page_cache(results: &ResultSet, store: &str) -> Option<Row> {
    let question = "Do containers on one image share the page cache?";
    let view = PageView::of(results, store)?;
    let Some(n) = view.containers.last().copied().filter(|n| *n > 1) else {
        let answer = "Whether containers share the page cache was not measured: only one container read.";
        return Some(Row::said(question, answer));
    };
    let copies: Vec<(&str, f64)> = view
        .drivers
        .iter()
        .filter(|driver| !results.is_baseline(driver))
        .filter_map(|driver| {
            let group = view.at(driver, n)?;
            let once = group.metric(&metric::READ_SET_BYTES.name)?.p50();
            let resident = group.metric(&metric::RESIDENT_BYTES.name)?.p50();
            (once > 0.0).then_some((*driver, resident / once))
        })
        .collect();
    let more: Vec<&str> = copies.iter().filter(|(_, copies)| *copies > ONCE).map(|(driver, _)| *driver).collect();
    let answer = match more.len() {
        _ if copies.is_empty() => "It was measured with no driver.".to_owned(),
        0 => "Yes, what all read is in memory once.".to_owned(),
        n if n == copies.len() => "No, what all read is in memory several times.".to_owned(),
        _ => format!("Yes, what all read is in memory once, but with {} several times.", human::list(&more)),
    };
    let cell = |(driver, copies): &(&str, f64)| ((*driver).to_owned(), vec![Span::Strong(human::ratio(*copies))]);
    let question = format!("{question} (memory of {n} that read the same files; × of the files’ size)");
    Some(Row { question, answer, cells: copies.iter().map(cell).collect(), compared: 0 })
}

/// The first look-up in a directory and the next one, with nothing in memory and as a container usually finds it; a name that is known costs the same
/// through any stack, and stands for the others where they were not measured.
fn lookups(results: &ResultSet, store: &str) -> Vec<Row> {
    let row = |metric: &Metric, what: &str, cache| {
        let view = View::of(results, store, ProbeName::Lookup, &metric.name, Some(cache))?;
        let question = format!("Does {what} take longer through many layers? ({} caches, ", cache.as_str());
        deeper(results, &view, view.small(), question)
    };
    let in_states = |metric: &Metric, what: &str| -> Vec<Row> {
        let rows: Vec<Row> =
            [CacheState::Cold, CacheState::Fresh].into_iter().filter_map(|cache| row(metric, what, cache)).collect();
        if rows.is_empty() { row(metric, what, CacheState::Warm).into_iter().collect() } else { rows }
    };
    let mut first = in_states(&metric::LOOKUP_FIRST_NS, "the first look-up in a directory");
    let what = if first.is_empty() { "finding a name" } else { "finding the next name there" };
    first.extend(in_states(&metric::LOOKUP_HIT_NS, what));
    first
}

fn volume(results: &ResultSet, store: &str, writes: Option<&View>) -> Vec<Row> {
    let (Some(view), Some(bind)) = (writes, results.baseline()) else { return Vec::new() };
    let at = (view.shallow(), view.large());
    if view.at(bind, at.0, at.1).is_none() {
        return Vec::new();
    }
    let bytes = size(at.1);
    let answer = |items: &[Asked]| {
        let of = |wanted| items.iter().filter_map(|(_, c)| *c).filter(move |c| c.difference == wanted);
        let files = if view.small() == view.large() { "Files" } else { "Large files" };
        // "Not slower" has to have been found; few blocks find nothing.
        match range(of(Difference::Higher).map(|c| c.ratio)) {
            Some(times) => {
                format!("{files} that are written to: their first write takes {times} of what it takes there.")
            }
            None if of(Difference::Unknown).next().is_some() => {
                "There are too few blocks to say what a volume would save on the first write.".to_owned()
            }
            None => format!("No reason for one shows: the first write is not found slower than on {bind}."),
        }
    };
    let question = format!("What belongs in a volume? (first write, {bytes}; × of {bind})");
    let first = Row::of(results, question, &on_volume(results, view, at), answer);
    let again = View::of(results, store, ProbeName::CopyUp, &metric::SECOND_WRITE_NS.name, None).and_then(|view| {
        let question = format!("And at the second write? ({}; × of {bind})", size(view.large()));
        Row::of(results, question, &on_volume(results, &view, (view.shallow(), view.large())), longer)
    });
    first.into_iter().chain(again).collect()
}

/// What every reader of a file pays after the first one: opening it is a request to whoever serves it, or none.
fn reading(results: &ResultSet, store: &str) -> Option<Row> {
    let view = View::of(results, store, ProbeName::Read, &metric::READ_AGAIN_NS.name, None)?;
    let (bind, at) = (results.baseline()?, (view.shallow(), view.small()));
    view.at(bind, at.0, at.1)?;
    let question = format!(
        "Does opening and reading a file once more take longer than on a volume? ({}; × of {bind})",
        size(at.1)
    );
    Row::of(results, question, &on_volume(results, &view, at), longer)
}

/// What a volume would save on work that keeps writing, when nothing has to be copied any more.
fn writing(results: &ResultSet, store: &str) -> Vec<Row> {
    let (Some(bind), Some(usual)) =
        (results.baseline(), View::of(results, store, ProbeName::Write, &metric::OVERWRITE_NS.name, None))
    else {
        return Vec::new();
    };
    let never = waiting(results, Waits::Never);
    let durable = View::durable(results, store, ProbeName::Write, &metric::OVERWRITE_DURABLE_NS);
    let usual_question = format!(
        "Does a write in place take longer than on a volume? (4 KiB of a file of {}, copied up before; × of {bind})",
        size(usual.large())
    );
    let durable_question = format!("And with the fdatasync that makes it durable? (× of {bind})");
    let rows = [(Some(usual), usual_question, &[][..]), (durable, durable_question, &never[..])];
    let row = |(view, question, left_out): (Option<View>, String, &[&str])| {
        let view = view?;
        let at = (view.deep(), view.large());
        view.at(bind, at.0, at.1)?;
        let mut figures = on_volume(results, &view, at);
        figures.retain(|(driver, ..)| !left_out.contains(driver));
        Row::of(results, question, &figures, longer)
    };
    rows.into_iter().filter_map(row).collect()
}
