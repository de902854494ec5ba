//! The page in a few rows, for someone who runs containers: a question, its answer, the figures behind it, and where there is more. Each is made from
//! figures; what was not measured is said to be not measured, all of it in one row behind the others.

use super::jobs::against_volume;
use super::page::{Span, Spans, plain};
use crate::analysis::{
    Comparison, Data, Difference, ImageView, JobView, Operation, PageView, ParallelView, ResultSet, View, compare,
    human,
};
use crate::chart::{self, each};
use crate::record::{DriverInfo, Metric, Waits, metric};
use crate::workload::{CacheState, ProbeName};

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    question: String,
    answer: String,
    /// The figures behind the answer.
    figures: String,
    /// The section or figure of the page that has more.
    place: &'static str,
}

impl Row {
    fn of(
        question: impl Into<String>,
        answer: impl Into<String>,
        figures: impl Into<String>,
        place: &'static str,
    ) -> Row {
        Row { question: question.into(), answer: answer.into(), figures: figures.into(), place }
    }

    /// The row of the table.
    pub(super) fn cells(self) -> Vec<Spans> {
        vec![plain(self.question), vec![Span::Strong(self.answer)], plain(self.figures), plain(self.place)]
    }

    /// The same for a terminal.
    pub(super) fn sentence(&self) -> String {
        let figures = if self.figures.is_empty() { String::new() } else { format!(" ({})", self.figures) };
        format!("{} {}{figures}", self.question, self.answer)
    }
}

/// The rows under their heading: of several stores first what they differ by, then each by itself; of one store, and where nothing was measured in any,
/// there is no heading.
pub(super) fn rows(results: &ResultSet) -> Vec<(Option<String>, Vec<Row>)> {
    if results.groups.iter().all(|group| group.metrics.is_empty()) {
        return vec![(None, vec![Row::of("What was found?", "Nothing was measured in this run.", "", "")])];
    }
    let heading = |store: &String| results.several_stores().then(|| format!("Store {store}"));
    let each = results.stores.iter().map(|store| (heading(store), of_store(results, store)));
    let across = across_stores(results);
    let across = (!across.is_empty()).then(|| (Some(STORES.to_owned()), across));
    across.into_iter().chain(each).collect()
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
        let against = |driver: &str, job: &(_, Operation)| {
            let (_, there) = of_base.jobs.iter().find(|(name, _)| *name == job.0)?;
            compare(job.1.of(driver)?, there.of(driver)?)
        };
        let is_found = |job: &&(_, Operation), wanted: Difference| {
            let found = |d: &DriverInfo| against(&d.label, job).is_some_and(|c| c.difference == wanted);
            results.drivers.iter().any(found)
        };
        let n = |wanted| view.jobs.iter().filter(|job| is_found(job, wanted)).count();
        let answer = format!(
            "Of {}, with one driver or more, {} found slower there and {} faster.",
            human::count(view.jobs.len() as u64, "job"),
            n(Difference::Higher),
            n(Difference::Lower)
        );
        let ratios = |driver: &str| {
            let ratio = |job: &(_, Operation)| Some((format!(" ({})", job.1.label), against(driver, job)?));
            view.jobs.iter().filter_map(ratio).collect()
        };
        let figures = format!("The least and the most: {}", spans(results, ratios)?);
        Some(Row::of(format!("Does a whole program take longer on {store} than on {base}?"), answer, figures, STORES))
    });
    written.chain(durable).chain(jobs).collect()
}

/// Title of the section that compares stores.
pub(super) const STORES: &str = "Stores against each other";

/// Writes to the smallest and to the largest file of a store against the same of another one.
fn written_elsewhere(
    results: &ResultSet,
    what: &str,
    (store, view): (&str, &View),
    (base, of_base): (&str, &View),
) -> Row {
    let depth = view.shallow();
    let sizes = view.small_and_large();
    let (mut answers, mut figures) = (Vec::new(), Vec::new());
    for bytes in sizes {
        let drivers = view.layered(results);
        let compared = |driver| compare(view.at(driver, depth, bytes)?, of_base.at(driver, depth, bytes)?);
        let items: Vec<_> = drivers.iter().map(|driver| (*driver, compared(*driver))).collect();
        answers.push(format!("{}: {}", size(bytes), longer(&items)));
        let both = |driver: &&str| {
            let (here, there) = (view.at(driver, depth, bytes)?, of_base.at(driver, depth, bytes)?);
            Some(format!("{driver} {} against {}", human::ns(here.p50()), human::ns(there.p50())))
        };
        let both: Vec<String> = drivers.iter().filter_map(both).collect();
        figures.push(format!("{}: {}", size(bytes), human::list(&both)));
    }
    let question = format!("Does {what} take longer on {store} than on {base} ({})?", layers(depth));
    Row::of(question, answers.join(" "), figures.join(". "), STORES)
}

