//! What a figure holds fixed, and how its lines come from groups.

use std::collections::BTreeSet;

use crate::analysis::{Group, ResultSet, Summary};
use crate::workload::Params;

use super::draw::Line;
use super::text::csv_field;

/// A figure's file name: with the store's label when a run has several.
pub(super) fn figure_name(chart: &str, data: &ResultSet, metric: &str, store: &str) -> String {
    if data.stores(metric).len() < 2 {
        return chart.to_owned();
    }
    let safe: String = store.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("{chart}-{safe}")
}

/// `, store ssd` where a run has several.
pub(super) fn store_words(data: &ResultSet, metric: &str, store: &str) -> String {
    if data.stores(metric).len() < 2 { String::new() } else { format!(", store {store}") }
}

/// Groups of a metric in a store that a condition holds for.
pub(super) fn pick<'a>(
    data: &'a ResultSet,
    metric: &str,
    store: &str,
    keep: impl Fn(&Params) -> bool,
) -> Vec<&'a Group> {
    data.groups(metric).iter().filter(|group| group.key.store == store && keep(&group.key.params)).collect()
}

/// Groups whose target lies in the base, unless the metric was never measured so.
pub(super) fn at_the_base<'a>(groups: Vec<&'a Group>) -> Vec<&'a Group> {
    let base: Vec<&Group> =
        groups.iter().copied().filter(|group| group.key.params.target_layer == group.key.params.depth).collect();
    if base.is_empty() { groups } else { base }
}

/// Values of an axis over picked groups, sorted, each once.
pub(super) fn values<T: Ord>(groups: &[&Group], of: impl Fn(&Params) -> T) -> Vec<T> {
    groups.iter().map(|group| of(&group.key.params)).collect::<BTreeSet<T>>().into_iter().collect()
}

/// A line for each driver: median over an axis, with the band from the 10th to the 90th percentile.
pub(super) fn lines(data: &ResultSet, groups: &[&Group], x: impl Fn(&Params) -> f64) -> Vec<Line> {
    let mut found = Vec::new();
    for (style, driver) in data.drivers().iter().enumerate() {
        let mut points: Vec<(f64, Summary)> = groups
            .iter()
            .filter(|group| group.key.driver == *driver)
            .filter_map(|group| Some((x(&group.key.params), group.summary()?)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if points.is_empty() {
            continue;
        }
        found.push(Line {
            label: driver.clone(),
            style,
            band: points.iter().map(|(at, s)| (*at, s.p10, s.p90)).collect(),
            points: points.iter().map(|(at, s)| (*at, s.p50)).collect(),
            markers: true,
        });
    }
    found
}

/// Head of the tables that hold summaries.
pub(super) const SUMMARY_HEAD: &str = "metric,store,driver,depth,target_layer,file_size_bytes,files,cache,containers,rounds,samples,p10,p50,p50_low,p50_high,p90,p99,min,max\n";

/// A row of a table of summaries.
pub(super) fn summary_row(metric: &str, group: &Group) -> String {
    let Some(s) = group.summary() else { return String::new() };
    let (key, p) = (&group.key, &group.key.params);
    format!(
        "{metric},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
        csv_field(&key.store),
        csv_field(&key.driver),
        p.depth,
        p.target_layer,
        p.file_size_bytes,
        p.files,
        p.cache.as_str(),
        p.containers,
        s.rounds,
        s.samples,
        s.p10,
        s.p50,
        s.interval.low,
        s.interval.high,
        s.p90,
        s.p99,
        s.min,
        s.max
    )
}

/// A table of summaries.
pub(super) fn summaries(metric: &str, groups: &[&Group]) -> String {
    groups.iter().fold(SUMMARY_HEAD.to_owned(), |table, group| table + &summary_row(metric, group))
}

/// Median of a driver among groups that a condition holds for.
pub(super) fn median(groups: &[&Group], driver: &str, keep: impl Fn(&Params) -> bool) -> Option<f64> {
    groups.iter().find(|g| g.key.driver == driver && keep(&g.key.params)).and_then(|g| g.summary()).map(|s| s.p50)
}
