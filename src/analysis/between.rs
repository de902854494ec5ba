//! One run against another: ratios B/A of what both measured, their geometric means, and what cannot be compared and why.
//!
//! The blocks of one run say nothing of those of the other, so nothing is paired: each run's replicates give the variance of its own
//! logarithms, and the two add up. What both runs share, such as the day, is in no interval: runs on one day each differ by what the
//! days differ by.
//!
//! Times of two machines differ by what the machines differ by. Related to one driver, each time is first divided by that driver's at the same point of
//! its own run, block by block: what a machine does to all of them is gone, and what is left is how the drivers compare.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::bootstrap::{Interval, Replicates, student_t};
use super::changed::{Change, OtherOptions, changes, other_options};
use super::compare::{Comparison, Difference};
use super::results::{Data, Group, GroupKey, ResultSet, Summary};
use crate::record::{Feature, Guest, RunManifest, Unit};

/// A run to be compared.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What the run was.
    pub manifest: &'a RunManifest,
    /// What it measured.
    pub results: &'a ResultSet,
}

/// What one run says of a point: a median, or that divided by the median of the driver that times are related to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// In the metric's unit; of a related time a ratio.
    pub value: f64,
    /// Its interval; `None` with fewer than two blocks.
    pub interval: Option<Interval>,
    /// Number of samples; of a related time those of its own driver.
    pub samples: usize,
    /// Number of blocks that gave samples.
    pub blocks: usize,
}

/// A figure and what its ratio to another run's takes.
struct Estimate<'a> {
    figure: Figure,
    /// What the same thing measured twice differs by in its run, as in [`Summary::noise`](super::Summary::noise).
    noise: Option<f64>,
    replicates: Option<Cow<'a, Replicates>>,
}

impl<'a> Estimate<'a> {
    fn of(data: &'a Data) -> Estimate<'a> {
        let Summary { p50: value, interval, n: samples, blocks, noise, .. } = data.summary;
        let replicates = data.replicates.as_ref().map(Cow::Borrowed);
        Estimate { figure: Figure { value, interval, samples, blocks }, noise, replicates }
    }

    /// Related to the base's; `None` when that has a median of 0.
    fn related(data: &Data, base: &Data) -> Option<Estimate<'a>> {
        let Comparison { ratio: value, interval, noise, .. } = super::compare::compare(data, base)?;
        let (samples, blocks) = (data.summary.n, data.summary.blocks.min(base.summary.blocks));
        let replicates = data.replicates.as_ref().zip(base.replicates.as_ref());
        let replicates = replicates.and_then(|(own, base)| own.ratio(base)).map(Cow::Owned);
        Some(Estimate { figure: Figure { value, interval, samples, blocks }, noise, replicates })
    }
}

/// A figure of both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratio {
    /// What was measured.
    pub key: GroupKey,
    /// Name of the metric.
    pub metric: String,
    /// What A says.
    pub a: Figure,
    /// What B says.
    pub b: Figure,
    /// B's value divided by A's, and what may be said of it; the noise is the larger one of the two runs.
    pub comparison: Comparison,
    /// Which of [`Between::changes`] concern it, counted from 0.
    pub changes: Vec<usize>,
}

/// Several ratios together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    /// Name of the metric; `None` for all times together.
    pub metric: Option<String>,
    /// Label of the driver variant; `None` for all of them.
    pub driver: Option<String>,
    /// Ratios in the geometric mean.
    pub ratios: usize,
    /// Ratios that are not in it, because one has no interval although others do, or is 0.
    pub left_out: usize,
    /// Geometric mean of the ratios; `None` when there is none above 0.
    pub mean: Option<f64>,
    /// Its interval; `None` when no ratio has one.
    pub interval: Option<Interval>,
    /// How far B repeats A.
    pub repeated: Repeated,
}

/// How far one run repeats the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Repeated {
    /// Ratios with an interval.
    pub intervals: usize,
    /// Of those, how many intervals include 1.
    pub include_one: usize,
    /// Medians of A with an interval.
    pub stated: usize,
    /// Of those, in how many the median of B lies.
    pub inside: usize,
}

impl Repeated {
    /// Share of the intervals of ratios that include 1; `None` without any.
    pub fn share_include_one(&self) -> Option<f64> {
        (self.intervals > 0).then(|| self.include_one as f64 / self.intervals as f64)
    }

    /// Share of the medians of B that lie in A's interval; `None` without any.
    pub fn share_inside(&self) -> Option<f64> {
        (self.stated > 0).then(|| self.inside as f64 / self.stated as f64)
    }