/// Labels of drivers that were measured, by when what they wrote is on the disk.
fn waiting(results: &ResultSet, when: Waits) -> Vec<&str> {
    let measured = |label: &str| results.groups.iter().any(|g| g.key.driver == label && !g.metrics.is_empty());
    let drivers = results.drivers.iter().filter(|driver| driver.waits() == when && measured(&driver.label));
    drivers.map(|driver| driver.label.as_str()).filter(|label| !results.is_baseline(label)).collect()
}

/// What a reader has to know before a driver is compared with another: when what it wrote is on the disk. Nothing where all are alike.
pub(super) fn durability(results: &ResultSet) -> Option<String> {
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
        said.push(format!("{}: it waits only when the program asks, with fsync", human::list(&asked)));
    }
    if !never.is_empty() {
        said.push(format!(
            "{}: with `volatile` nothing waits, not even fsync, and after a crash of the machine the container is lost",
            human::list(&never)
        ));
    }
    (said.len() > 1).then(|| {
        format!(
            "Drivers differ in what a crash of the machine may take. {}. Like is compared with like first.",
            said.join(". ")
        )
    })
}

fn of_store(results: &ResultSet, store: &str) -> Vec<Row> {
    let writes = View::first_write(results, store);
    let mut said: Vec<Row> = Vec::new();
    if let Some(view) = &writes {
        said.push(first_write(results, view));
        said.extend(durable(results, store));
        said.extend([by_size(results, view), by_depth(results, view)]);
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
    said.extend(jobs(results, store));
    said.extend(parallel(results, store));
    let images = images(results, store);
    // An image's own files are neither below a known depth nor of a known size.
    let place = if images.is_empty() { "" } else { " on stacks of known depth and size" };
    said.extend(images);
    if !unsaid.is_empty() {
        said.push(Row::of("What is missing?", format!("Not measured{place}: {}.", human::list(&unsaid)), "", ""));
    }
    said
}

fn layers(depth: u32) -> String {
    human::count(depth, "layer")
}

fn size(bytes: u64) -> String {
    human::bytes(bytes as f64)
}

/// `33.8 µs with a and 73.6 µs with b`; then, behind a semicolon, those that wait for the disk: `waiting for the disk, 179 µs with c`.
fn alike(results: &ResultSet, values: &[(&str, f64)]) -> String {
    let waits = waiting(results, Waits::AtCopyUp);
    let of = |wanted: bool| -> Vec<(&str, f64)> {
        values.iter().copied().filter(|(driver, _)| waits.contains(driver) == wanted).collect()
    };
    let (quick, slow) = (of(false), of(true));
    match (quick.is_empty(), slow.is_empty()) {
        (_, true) => each(&quick, human::ns),
        (true, false) => format!("waiting for the disk, {}", each(&slow, human::ns)),
        (false, false) => format!("{}; waiting for the disk, {}", each(&quick, human::ns), each(&slow, human::ns)),
    }
}

fn first_write(results: &ResultSet, view: &View) -> Row {
    let (depth, bytes) = (view.shallow(), view.small());
    let at = |driver| view.at(driver, depth, bytes);
    let values: Vec<_> = view.layered(results).into_iter().filter_map(|d| Some((d, at(d)?.p50()))).collect();
    let control = results.baseline().and_then(|bind| Some((bind, at(bind)?)));
    let question = format!("What does the first write to a small file cost ({}, {})?", size(bytes), layers(depth));
    if values.is_empty() {
        return Row::of(question, "It was measured with no driver.", "", "Key figures");
    }
    let Some((bind, base)) = control else {
        return Row::of(
            question,
            "A copy of the file; on a volume it was not measured.",
            alike(results, &values),
            "Key figures",
        );
    };
    let ratios: Vec<f64> = values.iter().filter_map(|(d, _)| Some(compare(at(d)?, base)?.ratio)).collect();
    let answer = match range(&ratios) {
        Some(times) => format!("The file is copied first, and that takes {times} of what a write on a volume takes."),
        None => "The file is copied first.".to_owned(),
    };
    let figures =
        format!("{}; on {bind}, which is what a volume is, {}", alike(results, &values), human::ns(base.p50()));
    Row::of(question, answer, figures, "Key figures")
}

/// `2×`, or `9.2× to 49×`.
fn range(ratios: &[f64]) -> Option<String> {
    let (low, high) = (ratios.iter().copied().reduce(f64::min)?, ratios.iter().copied().reduce(f64::max)?);
    let (low, high) = (human::ratio(low), human::ratio(high));
    Some(if low == high { low } else { format!("{low} to {high}") })
}

/// The same write until it is on the disk, which is where drivers that wait and drivers that do not are alike. Those that never wait are not asked.
fn durable(results: &ResultSet, store: &str) -> Option<Row> {
    let never = waiting(results, Waits::Never);
    let view = View::durable_write(results, store)?;
    let (small, large) = (view.small(), view.large());
    let at = |bytes: u64| -> Vec<(&str, &Data)> {
        let asked = view.layered(results).into_iter().filter(|driver| !never.contains(driver));
        asked.filter_map(|driver| Some((driver, view.at(driver, view.shallow(), bytes)?))).collect()
    };
    let words = |bytes: u64| {
        let values: Vec<(&str, f64)> = at(bytes).iter().map(|(driver, data)| (*driver, data.p50())).collect();
        format!("{}: {}", size(bytes), each(&values, human::ns))
    };
    let figures = if small == large { words(small) } else { format!("{}. {}", words(small), words(large)) };
    // Against the one that waits anyway, where there is one: what not waiting is worth once a program asks for it.
    let base = waiting(results, Waits::AtCopyUp).into_iter().next()?;
    let against = |bytes: u64| {
        let here = at(bytes);
        let (_, base_data) = here.iter().find(|(driver, _)| *driver == base)?;
        let ratios: Vec<f64> = here
            .iter()
            .filter(|(d, _)| *d != base)
            .filter_map(|(_, data)| Some(compare(data, base_data)?.ratio))
            .collect();
        Some(format!("{} of {base} at {}", range(&ratios)?, size(bytes)))
    };
    let compared: Vec<String> =
        if small == large { vec![against(small)?] } else { vec![against(small)?, against(large)?] };
    Some(Row::of(
        "And until it is on the disk (fsync)?",
        format!("Then all wait: the others take {}.", human::list(&compared)),
        figures,
        "Cost model",
    ))
}

/// The answer to "does it take longer?": `Yes, 1.42× with a. Not shown with b and c.`
fn longer(items: &[(&str, Option<Comparison>)]) -> String {
    let of = |wanted: fn(Difference) -> bool| -> Vec<(&str, f64)> {
        items.iter().filter_map(|(d, c)| c.filter(|c| wanted(c.difference)).map(|c| (*d, c.ratio))).collect()
    };
    let names = |items: &[(&str, f64)]| human::list(&items.iter().map(|(driver, _)| *driver).collect::<Vec<_>>());
    let mut said = Vec::new();
    let (higher, lower) = (of(|d| d == Difference::Higher), of(|d| d == Difference::Lower));
    if !higher.is_empty() {
        said.push(format!("Yes, {}.", each(&higher, human::ratio)));
    }
    if !lower.is_empty() {
        said.push(format!("It takes less, {}.", each(&lower, human::ratio)));
    }
    let not = of(|d| matches!(d, Difference::WithinInterval | Difference::WithinNoise));
    match not.len() {
        0 => {}
        _ if said.is_empty() && not.len() == items.len() => said.push("No difference shows.".to_owned()),
        _ => said.push(format!("No difference shows with {}.", names(&not))),
    }
    let unknown = of(|d| d == Difference::Unknown);
    if !unknown.is_empty() {
        said.push(format!("There are too few blocks to say with {}.", names(&unknown)));
    }
    if said.is_empty() { "It was not compared.".to_owned() } else { said.join(" ") }
}

fn by_size(results: &ResultSet, view: &View) -> Row {
    let (small, large, depth) = (view.small(), view.large(), view.shallow());
    let question = "Does it take longer for a large file?";
    if small == large {
        let answer = format!("Only files of {} were measured, so how it grows with size is not measured.", size(small));
        return Row::of(question, answer, "", "");
    }
    let at = |driver, size| view.at(driver, depth, size);
    let items: Vec<_> = view
        .layered(results)
        .into_iter()
        .map(|driver| (driver, at(driver, large).zip(at(driver, small)).and_then(|(l, s)| compare(l, s))))
        .collect();
    let values: Vec<_> = items.iter().filter_map(|(d, _)| Some((*d, at(d, large)?.p50()))).collect();
    let figures = format!("{} instead of {}: {}", size(large), size(small), alike(results, &values));
    Row::of(question, longer(&items), figures, "First write against file size")
}

fn by_depth(results: &ResultSet, view: &View) -> Row {
    let (shallow, deep) = (view.shallow(), view.deep());
    let question = "Does it take longer below many layers?";
    if shallow == deep {
        let answer =
            format!("Only stacks of {} were measured, so how it grows with depth is not measured.", layers(deep));
        return Row::of(question, answer, "", "");
    }
    let sizes = view.small_and_large();
    let (mut answers, mut figures) = (Vec::new(), Vec::new());
    for bytes in sizes {
        let at = |driver, depth| view.at(driver, depth, bytes);
        let items: Vec<_> = view
            .layered(results)
            .into_iter()
            .map(|driver| (driver, at(driver, deep).zip(at(driver, shallow)).and_then(|(d, s)| compare(d, s))))
            .collect();
        let values: Vec<_> = items.iter().filter_map(|(d, _)| Some((*d, at(d, deep)?.p50()))).collect();
        answers.push(format!("{}: {}", size(bytes), longer(&items)));
        if !values.is_empty() {
            figures.push(format!("{}: {}", size(bytes), alike(results, &values)));
        }
    }
    let figures = format!("{deep} layers instead of {shallow}. {}", figures.join(". "));
    Row::of(question, answers.join(" "), figures, "First write against depth")
}

fn page_cache(results: &ResultSet, store: &str) -> Option<Row> {
    let question = "Do containers on one image share the page cache?";
    let view = PageView::of(results, store)?;
    let Some(n) = view.containers.last().copied().filter(|n| *n > 1) else {
        let answer = "Whether containers share the page cache was not measured: only one container read.";
        return Some(Row::of(question, answer, "", ""));
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
    Some(Row::of(question, chart::copies(n, &copies), "", "Resident memory against the number of containers"))
}

/// The first look-up in a directory and the next one, in the coldest state that was measured: a name that is cached costs the same through any
/// stack.
fn lookups(results: &ResultSet, store: &str) -> Vec<Row> {
    let coldest = |metric: &Metric| {
        let states = [CacheState::Cold, CacheState::Fresh, CacheState::Warm].into_iter();
        states.into_iter().find_map(|c| View::of(results, store, ProbeName::Lookup, &metric.name, Some(c)))
    };
    let first = coldest(&metric::LOOKUP_FIRST_NS);
    let what = if first.is_some() { "finding the next name there" } else { "finding a name" };
    let next = coldest(&metric::LOOKUP_HIT_NS);
    let first = first.map(|view| through_layers(results, &view, "the first look-up in a directory"));
    first.into_iter().chain(next.map(|view| through_layers(results, &view, what))).collect()
}

/// What a look-up takes through the deepest stack, and what depth does to it.
fn through_layers(results: &ResultSet, view: &View, what: &str) -> Row {
    let (shallow, deep, bytes) = (view.shallow(), view.deep(), view.small());
    let drivers = view.layered(results);
    let values: Vec<_> = drivers.iter().filter_map(|d| Some((*d, view.at(d, deep, bytes)?.p50()))).collect();
    let question = format!("Does {what} take longer through many layers ({} caches)?", view.cache.as_str());
    let place = "Look-up against depth";
    if values.is_empty() {
        return Row::of(question, "It was measured with no driver.", "", place);
    }
    let figures = format!("{}: {}", layers(deep), each(&values, human::ns));
    if shallow == deep {
        return Row::of(question, "Other depths were not measured.", figures, place);
    }
    let items: Vec<_> = drivers
        .iter()
        .map(|d| (*d, view.at(d, deep, bytes).zip(view.at(d, shallow, bytes)).and_then(|(a, b)| compare(a, b))))
        .collect();
    Row::of(question, longer(&items), format!("{figures}; against {shallow}"), place)
}

fn volume(results: &ResultSet, store: &str, writes: Option<&View>) -> Option<Row> {
    let (view, bind) = (writes?, results.baseline()?);
    let (depth, large) = (view.shallow(), view.large());
    let base = view.at(bind, depth, large)?;
    let compared: Vec<_> = view
        .layered(results)
        .into_iter()
        .filter_map(|driver| Some((driver, compare(view.at(driver, depth, large)?, base)?)))
        .collect();
    let slower: Vec<(&str, f64)> =
        compared.iter().filter(|(_, c)| c.difference == Difference::Higher).map(|(d, c)| (*d, c.ratio)).collect();
    if compared.is_empty() {
        return None;
    }
    let bytes = size(large);
    let (question, place) = ("What belongs in a volume?", "The tax over a bind mount");
    if slower.is_empty() {
        // "Not slower" has to have been found; few blocks find nothing.
        let answer = if compared.iter().any(|(_, c)| c.difference == Difference::Unknown) {
            format!("There are too few blocks to say what a volume would save on the first write to a file of {bytes}.")
        } else {
            format!("No reason for one shows: the first write to a file of {bytes} is not found slower than on {bind}.")
        };
        return Some(Row::of(question, answer, "", place));
    }
    let files = if view.small() == large { "Files" } else { "Large files" };
    let ratios: Vec<f64> = slower.iter().map(|(_, ratio)| *ratio).collect();
    let times = range(&ratios).unwrap_or_default();
    let answer =
        format!("{files} that are written to: the first write to one of {bytes} takes {times} of what it takes there.");
    let again = View::of(results, store, ProbeName::CopyUp, &metric::SECOND_WRITE_NS.name, None);
    let again: Vec<(&str, Comparison)> = again
        .iter()
        .flat_map(|view| {
            let at = |driver| view.at(driver, view.shallow(), view.large());
            let compared = move |d| Some((d, compare(at(d)?, at(bind)?)?));
            view.layered(results).into_iter().filter_map(compared).collect::<Vec<_>>()
        })
        .collect();
    let (found, open): (Vec<_>, Vec<_>) = again.into_iter().partition(|(_, c)| c.difference.is_found());
    let found: Vec<(&str, f64)> = found.into_iter().map(|(driver, c)| (driver, c.ratio)).collect();
    let open: Vec<&str> = open.into_iter().map(|(driver, _)| driver).collect();
    let open = if open.is_empty() { String::new() } else { format!("not resolved with {}", human::list(&open)) };
    let second = match (found.is_empty(), open.is_empty()) {
        (true, true) => "the second write was not measured".to_owned(),
        (true, false) => format!("the second write, {open}"),
        (false, true) => format!("the second write, {}", each(&found, human::ratio)),
        (false, false) => format!("the second write, {}, {open}", each(&found, human::ratio)),
    };
    Some(Row::of(question, answer, format!("First write, {}; {second}", each(&slower, human::ratio)), place))
}

/// What a volume would save on work that keeps writing, when nothing has to be copied any more.
fn writing(results: &ResultSet, store: &str) -> Option<Row> {
    let bind = results.baseline()?;
    let usual = View::of(results, store, ProbeName::Write, &metric::OVERWRITE_NS.name, None)?;
    let durable = View::durable(results, store, ProbeName::Write, &metric::OVERWRITE_DURABLE_NS);
    let never = waiting(results, Waits::Never);
    let (mut answers, mut figures) = (Vec::new(), Vec::new());
    for (view, when, left_out) in [(Some(&usual), "", &[][..]), (durable.as_ref(), "Made durable: ", &never[..])] {
        let Some(view) = view else { continue };
        let at = |driver| view.at(driver, view.deep(), view.large());
        let Some(base) = at(bind) else { continue };
        let asked: Vec<&str> = view.layered(results).into_iter().filter(|driver| !left_out.contains(driver)).collect();
        let items: Vec<_> =
            asked.iter().map(|driver| (*driver, at(driver).and_then(|data| compare(data, base)))).collect();
        let values: Vec<_> = asked.iter().filter_map(|driver| Some((*driver, at(driver)?.p50()))).collect();
        answers.push(format!("{when}{}", longer(&items)));
        figures.push(format!("{when}{}; on {bind} {}", each(&values, human::ns), human::ns(base.p50())));
    }
    (!answers.is_empty()).then(|| {
        let question = format!(
            "And work that keeps writing: does a write of 4 KiB in place take longer than on a volume (files of {}, copied up before)?",
            size(usual.large())
        );
        Row::of(question, answers.join(" "), figures.join(". "), "Key figures")
    })
}

/// The least and the most of the ratios that were resolved, by driver, each with what stands behind it: `overlay2 0.45× (tar) to 9.68× (chown), 2 of 9
/// not resolved`. `None` without any ratio.
fn spans<'a>(results: &'a ResultSet, ratios: impl Fn(&'a str) -> Vec<(String, Comparison)>) -> Option<String> {
    let of = |driver: &'a str| {
        let all = ratios(driver);
        let found: Vec<&(String, Comparison)> = all.iter().filter(|(_, c)| c.difference.is_found()).collect();
        let by = |a: &&&(String, Comparison), b: &&&(String, Comparison)| a.1.ratio.total_cmp(&b.1.ratio);
        let words = |(behind, c): &(String, Comparison)| format!("{}{behind}", human::ratio(c.ratio));
        let unresolved = match all.len() - found.len() {
            0 => String::new(),
            n if n == all.len() => return (n > 0).then(|| format!("{driver} not resolved")),
            n => format!(", {n} of {} not resolved", all.len()),
        };
        let (least, most) = (found.iter().min_by(by)?, found.iter().max_by(by)?);
        Some(match found.len() {
            1 => format!("{driver} {}{unresolved}", words(least)),
            _ => format!("{driver} {} to {}{unresolved}", words(least), words(most)),
        })
    };
    let drivers: Vec<String> = results.drivers.iter().filter_map(|driver| of(&driver.label)).collect();
    (!drivers.is_empty()).then(|| drivers.join("; "))
}

/// As [`spans`], of operations against the same on a volume, each with its label.
fn spans_of<'a>(results: &ResultSet, operations: impl Iterator<Item = &'a Operation<'a>> + Clone) -> Option<String> {
    spans(results, |driver| {
        let ratio = |o: &Operation| Some((format!(" ({})", o.label), against_volume(results, o, driver)?));
        operations.clone().filter_map(ratio).collect()
    })
}

