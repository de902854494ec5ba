//! The page in a few sentences, for someone who runs containers. Each sentence is made from figures; what was not measured is said to
//! be not measured, all of it in one sentence behind the others.

use super::jobs::{against_volume, ratio_alone};
use crate::analysis::{
    Comparison, Difference, ImageView, JobView, Operation, PageView, ParallelView, ResultSet, View, compare, human,
};
use crate::chart::{self, change, each};
use crate::record::{Metric, metric};
use crate::workload::{CacheState, ProbeName};

/// The sentences by store; without a store when nothing was measured in any.
pub(super) fn sentences(results: &ResultSet) -> Vec<(Option<&str>, Vec<String>)> {
    if results.groups.iter().all(|group| group.metrics.is_empty()) {
        return vec![(None, vec!["Nothing was measured in this run.".to_owned()])];
    }
    results.stores.iter().map(|store| (Some(store.as_str()), of_store(results, store))).collect()
}

fn of_store(results: &ResultSet, store: &str) -> Vec<String> {
    let writes = View::first_write(results, store);
    let mut said: Vec<String> = writes
        .iter()
        .flat_map(|view| [first_write(results, view), by_size(results, view), by_depth(results, view)])
        .collect();
    let mut unsaid = Vec::new();
    if writes.is_none() {
        unsaid.push("what the first write to a file of a lower layer costs");
    }
    for (subject, sentence) in [
        ("whether containers share the page cache", page_cache(results, store)),
        ("what a look-up costs through many layers", lookup(results, store)),
        ("what a volume would save on writes", volume(results, store, writes.as_ref())),
    ] {
        match sentence {
            Some(sentence) => said.push(sentence),
            None => unsaid.push(subject),
        }
    }
    said.extend(jobs(results, store));
    said.extend(parallel(results, store));
    let images = images(results, store);
    // An image's own files are neither below a known depth nor of a known size.
    let place = if images.is_empty() { "" } else { " on stacks of known depth and size" };
    said.extend(images);
    if !unsaid.is_empty() {
        said.push(format!("Not measured{place}: {}.", human::list(&unsaid)));
    }
    said
}

/// The drivers of a view that are not the control.
fn drivers<'a>(results: &ResultSet, view: &View<'a>) -> Vec<&'a str> {
    view.drivers.iter().copied().filter(|driver| !results.is_baseline(driver)).collect()
}

fn layers(depth: u32) -> String {
    human::count(depth, "layer")
}

fn size(bytes: u64) -> String {
    human::bytes(bytes as f64)
}

fn first_write(results: &ResultSet, view: &View) -> String {
    let (depth, bytes) = (view.shallow(), view.small());
    let values: Vec<_> =
        drivers(results, view).into_iter().filter_map(|d| Some((d, view.at(d, depth, bytes)?.p50()))).collect();
    let control = results
        .baseline()
        .and_then(|bind| Some((bind, view.at(bind, depth, bytes)?)))
        .map(|(bind, data)| format!("; on {bind}, which is what a volume is, {}", human::ns(data.p50())))
        .unwrap_or_else(|| "; on a volume it was not measured".to_owned());
    let subject = format!("The first write to a file of {} in a stack of {}", size(bytes), layers(depth));
    if values.is_empty() {
        return format!("{subject} was measured with no driver{control}.");
    }
    format!("{subject} takes {}{control} (medians).", each(&values, human::ns))
}

fn by_size(results: &ResultSet, view: &View) -> String {
    let (small, large, depth) = (view.small(), view.large(), view.shallow());
    if small == large {
        return format!("Only files of {} were measured, so how it grows with size is not measured.", size(small));
    }
    let at = |driver, size| view.at(driver, depth, size);
    let items: Vec<_> = drivers(results, view)
        .into_iter()
        .map(|driver| (driver, at(driver, large).zip(at(driver, small)).and_then(|(l, s)| compare(l, s))))
        .collect();
    let values: Vec<_> = items.iter().filter_map(|(d, _)| Some((*d, at(d, large)?.p50()))).collect();
    let takes = match values.is_empty() {
        true => String::new(),
        false => format!("a file of {} takes {}; ", size(large), each(&values, human::ns)),
    };
    format!("Size: {takes}one of {} instead of {} {}.", size(large), size(small), change(&items))
}

fn by_depth(results: &ResultSet, view: &View) -> String {
    let (shallow, deep, small) = (view.shallow(), view.deep(), view.small());
    if shallow == deep {
        return format!("Only stacks of {} were measured, so how it grows with depth is not measured.", layers(deep));
    }
    let at = |driver, depth| view.at(driver, depth, small);
    let items: Vec<_> = drivers(results, view)
        .into_iter()
        .map(|driver| (driver, at(driver, deep).zip(at(driver, shallow)).and_then(|(d, s)| compare(d, s))))
        .collect();
    let values: Vec<_> = items.iter().filter_map(|(d, _)| Some((*d, at(d, deep)?.p50()))).collect();
    let takes = match values.is_empty() {
        true => String::new(),
        false => format!("a file of {} below {} takes {}; ", size(small), layers(deep), each(&values, human::ns)),
    };
    format!("Depth: {takes}{} instead of {shallow} {}.", layers(deep), change(&items))
}