    fn of<'a>(ratios: impl IntoIterator<Item = &'a Ratio>) -> Repeated {
        let mut repeated = Repeated::default();
        for ratio in ratios {
            if let Some(interval) = ratio.comparison.interval {
                repeated.intervals += 1;
                repeated.include_one += usize::from(interval.contains(1.0));
            }
            if let Some(interval) = ratio.a.interval {
                repeated.stated += 1;
                repeated.inside += usize::from(interval.contains(ratio.b.value));
            }
        }
        repeated
    }
}

/// Figures that only one run has, of one metric of one driver variant in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Only {
    /// Label of the store.
    pub store: String,
    /// Name of the probe.
    pub probe: String,
    /// Label of the driver variant.
    pub driver: String,
    /// Name of the metric.
    pub metric: String,
    /// How many points of the axes.
    pub points: usize,
    /// Why the other run has none.
    pub why: String,
}

/// Two runs compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Between {
    /// What differs besides the figures.
    pub changes: Vec<Change>,
    /// Variants left out because their label stands for different things.
    pub other_options: Vec<OtherOptions>,
    /// Ratios where a difference was found, the largest change first, then all others, in the same order.
    pub ratios: Vec<Ratio>,
    /// Figures of both runs without a ratio, because A's median is 0: key and metric.
    pub without_ratio: Vec<(GroupKey, String)>,
    /// Geometric means: all times, then each metric, of all drivers and of each, in the order of A.
    pub means: Vec<Mean>,
    /// How far B repeats A, over all metrics.
    pub repeated: Repeated,
    /// What only A has.
    pub only_a: Vec<Only>,
    /// What only B has.
    pub only_b: Vec<Only>,
}

/// Unit of a metric: its name ends in it.
pub fn unit(metric: &str) -> Unit {
    if is_time(metric) {
        Unit::Ns
    } else if metric.ends_with("_bytes") {
        Unit::Bytes
    } else {
        Unit::Count
    }
}

/// Whether a metric is a time.
pub fn is_time(metric: &str) -> bool {
    metric.ends_with("_ns")
}

/// Two runs whose times are not the same quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("A holds {a}, B holds {b}: a ratio of the two says nothing; compare runs of one kind")]
pub struct Mixed {
    a: &'static str,
    b: &'static str,
}

/// Compares what both runs measured. Twins stand for no driver of their own: they are in neither ratios nor means, and what they say of
/// chance is in the noise of each ratio. Times are related to the driver of the label `relative_to`, if there is one, whose own then have no ratio.
///
/// # Errors
/// Runs whose times are not the same quantity: those of a real CPU, of an emulated one, and counted instructions.
pub fn between(a: Side, b: Side, relative_to: Option<&str>) -> Result<Between, Mixed> {
    let kind = |side: &Side| Guest::kind(side.manifest.guest.as_ref());
    if kind(&a) != kind(&b) {
        return Err(Mixed { a: kind(&a), b: kind(&b) });
    }
    let changes = changes(a.manifest, b.manifest);
    let other_options = other_options(a.manifest, b.manifest);
    let of_a = figures(a.results, relative_to);
    let of_b = figures(b.results, relative_to);
    let mut ratios: Vec<(Ratio, Logs)> = Vec::new();
    let mut without_ratio = Vec::new();
    let mut both: BTreeSet<(&GroupKey, &str)> = BTreeSet::new();
    for (&(key, metric), estimate) in &of_a {
        let Some(other) = of_b.get(&(key, metric)) else { continue };
        both.insert((key, metric));
        if other_options.iter().any(|other| other.driver == key.driver) {
            continue;
        }
        match compare(estimate, other) {
            None => without_ratio.push((key.clone(), metric.to_owned())),
            Some((comparison, logs)) => {
                let concerned = changes.iter().enumerate().filter(|(_, c)| c.concerns(&key.store, &key.driver));
                let ratio = Ratio {
                    key: key.clone(),
                    metric: metric.to_owned(),
                    a: estimate.figure,
                    b: other.figure,
                    comparison,
                    changes: concerned.map(|(index, _)| index).collect(),
                };
                ratios.push((ratio, logs));
            }
        }
    }
    let means = means(&ratios, a.results);
    let only = |of: &Figures, other: Side| {
        let mut points: BTreeMap<(&str, &str, &str, &str), usize> = BTreeMap::new();
        for (key, metric) in of.keys().filter(|figure| !both.contains(*figure)) {
            *points.entry((&key.store, key.probe.as_str(), &key.driver, metric)).or_default() += 1;
        }
        let only = points.into_iter().map(|((store, probe, driver, metric), points)| Only {
            store: store.to_owned(),
            probe: probe.to_owned(),
            driver: driver.to_owned(),
            metric: metric.to_owned(),
            points,
            why: why_not(other, store, driver),
        });
        only.collect()
    };
    let (only_a, only_b) = (only(&of_a, b), only(&of_b, a));
    let mut ratios: Vec<Ratio> = ratios.into_iter().map(|(ratio, _)| ratio).collect();
    // A ratio of 0 is the largest change that there is.
    let size = |ratio: &Ratio| ratio.comparison.ratio.ln().abs();
    ratios.sort_by(|x, y| {
        let found = |ratio: &Ratio| ratio.comparison.difference.is_found();
        found(y).cmp(&found(x)).then(size(y).total_cmp(&size(x)))
    });
    let repeated = Repeated::of(&ratios);
    Ok(Between { changes, other_options, ratios, without_ratio, means, repeated, only_a, only_b })
}