fn jobs(results: &ResultSet, store: &str) -> Option<Row> {
    let view = JobView::of(results, store)?;
    let spans = spans_of(results, view.jobs.iter().map(|(_, operation)| operation))?;
    let slowed = |(_, operation): &&(_, Operation)| {
        let higher = |d: &DriverInfo| {
            against_volume(results, operation, &d.label).is_some_and(|c| c.difference == Difference::Higher)
        };
        results.drivers.iter().any(higher)
    };
    let n = view.jobs.iter().filter(slowed).count();
    let answer = format!("Jobs found slower than on a volume, with one driver or more: {n} of {}.", view.jobs.len());
    let figures = format!("Against a volume, the least and the most: {spans}");
    Some(Row::of("What does a whole program notice?", answer, figures, "Jobs: layer against volume"))
}

fn parallel(results: &ResultSet, store: &str) -> Option<Row> {
    let views = ParallelView::all(results, store);
    let most = views.iter().filter_map(|view| view.points.last()).map(|(count, _)| *count).max()?;
    let ratios = |driver: &str| {
        let of = |view: &ParallelView| {
            let (_, many) = view.points.last().filter(|(count, _)| *count == most)?;
            compare(many.of(driver)?, view.alone()?.of(driver)?)
        };
        views.iter().filter_map(of).map(|comparison| (String::new(), comparison)).collect()
    };
    let spans = spans(results, ratios)?;
    Some(Row::of(
        format!("Does the same work take less by {most} processes instead of one?"),
        format!("Over all that was done: {spans}."),
        "",
        "In parallel",
    ))
}

fn images(results: &ResultSet, store: &str) -> Vec<Row> {
    let say = |view: &ImageView| {
        let spans = spans_of(results, view.whole_times())?;
        let question = format!("What does {} cost against a volume that holds a copy of it?", view.name);
        Some(Row::of(question, format!("The least and the most: {spans}."), "", "Images"))
    };
    ImageView::all(results, store).iter().filter_map(say).collect()
}
