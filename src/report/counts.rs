//! Rows in short that count: of many things, whole programs, shapes of files, operations on an image, how many were found slower, and how many faster.

use std::collections::BTreeSet;

use super::headline::{ALIKE, Row};
use super::jobs::against_volume;
use super::page::plain;
use crate::analysis::{Comparison, Difference, ImageView, JobView, Operation, ParallelView, ResultSet, compare, human};

/// How many things were found slower and how many faster, by driver, with the largest ratio and the smallest. `None` without any ratio.
pub(super) fn counts<'a>(
    results: &'a ResultSet,
    question: String,
    ratios: impl Fn(&'a str) -> Vec<(String, Comparison)>,
) -> Option<Row> {
    let all = results.drivers.iter().map(|driver| (driver.label.as_str(), ratios(&driver.label)));
    let all: Vec<(&str, Vec<(String, Comparison)>)> = all.filter(|(_, ratios)| !ratios.is_empty()).collect();
    let most = all.iter().map(|(_, ratios)| ratios.len()).max()?;
    let is = |wanted| move |(_, c): &&(String, Comparison)| c.difference == wanted;
    let cell = |(driver, ratios): &(&str, Vec<(String, Comparison)>)| {
        let of = |wanted, word, furthest: fn(f64, f64) -> f64| {
            let found = ratios.iter().filter(is(wanted)).map(|(_, c)| c.ratio);
            let ratio = human::ratio(found.clone().reduce(furthest)?);
            Some(format!("{} {word}, to {ratio}", found.count()))
        };
        let (slower, faster) = (of(Difference::Higher, "slower", f64::max), of(Difference::Lower, "faster", f64::min));
        let not = ratios.iter().filter(|(_, c)| !c.difference.is_found()).count();
        let not = (not > 0).then(|| format!("{not} {ALIKE}"));
        let parts: Vec<String> = [slower, faster, not].into_iter().flatten().collect();
        ((*driver).to_owned(), plain(parts.join("; ")))
    };
    let found = |wanted| all.iter().flat_map(|(_, ratios)| ratios).filter(is(wanted));
    let count = |wanted| found(wanted).map(|(what, _)| what).collect::<BTreeSet<_>>().len();
    let slowest = found(Difference::Higher).max_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio));
    let slowest = slowest.map(|(what, _)| format!(" Slowest: {what}.")).unwrap_or_default();
    let answer = format!(
        "Of {most}, with one driver or more, {} found slower and {} faster.{slowest}",
        count(Difference::Higher),
        count(Difference::Lower)
    );
    Some(Row { question, answer, cells: all.iter().map(cell).collect(), compared: 0 })
}

/// As [`counts`], of operations against the same on a volume.
fn on_volume_counts<'a>(
    results: &'a ResultSet,
    question: String,
    operations: impl Iterator<Item = &'a Operation<'a>> + Clone,
) -> Option<Row> {
    counts(results, question, |driver| {
        let ratio = |o: &Operation| Some((o.label.clone(), against_volume(results, o, driver)?));
        operations.clone().filter_map(ratio).collect()
    })
}

pub(super) fn jobs(results: &ResultSet, store: &str) -> Option<Row> {
    let view = JobView::of(results, store)?;
    let question = "Do whole programs take longer than on a volume?".to_owned();
    on_volume_counts(results, question, view.jobs.iter().map(|(_, operation)| operation))
}

pub(super) fn parallel(results: &ResultSet, store: &str) -> Option<Row> {
    let views = ParallelView::all(results, store);
    let most = views.iter().filter_map(|view| view.points.last()).map(|(count, _)| *count).max()?;
    counts(results, format!("Does the same work take longer by {most} processes than by one?"), |driver| {
        let of = |view: &ParallelView| {
            let (_, many) = view.points.last().filter(|(count, _)| *count == most)?;
            Some((view.label.clone(), compare(many.of(driver)?, view.alone()?.of(driver)?)?))
        };
        views.iter().filter_map(of).collect()
    })
}

pub(super) fn images(results: &ResultSet, store: &str) -> Vec<Row> {
    let say = |view: &ImageView| {
        let question = format!("Does {} take longer than a volume that holds a copy of it?", view.name);
        on_volume_counts(results, question, view.whole_times())
    };
    ImageView::all(results, store).iter().filter_map(say).collect()
}