impl Between {
    /// Means of times whose interval lies wholly above a limit: of a metric over all drivers, or of one driver. What has no interval
    /// is never above. Steps of a copy_up are no times that anybody waits for: the write that they are parts of is.
    pub fn above(&self, limit: f64) -> impl Iterator<Item = &Mean> {
        let waited_for = |metric: &str| is_time(metric) && !metric.starts_with("step_");
        self.means.iter().filter(move |mean| {
            mean.metric.as_deref().is_some_and(waited_for) && mean.interval.is_some_and(|interval| interval.low > limit)
        })
    }

    /// How many ratios are of each kind: higher, lower, within the interval, within the noise, unknown.
    pub fn count(&self, difference: Difference) -> usize {
        self.ratios.iter().filter(|ratio| ratio.comparison.difference == difference).count()
    }
}

/// Figures by point and name of the metric.
type Figures<'a> = BTreeMap<(&'a GroupKey, &'a str), Estimate<'a>>;

/// Every figure of a run but those of twins, and but times that cannot be related to the driver of that label.
fn figures<'a>(results: &'a ResultSet, relative_to: Option<&str>) -> Figures<'a> {
    let groups: BTreeMap<&GroupKey, &Group> = results.groups.iter().map(|group| (&group.key, group)).collect();
    let mut figures = Figures::new();
    for (key, group) in &groups {
        if results.twins.iter().any(|twin| twin.label == key.driver) {
            continue;
        }
        let base_key = relative_to.map(|label| GroupKey { driver: label.to_owned(), ..(*key).clone() });
        let base = base_key.map(|key| groups.get(&key));
        for (metric, data) in &group.metrics {
            let estimate = match base {
                Some(base) if is_time(metric) => {
                    base.filter(|base| base.key != **key).and_then(|base| Estimate::related(data, base.metric(metric)?))
                }
                _ => Some(Estimate::of(data)),
            };
            figures.extend(estimate.map(|estimate| ((*key, metric.as_str()), estimate)));
        }
    }
    figures
}

fn why_not(other: Side, store: &str, driver: &str) -> String {
    if !other.results.stores.iter().any(|label| label == store) {
        return format!("no store is labelled {store}");
    }
    match other.results.drivers.iter().find(|info| info.label == driver) {
        None => format!("no driver is labelled {driver}"),
        Some(info) => match &info.availability {
            Feature::Missing { reason, .. } => format!("{driver} was not there: {reason}"),
            Feature::Available { .. } => "not asked for, or not measured".to_owned(),
        },
    }
}

/// Logarithms of the replicates of one figure or mean in each run, where both have them.
#[derive(Debug, Clone)]
struct Logs {
    a: Option<Spread>,
    b: Option<Spread>,
}

/// Logarithms of replicates, and the blocks that were resampled.
#[derive(Debug, Clone)]
struct Spread {
    logs: Vec<f64>,
    blocks: usize,
}

impl Spread {
    /// Of equal replicates the logarithms are 0, whatever their value: they have no spread. `None` when a replicate is 0 and others are not.
    fn of(replicates: &Replicates) -> Option<Spread> {
        let values = replicates.values();
        let equal = values.iter().all(|value| Some(value) == values.first());
        let logs: Vec<f64> = values.iter().map(|value| if equal { 0.0 } else { value.ln() }).collect();
        logs.iter().all(|log| log.is_finite()).then(|| Spread { logs, blocks: replicates.blocks() })
    }