fn page_cache(results: &ResultSet, store: &str) -> Option<String> {
    let view = PageView::of(results, store)?;
    let Some(n) = view.containers.last().copied().filter(|n| *n > 1) else {
        return Some("Whether containers share the page cache was not measured: only one container read.".to_owned());
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
    Some(chart::copies(n, &copies))
}

fn lookup(results: &ResultSet, store: &str) -> Option<String> {
    // The coldest state that was measured: a name that is cached costs the same through any stack.
    let coldest = |metric: &Metric| {
        let states = [CacheState::Cold, CacheState::Fresh, CacheState::Warm].into_iter();
        states.into_iter().find_map(|c| View::of(results, store, ProbeName::Lookup, &metric.name, Some(c)))
    };
    let first = coldest(&metric::LOOKUP_FIRST_NS).map(|view| {
        let subject = format!("The first look-up in a directory ({} caches)", view.cache.as_str());
        through_layers(results, &view, &subject)
    });
    let next = coldest(&metric::LOOKUP_HIT_NS).map(|view| match first {
        Some(_) => through_layers(results, &view, "Looking up the next name there"),
        None => through_layers(results, &view, &format!("Looking up a name ({} caches)", view.cache.as_str())),
    });
    let said: Vec<String> = first.into_iter().chain(next).collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// What a look-up takes through the deepest stack, and what depth does to it.
fn through_layers(results: &ResultSet, view: &View, subject: &str) -> String {
    let (shallow, deep, bytes) = (view.shallow(), view.deep(), view.small());
    let drivers = drivers(results, view);
    let values: Vec<_> = drivers.iter().filter_map(|d| Some((*d, view.at(d, deep, bytes)?.p50()))).collect();
    let subject = format!("{subject} through {}", layers(deep));
    if values.is_empty() {
        return format!("{subject} was measured with no driver.");
    }
    let takes = format!("{subject} takes {}", each(&values, human::ns));
    if shallow == deep {
        return format!("{takes}; other depths were not measured.");
    }
    let items: Vec<_> = drivers
        .iter()
        .map(|d| (*d, view.at(d, deep, bytes).zip(view.at(d, shallow, bytes)).and_then(|(a, b)| compare(a, b))))
        .collect();
    format!("{takes}; that many instead of {shallow} {}.", change(&items))
}

fn volume(results: &ResultSet, store: &str, writes: Option<&View>) -> Option<String> {
    let (view, bind) = (writes?, results.baseline()?);
    let (depth, large) = (view.shallow(), view.large());
    let base = view.at(bind, depth, large)?;
    let compared: Vec<_> = drivers(results, view)
        .into_iter()
        .filter_map(|driver| Some((driver, compare(view.at(driver, depth, large)?, base)?)))
        .collect();
    let slower: Vec<(&str, f64)> =
        compared.iter().filter(|(_, c)| c.difference == Difference::Higher).map(|(d, c)| (*d, c.ratio)).collect();
    if compared.is_empty() {
        return None;
    }
    let bytes = size(large);
    if slower.is_empty() {
        // "Not slower" has to have been found; few blocks find nothing.
        if compared.iter().any(|(_, c)| c.difference == Difference::Unknown) {
            return Some(format!(
                "There are too few blocks to say what a volume would save on the first write to a file of {bytes}."
            ));
        }
        return Some(format!(
            "These figures give no reason for a volume: the first write to a file of {bytes} is not slower than on {bind}."
        ));
    }
    let again = View::of(results, store, ProbeName::CopyUp, &metric::SECOND_WRITE_NS.name, None);
    let again: Vec<_> = again
        .iter()
        .flat_map(|view| {
            let at = |driver| view.at(driver, view.shallow(), view.large());
            let compared = drivers(results, view).into_iter().map(move |d| (d, at(d)));
            compared.map(|(d, subject)| (d, subject.zip(at(bind)).and_then(|(s, b)| compare(s, b)))).collect::<Vec<_>>()
        })
        .collect();
    let second = if again.is_empty() {
        "The second write to the same file was not measured".to_owned()
    } else {
        format!("For the second write to the same file a driver instead of {bind} {}", change(&again))
    };
    let files = if view.small() == large { "files" } else { "large files" };
    Some(format!(
        "Better put in a volume: {files} that are written to; the first write to one of {bytes} costs, against {bind}, {}. {second}.",
        each(&slower, human::ratio)
    ))
}

/// The least and the most of some ratios by driver, each with what stands behind it: `overlay2 ≈1.02× (tar) to 9.68× (chown)`. `None` without any.
fn spans<'a>(results: &'a ResultSet, ratios: impl Fn(&'a str) -> Vec<(String, Comparison)>) -> Option<String> {
    let of = |driver: &'a str| {
        let ratios = ratios(driver);
        let by = |a: &&(String, Comparison), b: &&(String, Comparison)| a.1.ratio.total_cmp(&b.1.ratio);
        let (least, most) = (ratios.iter().min_by(by)?, ratios.iter().max_by(by)?);
        let words = |(behind, comparison): &(String, Comparison)| format!("{}{behind}", ratio_alone(comparison));
        Some(match ratios.len() {
            1 => format!("{driver} {}", words(least)),
            _ => format!("{driver} {} to {}", words(least), words(most)),
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

fn jobs(results: &ResultSet, store: &str) -> Option<String> {
    let view = JobView::of(results, store)?;
    let spans = spans_of(results, view.jobs.iter().map(|(_, operation)| operation))?;
    Some(format!("Whole programs against the same on a volume, the least and the most: {spans}."))
}

fn parallel(results: &ResultSet, store: &str) -> Option<String> {
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
    Some(format!("The same work by {most} processes instead of one takes, over all that was done: {spans}."))
}

fn images(results: &ResultSet, store: &str) -> Vec<String> {
    let say = |view: &ImageView| {
        let spans = spans_of(results, view.whole_times())?;
        Some(format!("{} against a volume that holds a copy of it, the least and the most: {spans}.", view.name))
    };
    ImageView::all(results, store).iter().filter_map(say).collect()
}