    /// Variance of the estimate and its degrees of freedom; resampling k blocks underestimates the variance by (k - 1) / k.
    fn variance(&self) -> Option<(f64, f64)> {
        let freedom = self.blocks.checked_sub(1).filter(|freedom| *freedom > 0)? as f64;
        let n = self.logs.len() as f64;
        let mean = self.logs.iter().sum::<f64>() / n;
        let squares = self.logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
        Some((squares / (n - 1.0) * (freedom + 1.0) / freedom, freedom)).filter(|(variance, _)| variance.is_finite())
    }
}

/// The interval of a ratio of two independent estimates from the variances of their logarithms, each with its degrees of freedom:
/// `exp(ln(ratio) ± t * sqrt(va + vb))`, with the freedom of Welch ("The generalization of 'Student's' problem when several different
/// population variances are involved", Biometrika 34, 1947) and Satterthwaite: `(va + vb)² / (va² / fa + vb² / fb)`.
fn welch(ratio: f64, (va, fa): (f64, f64), (vb, fb): (f64, f64)) -> Option<Interval> {
    let variance = va + vb;
    if variance == 0.0 {
        return Some(Interval { low: ratio, high: ratio });
    }
    let freedom = variance.powi(2) / (va.powi(2) / fa + vb.powi(2) / fb);
    let factor = (student_t(freedom)? * variance.sqrt()).exp();
    let interval = Interval { low: ratio / factor, high: ratio * factor };
    (interval.low.is_finite() && interval.high.is_finite()).then_some(interval)
}

/// Compares B with A; `None` when A's is 0.
fn compare(a: &Estimate, b: &Estimate) -> Option<(Comparison, Logs)> {
    let ratio = (a.figure.value > 0.0).then(|| b.figure.value / a.figure.value)?;
    let spread = |estimate: &Estimate| estimate.replicates.as_deref().and_then(Spread::of);
    let logs = Logs { a: spread(a), b: spread(b) };
    let noise = [a.noise, b.noise].into_iter().flatten().reduce(f64::max);
    Some((Comparison::of(ratio, logs.interval(ratio), noise), logs))
}

impl Logs {
    fn interval(&self, ratio: f64) -> Option<Interval> {
        welch(ratio, self.a.as_ref()?.variance()?, self.b.as_ref()?.variance()?)
    }

    /// The mean over figures, replicate by replicate: those of one run rest on the same blocks, so that what a block does to all of
    /// its figures stays in the mean. The freedom is that of the figure with the fewest blocks.
    fn mean(all: &[&Logs]) -> Logs {
        let of = |side: fn(&Logs) -> Option<&Spread>| {
            let spreads: Option<Vec<&Spread>> = all.iter().map(|logs| side(logs)).collect();
            let spreads = spreads?;
            let blocks = spreads.iter().map(|spread| spread.blocks).min()?;
            let n = spreads.iter().map(|spread| spread.logs.len()).min()?;
            let at = |i: usize| spreads.iter().filter_map(|s| s.logs.get(i)).sum::<f64>() / spreads.len() as f64;
            Some(Spread { logs: (0..n).map(at).collect(), blocks })
        };
        Logs { a: of(|logs| logs.a.as_ref()), b: of(|logs| logs.b.as_ref()) }
    }
}

fn means(ratios: &[(Ratio, Logs)], a: &ResultSet) -> Vec<Mean> {
    let metrics: BTreeSet<&str> = ratios.iter().map(|(ratio, _)| ratio.metric.as_str()).collect();
    let mut means = Vec::new();
    let mut add = |metric: Option<&str>, driver: Option<&str>| {
        let chosen: Vec<&(Ratio, Logs)> = ratios
            .iter()
            .filter(|(ratio, _)| metric.map_or(is_time(&ratio.metric), |metric| ratio.metric == metric))
            .filter(|(ratio, _)| driver.is_none_or(|driver| ratio.key.driver == driver))
            .collect();
        if !chosen.is_empty() {
            means.push(mean(metric, driver, &chosen));
        }
    };
    add(None, None);
    // Times first: they are what most readers come for.
    let (times, others): (Vec<&str>, Vec<&str>) = metrics.into_iter().partition(|metric| is_time(metric));
    for metric in times.into_iter().chain(others) {
        add(Some(metric), None);
        for driver in &a.drivers {
            add(Some(metric), Some(&driver.label));
        }
    }
    means
}

fn mean(metric: Option<&str>, driver: Option<&str>, chosen: &[&(Ratio, Logs)]) -> Mean {
    let above_zero = chosen.iter().filter(|(ratio, _)| ratio.comparison.ratio > 0.0);
    let (with, without): (Vec<&(Ratio, Logs)>, Vec<_>) =
        above_zero.partition(|(ratio, _)| ratio.comparison.interval.is_some());
    // One figure without an interval must not take it from all: it is left out, and counted.
    let used = if with.is_empty() { without } else { with };
    let sum: f64 = used.iter().map(|(ratio, _)| ratio.comparison.ratio.ln()).sum();
    let mean = (!used.is_empty()).then(|| (sum / used.len() as f64).exp());
    let logs: Vec<&Logs> = used.iter().map(|(_, logs)| logs).collect();
    Mean {
        metric: metric.map(str::to_owned),
        driver: driver.map(str::to_owned),
        ratios: used.len(),
        left_out: chosen.len() - used.len(),
        mean,
        interval: mean.and_then(|mean| Logs::mean(&logs).interval(mean)),
        repeated: Repeated::of(chosen.iter().map(|(ratio, _)| ratio)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn welch_agrees_with_hand_computed_values() {
        // Equal variances, 5 blocks each: freedom 8, t(0.975; 8) = 2.306004; half = t * sqrt(0.02) = 0.326118.
        let found = welch(2.0, (0.01, 4.0), (0.01, 4.0)).unwrap();
        assert!((found.low - 2.0 * (-0.326118f64).exp()).abs() < 1e-5, "{found:?}");
        assert!((found.high - 2.0 * 0.326118f64.exp()).abs() < 1e-5, "{found:?}");
        // One side without spread: the other's 4 degrees are left, t(0.975; 4) = 2.776445; half = 0.277645.
        let found = welch(1.0, (0.01, 4.0), (0.0, 9.0)).unwrap();
        assert!((found.high - 0.277645f64.exp()).abs() < 1e-5, "{found:?}");
        // Freedom between: (0.01 + 0.03)² / (0.0001 / 4 + 0.0009 / 2) = 3.368421, t = 2.994 by interpolation of 3 and 4: loosely.
        let found = welch(1.0, (0.01, 4.0), (0.03, 2.0)).unwrap();
        let t = found.high.ln() / 0.2;
        assert!(t > 2.776445 && t < 3.182446, "{t} is not between those of 4 and 3 degrees");
        assert_eq!(welch(1.5, (0.0, 4.0), (0.0, 4.0)), Some(Interval { low: 1.5, high: 1.5 }));
    }

    fn spread(logs: &[f64], blocks: usize) -> Spread {
        Spread { logs: logs.to_vec(), blocks }
    }

    #[test]
    fn variances_count_what_few_blocks_hide() {
        // Mean 0.2, squares 0.01 + 0 + 0.01 over 2 is 0.01; times 2/1 of two blocks, 5/4 of five.
        let of = |blocks| spread(&[0.1, 0.2, 0.3], blocks).variance();
        assert!(of(2).is_some_and(|(v, f)| (v - 0.02).abs() < 1e-12 && f == 1.0));
        assert!(of(5).is_some_and(|(v, f)| (v - 0.0125).abs() < 1e-12 && f == 4.0));
        assert_eq!(of(1), None);
    }

    #[test]
    fn a_mean_of_figures_keeps_what_their_blocks_share() {
        let logs = |values: &[f64], blocks| Logs { a: Some(spread(values, blocks)), b: Some(spread(&[0.0, 0.0], 9)) };
        // Together up, together down: the mean varies as each does. One up, one down: it does not vary at all.
        let alike = Logs::mean(&[&logs(&[0.1, -0.1], 5), &logs(&[0.3, -0.3], 4)]);
        assert_eq!(alike.a.as_ref().map(|s| s.blocks), Some(4));
        assert!(alike.a.unwrap().logs.iter().zip([0.2, -0.2]).all(|(found, hand)| (found - hand).abs() < 1e-12));
        let against = Logs::mean(&[&logs(&[0.1, -0.1], 5), &logs(&[-0.1, 0.1], 5)]);
        assert_eq!(against.interval(3.0), Some(Interval { low: 3.0, high: 3.0 }));
        let none = Logs { a: None, b: None };
        assert!(Logs::mean(&[&none, &logs(&[0.1, -0.1], 5)]).interval(3.0).is_none());
    }

    #[test]
    fn units_and_times_are_in_the_names() {
        for (name, expected, time) in [
            ("first_write_ns", Unit::Ns, true),
            ("upper_bytes", Unit::Bytes, false),
            ("upper_inodes_count", Unit::Count, false),
        ] {
            assert_eq!((unit(name), is_time(name)), (expected, time));
        }
    }
}
